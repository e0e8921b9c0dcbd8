"""The audio that apps have played and a leg has not yet sent, with marks in between.

Pure: audio of any size and rate is appended, and taken out in frames of the leg's rate. It is converted only
when it is taken out, so that a change of the leg's rate loses nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from audiosocket.wire import SAMPLE_BYTES

#: Audio that may be queued, in milliseconds; more is rejected.
MAX_QUEUED_MS = 15 * 60 * 1000
#: Source audio converted at a time, in milliseconds.
CONVERT_MS = 100


class Converter(Protocol):
    """A streaming sample rate converter, such as `resample.StreamConverter`."""

    def feed(self, pcm: bytes) -> bytes:
        """Return the converted samples that are ready."""

    def flush(self) -> bytes:
        """Return the samples held back so far, and begin a new stream."""


class Frame(NamedTuple):
    """Audio to send now. ``source`` is "spoken", "passed" or "silence"."""

    rate: int
    pcm: bytes
    source: str


class MarkReached(NamedTuple):
    """A mark whose audio has been sent. ``heard_ms`` counts spoken audio since the leg began."""

    name: str
    heard_ms: int


@dataclass(slots=True)
class _Piece:
    """Queued audio in its own rate; ``at`` is the next byte."""

    pcm: bytes
    rate: int
    at: int = 0

    @property
    def left_ms(self) -> float:
        return (len(self.pcm) - self.at) * 1000 / (SAMPLE_BYTES * self.rate)


#: The queue of a leg without queued audio; shared by all of them, and never appended to.
_EMPTY: Final[deque[_Piece | str]] = deque()


class PlayoutQueue:
    """The queue of one leg at ``rate`` Hz. ``make_converter`` takes the source's rate and the leg's."""

    __slots__ = (
        "_at",
        "_converted_in",
        "_converted_out",
        "_converter",
        "_converter_rates",
        "_heard_ms",
        "_make_converter",
        "_playable",
        "_queue",
        "_queued_ms",
        "_speaking",
        "_staged",
        "marks",
        "paused",
        "rate",
        "underruns",
    )

    def __init__(self, make_converter: Callable[[int, int], Converter], rate: int) -> None:
        self.rate = rate
        #: Times that audio ended without a mark at its end.
        self.underruns = 0
        #: Marks whose audio is staged: bytes at the leg's rate still to be sent before each, and its name.
        self.marks: tuple[tuple[int, str], ...] = ()
        #: While true, `take` returns nothing.
        self.paused = False
        self._make_converter = make_converter
        self._converter: Converter | None = None
        self._converter_rates = (rate, rate)
        self._converted_in = self._converted_out = 0
        self._heard_ms = 0.0
        self._playable: tuple[int, ...] = ()
        self._queue = _EMPTY
        self._queued_ms = 0.0
        #: Audio converted to the leg's rate; ``_at`` is the next byte.
        self._staged = b""
        self._at = 0
        self._speaking = False

    @property
    def waiting(self) -> bool:
        """Whether audio is queued."""
        return bool(self._queue) or bool(self._staged) or self._converter is not None

    @property
    def heard_ms(self) -> int:
        """Milliseconds of audio sent so far."""
        return round(self._heard_ms)

    @property
    def queued_ms(self) -> int:
        """Milliseconds of audio queued."""
        return int(self._queued_ms + (len(self._staged) - self._at) * 1000 / (SAMPLE_BYTES * self.rate))

    # called for apps

    def append(self, pcm: bytes, rate: int) -> bool:
        """Append 16-bit mono samples, without an odd last byte; return false when the queue is full.

        Raises `ValueError` for a ``rate`` that cannot be converted.
        """
        if rate != self.rate and rate not in self._playable:
            self._make_converter(rate, self.rate)  # fails here, in its app, and not later in a tick of the clock
            self._playable += (rate,)
        length = len(pcm) - len(pcm) % SAMPLE_BYTES
        if not length:
            return True
        if rate == self.rate and length <= rate * CONVERT_MS // 500 and not self.waiting:
            self._staged = pcm if length == len(pcm) else pcm[:length]
            return True
        piece = _Piece(pcm if length == len(pcm) else pcm[:length], rate)
        if self._queued_ms + piece.left_ms > MAX_QUEUED_MS:
            return False
        self._queued_ms += piece.left_ms
        self._put_last(piece)
        return True

    def spoken_at_once(self, length: int) -> bool:
        """Count ``length`` bytes at the leg's rate as appended and taken; false when they have to wait."""
        if self.paused or self._staged or self._queue or self.marks or self._converter is not None:
            return False
        self._heard_ms += length * 500 / self.rate
        self._speaking = True
        return True

    def mark(self, name: str) -> None:
        """Report `MarkReached` when everything appended so far has been sent."""
        if self.waiting:
            self._put_last(name)
        else:
            self.marks += ((0, name),)
            self._speaking = False

    def _put_last(self, item: _Piece | str) -> None:
        if self._queue is _EMPTY:
            self._queue = deque()
        self._queue.append(item)

    def clear(self) -> int:
        """Drop all queued audio and marks; return the milliseconds dropped."""
        lost = self.queued_ms
        self._queue, self._queued_ms = _EMPTY, 0.0
        self._staged, self._at, self.marks = b"", 0, ()
        self._converter = None
        self._speaking = False
        return lost

    # called by the leg

    def set_rate(self, rate: int) -> None:
        """Change the leg's rate; staged audio is converted."""
        self._flush()
        staged, self._at = self._staged[self._at :], 0
        if staged:
            converter = self._make_converter(self.rate, rate)
            self._staged = converter.feed(staged) + converter.flush()
            old, new = len(staged), len(self._staged)
            self.marks = tuple((-(-due * new // old), name) for due, name in self.marks)
        else:
            self._staged = b""
        self.rate = rate

    def take(self, want: int) -> bytes:
        """Return the next ``want`` bytes, filled up with silence at the end; empty when nothing is queued."""
        if self.paused:
            self._speaking = False
            return b""
        if self._queue or self._converter is not None:
            self._stage(want)
        at = self._at
        pcm = self._staged[at : at + want]
        if not pcm:
            self.underruns += self._speaking
            self._speaking = False
            return pcm
        length = len(pcm)
        self._at = at + length
        if self._at == len(self._staged):
            self._staged, self._at = b"", 0
        self._heard_ms += length * 500 / self.rate
        self._speaking = True
        if self.marks:
            self.marks = tuple((due - length, name) for due, name in self.marks)
            self._speaking = bool(self._staged) or self.marks[0][0] > 0
        return pcm if length == want else pcm.ljust(want, b"\0")

    def reached(self) -> list[MarkReached]:
        """Remove and return the marks with nothing left to send before them."""
        reached = [MarkReached(name, self.heard_ms) for due, name in self.marks if due <= 0]
        self.marks = self.marks[len(reached) :]
        return reached

    def _stage(self, want: int) -> None:
        """Stage ``want`` bytes at the leg's rate, if there are that many, and the marks right behind them."""
        while self._queue:
            head = self._queue[0]
            if isinstance(head, str):
                # The converter continues: restarting it here would be heard as a click at every mark.
                self.marks += ((self._end(), head),)
                self._queue.popleft()
                continue
            if len(self._staged) - self._at >= want:
                return
            step = SAMPLE_BYTES * max(1, head.rate * CONVERT_MS // 1000)
            piece = head.pcm[head.at : head.at + step]
            head.at += len(piece)
            self._queued_ms -= len(piece) * 1000 / (SAMPLE_BYTES * head.rate)
            if head.at >= len(head.pcm):
                self._queue.popleft()
            self._convert(piece, head.rate)
        self._queue, self._queued_ms = _EMPTY, 0.0
        if len(self._staged) - self._at < want:
            self._flush()

    def _convert(self, pcm: bytes, rate: int) -> None:
        if self._converter is not None and self._converter_rates != (rate, self.rate):
            self._flush()
        if rate == self.rate:
            self._put(pcm)
            return
        if self._converter is None:
            self._converter = self._make_converter(rate, self.rate)
            self._converter_rates = (rate, self.rate)
            self._converted_in = self._converted_out = 0
        converted = self._converter.feed(pcm)
        self._converted_in += len(pcm)
        self._converted_out += len(converted)
        self._put(converted)

    def _put(self, pcm: bytes) -> None:
        self._staged, self._at = self._staged[self._at :] + pcm, 0

    def _end(self) -> int:
        """Return the bytes up to the end of what is staged, with what the converter holds back."""
        if self._converter is None:
            return len(self._staged) - self._at
        source, target = self._converter_rates
        total = SAMPLE_BYTES * math.ceil(self._converted_in // SAMPLE_BYTES * target / source)
        return len(self._staged) - self._at + max(0, total - self._converted_out)

    def _flush(self) -> None:
        """Stage what the converter held back; marks behind it move to the actual end."""
        if self._converter is None:
            return
        expected = self._end()
        self._put(self._converter.flush())
        self._converter = None
        real = len(self._staged)
        self.marks = tuple((real if due >= expected else min(due, real), name) for due, name in self.marks)
