"""The app play: plays a sound file, and then hangs up, starts again or leaves the leg to the other apps.

The sound is loaded at the rate of the caller's frames, so that it is converted once per file and rate and not once
per call. That rate is known with the caller's first frame, 1 to 20 ms after the UUID; for a caller that sends
nothing it is loaded at 8 kHz, the rate every leg begins with, 40 ms after the UUID. Rates above 48 kHz are left to
the playout: sound files have nothing there.

The queue does not grow with the length of the file: the sound is cut into pieces of 2 s, two of which are queued,
and the third follows when the mark behind the first is reached.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from audiosocket.errors import InvalidSound
from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, AppContext, Leg
from audiosocket.media.sound_formats import sound_layout
from audiosocket.settings import Settings
from audiosocket.wire import SAMPLE_BYTES

#: How long to wait for the caller's first frame and its rate, in seconds.
FIRST_FRAME_SECONDS = 0.04
#: Sounds are loaded at the leg's rate, but at no more than this, in Hz.
MAX_RATE = 48_000
PIECE_SECONDS = 2
#: Pieces that are queued on the leg: with two there is no gap between them.
PIECES_AHEAD = 2

WELCOME = Path(__file__).parent / "sounds" / "welcome.wav"


class Pieces:
    """A sound cut into pieces of `PIECE_SECONDS`; with ``loop`` it repeats without an end or a gap.

    ``since_ms`` is where to begin, in milliseconds of the sound.
    """

    __slots__ = ("_at", "_loop", "_pcm", "_step", "rate")

    def __init__(self, pcm: bytes, rate: int, *, loop: bool, since_ms: float = 0) -> None:
        self.rate = rate
        self._pcm = pcm
        self._loop = loop and bool(pcm)
        self._step = rate * PIECE_SECONDS * SAMPLE_BYTES
        self._at = min(len(pcm), round(since_ms * rate / 1000) * SAMPLE_BYTES)

    @property
    def at_ms(self) -> float:
        """The position of the next piece in the sound, in milliseconds."""
        return self._at * 1000 / (SAMPLE_BYTES * self.rate)

    def next(self) -> bytes:
        """Return the next piece, empty at the end; the same one until `taken`."""
        piece = self._pcm[self._at : self._at + self._step]
        missing = self._step - len(piece)
        if self._loop and missing:
            piece += (self._pcm * -(-missing // len(self._pcm)))[:missing]
        return piece

    def taken(self, piece: bytes) -> None:
        """Continue after ``piece``."""
        self._at += len(piece)
        if self._loop:
            self._at %= len(self._pcm)


@dataclass(slots=True)
class _Playing:
    """The sound of one leg; ``pieces`` is None until it is loaded."""

    leg: Leg
    #: Where to begin, in milliseconds of the sound.
    since_ms: float = 0
    timer: IDelayedCall | None = None
    pieces: Pieces | None = None
    #: Names of the marks that are queued; a clear by another app removes them, and so ends the sound.
    marks: list[str] = field(default_factory=list)
    #: The rate at which the sound was loaded last, in Hz.
    loaded_rate: int = 0
    loading: bool = False
    over: bool = False


class Play(App):
    """Plays ``PLAY_FILE``, or a chime when that is empty, and does ``PLAY_THEN`` at its end.

    A file that cannot be played is logged once; the call continues as at the end of the sound. After a restart of
    the server the sound continues with the piece that was being played.
    """

    _log = Logger()
    #: Errors by file that were logged already: each call meets the same ones.
    _reported: ClassVar[dict[Path, str]] = {}

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._path = _path(context.settings)
        self._then = context.settings.play_then
        self._playing: dict[Role, _Playing] = {}
        self._marks_made = 0

    @staticmethod
    def check(settings: Settings) -> Iterable[str]:
        """Return a problem when the file cannot be opened; only a warning, as it may be created later."""
        path = _path(settings)
        try:
            with path.open("rb") as source:
                sound_layout(source, path, os.fstat(source.fileno()).st_size)
        except OSError as error:
            yield f"PLAY_FILE: {path} cannot be read ({error.strerror or error}); callers will not hear it"
        except InvalidSound as error:
            yield f"PLAY_FILE: {path}: {error}; callers will not hear it"

    def joined(self, leg: Leg) -> None:
        self._play(leg, 0)

    def restored(self, leg: Leg, state: Any) -> None:
        since = state.get("since_ms") if isinstance(state, dict) else None
        if isinstance(since, int | float) and 0 <= since < math.inf:  # nor is NaN
            self._play(leg, since)
        else:
            self._play(leg, 0)

    def _play(self, leg: Leg, since_ms: float) -> None:
        playing = self._playing[leg.role] = _Playing(leg, since_ms)
        playing.timer = self._context.call_later(FIRST_FRAME_SECONDS, self._begin, playing)

    def resumed(self, leg: Leg) -> None:
        if leg.role not in self._playing:
            self.joined(leg)

    def handed_over(self, leg: Leg) -> Any:
        playing = self._playing.get(leg.role)
        if playing is None:
            return None
        since = playing.since_ms if playing.pieces is None else playing.pieces.at_ms
        return {"since_ms": since, "marks": list(playing.marks), "made": self._marks_made}

    def taken_over(self, leg: Leg, state: Any) -> None:
        self._marks_made = max(self._marks_made, int(state["made"]))
        playing = self._playing[leg.role] = _Playing(leg, float(state["since_ms"]))
        playing.marks.extend(str(name) for name in state["marks"])
        self._load(playing)

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        playing = self._playing.get(leg.role)
        if playing is not None and playing.timer is not None:
            playing.timer.cancel()
            self._begin(playing)

    def marked(self, leg: Leg, name: str, heard_ms: int) -> None:
        playing = self._playing.get(leg.role)
        if playing is None or name not in playing.marks:
            return
        playing.marks.remove(name)
        if playing.pieces is not None:
            waiting = len(playing.marks) * PIECE_SECONDS * 1000
            leg.remember(self, {"since_ms": max(0.0, playing.pieces.at_ms - waiting)})
        self._continue(playing)

    def left(self, leg: Leg, outcome: str) -> None:
        playing = self._playing.pop(leg.role, None)
        if playing is None:
            return
        playing.over = True
        if playing.timer is not None:
            playing.timer.cancel()

    def _begin(self, playing: _Playing) -> None:
        playing.timer = None
        self._load(playing)

    def _load(self, playing: _Playing) -> None:
        playing.loading = True
        playing.loaded_rate = _rate(playing.leg)
        loading = Deferred.fromCoroutine(self._read(playing, playing.loaded_rate))
        loading.addErrback(lambda failure: self._log.failure("play failed on {leg}", failure, leg=playing.leg))

    async def _read(self, playing: _Playing, rate: int) -> None:
        pcm = None
        try:
            pcm = await self._context.sounds.get(self._path, rate)
        except InvalidSound as error:
            self._report(str(error))
        else:
            self._reported.pop(self._path, None)
        playing.loading = False
        if playing.over:
            return
        if pcm is not None:
            since = playing.pieces.at_ms if playing.pieces is not None else playing.since_ms
            playing.pieces = Pieces(pcm, rate, loop=self._then == "loop", since_ms=since)
        self._continue(playing)

    def _report(self, error: str) -> None:
        if self._reported.get(self._path) != error:
            self._reported[self._path] = error
            self._log.error("PLAY_FILE: {error}; calls continue without it", error=error)

    def _continue(self, playing: _Playing) -> None:
        """Queue the next pieces; after the last one has been played, do as `PLAY_THEN` is set."""
        if playing.loading:
            return
        leg, pieces = playing.leg, playing.pieces
        while pieces is not None and len(playing.marks) < PIECES_AHEAD:
            piece = pieces.next()
            if not piece:
                break
            if playing.loaded_rate != _rate(leg):  # the caller's rate has become known or has changed
                self._load(playing)
                return
            if leg.play(piece, pieces.rate):
                pieces.taken(piece)
            # Otherwise too much is queued; the piece is tried again at the mark.
            self._marks_made += 1
            name = f"play-{self._marks_made}"
            playing.marks.append(name)
            leg.mark(name)
        if not playing.marks and self._then == "hangup":
            leg.hang_up()


def _path(settings: Settings) -> Path:
    return Path(settings.play_file).expanduser() if settings.play_file else WELCOME


def _rate(leg: Leg) -> int:
    return min(leg.rate, MAX_RATE)
