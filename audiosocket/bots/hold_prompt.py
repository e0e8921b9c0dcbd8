"""What the caller hears until the bot speaks: a sound file, again and again."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.errors import AudioSocketError
from audiosocket.interfaces import Leg, SoundSource

_MARK = "bot-hold"


class HoldPrompt:
    """Plays ``file`` on a leg from `start` to `stop`; nothing when it is empty. A file that fails is logged."""

    _log = Logger()

    def __init__(self, leg: Leg, file: str, sounds: SoundSource) -> None:
        self._leg = leg
        self._file = file
        self._sounds = sounds
        self._mark = f"{_MARK}-{leg.role.value}"
        self._pcm = b""
        self._rate = 0
        self.playing = False

    def start(self) -> None:
        """Begin as soon as the file is read."""
        if self._file:
            self.playing = True
            Deferred.fromCoroutine(self._load()).addErrback(self._failed)

    def stop(self) -> bool:
        """Stop, and drop what is queued on the leg; false when it was not playing."""
        was, self.playing = self.playing, False
        if was:
            self._leg.clear()
        return was

    def marked(self, name: str) -> bool:
        """The sound has been played, if it is its mark."""
        if name != self._mark:
            return False
        self._again()
        return True

    async def _load(self) -> None:
        self._rate = self._leg.rate
        self._pcm = await self._sounds.get(Path(self._file), self._rate)
        self._again()

    def _again(self) -> None:
        if self.playing and self._pcm:
            self._leg.play(self._pcm, self._rate)
            self._leg.mark(self._mark)

    def _failed(self, failure: Failure) -> None:
        failure.trap(AudioSocketError)
        self._log.error("hold_file: {problem}; the caller hears silence", problem=failure.getErrorMessage())
