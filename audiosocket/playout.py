"""What a leg says and when: a queue of audio and marks, and the arithmetic of a 20 ms clock.

Pure: the caller passes the time in milliseconds and sends what comes back. Three things are kept apart:

* *spoken* audio, appended by apps in any size and at any rate, cut into 20 ms frames of the leg's rate
  when their time comes, converted late so that a change of the leg's rate costs nothing;
* *passed* frames (echo, bridge), which leave as they came and when they came, unless that would run
  more than 100 ms ahead of real time; then they wait their turn;
* silence, which fills every frame nobody else claimed, from the first moment on (an Asterisk that hears
  nothing for 2 s ends the leg, and a caller who gets no RTP hears dead air). Where frames pass, it waits
  80 ms for a late one: filling in for it and then passing it, too, would put all that follows 20 ms later.

Time owed after a late clock is repaid up to 100 ms, and forgotten beyond that: Asterisk has no jitter
buffer, a burst reaches the caller as a burst.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple, Protocol

from audiosocket.wire import FRAME_MS, SAMPLE_BYTES, frame_bytes

#: Never written further ahead of real time than this, in milliseconds.
AHEAD_MS = 100
#: Time owed beyond this is dropped, in milliseconds.
DEBT_MS = 100
#: More than this owed is cut down to `DEBT_MS`: one frame of grace, as a tick comes that much late at most.
MOST_OWED_MS = DEBT_MS + FRAME_MS
#: A tick this early still sends its frame: the clock has four phases of 5 ms.
SLACK_MS = 5
#: Spoken audio that may wait, in milliseconds; what is appended beyond it is refused.
MAX_SPOKEN_MS = 15 * 60 * 1000
#: Passed frames that may wait, in milliseconds; beyond it the oldest is dropped.
MAX_PASSED_MS = 2_000
#: Waiting passed frames sent beyond one per tick while time was forgotten: twice real time, no burst.
CATCH_UP_PER_TICK = 1
#: How long forgotten time is kept for the frames of a stall to be read from the kernel, in milliseconds.
FORGOTTEN_KEPT_MS = 200
#: Where frames pass, silence fills in after this long without one, or so much too few, in milliseconds.
GAP_MS = 80
#: Silence frames per tick: one, and one more to repay time owed.
SILENCE_PER_TICK = 2
#: Source audio converted at a time, in milliseconds.
CONVERT_MS = 100


class Converter(Protocol):
    """A streaming change of sample rate, as in ``resample.StreamConverter``."""

    def feed(self, pcm: bytes) -> bytes:
        """The converted samples that are ready."""

    def flush(self) -> bytes:
        """What the converter still held back."""


class Frame(NamedTuple):
    """Audio to write now. ``source`` is "spoken", "passed" or "silence"."""

    rate: int
    pcm: bytes
    source: str


class Reached(NamedTuple):
    """A mark whose audio has all been sent. ``heard_ms`` counts spoken audio since the leg began."""

    name: str
    heard_ms: int


@dataclass(slots=True)
class _Speech:
    """Audio waiting in its own rate; ``at`` is the next byte."""

    pcm: bytes
    rate: int
    at: int = 0

    @property
    def left_ms(self) -> float:
        return (len(self.pcm) - self.at) * 1000 / (SAMPLE_BYTES * self.rate)


#: Empty queues of legs that have none: one that was never used is never made. Nothing is ever put into these.
_NO_SPEECH: Final[deque[_Speech | str]] = deque()
_NONE_PASSED: Final[deque[tuple[int, bytes]]] = deque()


@cache
def _silence(rate: int) -> bytes:
    return bytes(frame_bytes(rate))


class Playout:
    """The outgoing side of one leg. Times are milliseconds on any steady clock."""

    __slots__ = (
        "_at",
        "_converted_in",
        "_converted_out",
        "_converter",
        "_converter_rates",
        "_forgotten_at",
        "_forgotten_ms",
        "_heard_ms",
        "_make_converter",
        "_marks",
        "_passed",
        "_passed_at",
        "_passed_ms",
        "_playable",
        "_queue",
        "_queued_ms",
        "_sent_ms",
        "_silence",
        "_speaking",
        "_staged",
        "dropped",
        "due_ms",
        "late",
        "rate",
        "skipped_ms",
        "underruns",
    )

    def __init__(self, make_converter: Callable[[int, int], Converter], rate: int = 8000) -> None:
        self.rate = rate
        #: Times spoken audio ran dry without a mark at its end.
        self.underruns = 0
        #: Milliseconds the clock was late beyond what may be repaid.
        self.skipped_ms = 0.0
        #: Ticks that came more than a frame (20 ms) after they were due.
        self.late = 0
        #: Passed frames dropped because too many waited.
        self.dropped = 0
        #: When the next `tick` has something to do; minus infinity when every one may have.
        self.due_ms = -math.inf
        self._make_converter = make_converter
        self._converter: Converter | None = None
        self._converter_rates = (rate, rate)
        self._converted_in = self._converted_out = 0
        self._heard_ms = 0.0
        self._playable: tuple[int, ...] = ()
        self._queue = _NO_SPEECH
        self._queued_ms = 0.0
        #: Speech at the leg's rate; ``_at`` is the next byte.
        self._staged = b""
        self._at = 0
        #: Marks whose audio is staged: bytes of the leg's rate still to be sent before each, and its name.
        self._marks: tuple[tuple[int, str], ...] = ()
        self._passed = _NONE_PASSED
        self._passed_ms = 0.0
        #: When the last frame came that passes.
        self._passed_at = -math.inf
        self._sent_ms: float = 0.0
        self._forgotten_ms = 0.0
        self._forgotten_at = 0.0
        self._speaking = False
        self._silence = _silence(rate)

    def start(self, now: float) -> None:
        """Begin to owe audio: from ``now`` on every 20 ms want a frame."""
        self._sent_ms = now
        self._forgotten_ms = 0.0
        self.due_ms = -math.inf

    # what apps do

    @property
    def speaking(self) -> bool:
        """True while spoken audio waits."""
        return bool(self._queue) or self._at < len(self._staged) or self._converter is not None

    @property
    def heard_ms(self) -> int:
        """Milliseconds of spoken audio sent so far."""
        return round(self._heard_ms)

    @property
    def queued_ms(self) -> int:
        """Milliseconds of spoken audio that wait."""
        return int(self._queued_ms + (len(self._staged) - self._at) * 1000 / (SAMPLE_BYTES * self.rate))

    def play(self, pcm: bytes, rate: int) -> bool:
        """Append 16-bit mono samples; an odd last byte is cut off. False when too much waits already.

        Raises what the converter raises (`ValueError`) for a ``rate`` it cannot convert.
        """
        if rate != self.rate and rate not in self._playable:
            self._make_converter(rate, self.rate)  # fails here, in its app, and not later in the clock's turn
            self._playable += (rate,)
        length = len(pcm) - len(pcm) % SAMPLE_BYTES
        if not length:
            return True
        speech = _Speech(pcm if length == len(pcm) else pcm[:length], rate)
        if self._queued_ms + speech.left_ms > MAX_SPOKEN_MS:
            return False
        self._queued_ms += speech.left_ms
        self._append(speech)
        return True

    def mark(self, name: str) -> None:
        """Ask to be told when everything appended so far has been sent; at the next tick if it has been."""
        if self.speaking:
            self._append(name)
        else:
            self._marks += ((0, name),)
            self._speaking = False
        self.due_ms = -math.inf

    def _append(self, item: _Speech | str) -> None:
        if self._queue is _NO_SPEECH:
            self._queue = deque()
        self._queue.append(item)

    def clear(self) -> int:
        """Forget all audio and marks that wait; returns the milliseconds thrown away."""
        lost = self.queued_ms
        self._queue, self._passed = _NO_SPEECH, _NONE_PASSED
        self._staged, self._at, self._marks = b"", 0, ()
        self._queued_ms = self._passed_ms = 0.0
        self._converter = None
        self._speaking = False
        return lost

    def set_rate(self, rate: int) -> None:
        """The leg's frames changed their rate; what waits follows."""
        if rate == self.rate:
            return
        self._flush()
        staged, self._at = self._staged[self._at :], 0
        if staged:
            converter = self._make_converter(self.rate, rate)
            self._staged = converter.feed(staged) + converter.flush()
            old, new = len(staged), len(self._staged)
            self._marks = tuple((-(-due * new // old), name) for due, name in self._marks)
        else:
            self._staged = b""
        self.rate = rate
        self._silence = _silence(rate)

    def pass_on(self, now: float, pcm: bytes, rate: int, at_most_ms: float = MAX_PASSED_MS) -> bool:
        """A frame on its way through: true when it is to leave now, else it waits (or is dropped).

        While the leg speaks, passing frames are dropped: they would come out behind the speech, late
        for the rest of the call. When more than ``at_most_ms`` (at most 2 s) wait, the oldest go: what
        waits once delays all that comes later.
        """
        if self._queue or self._staged or self._converter is not None:
            self.dropped += 1
            return False
        length = len(pcm) * 500 / rate
        self._passed_at = now
        if not self._passed and self._sent_ms + length <= now + AHEAD_MS:
            if now - self._sent_ms > MOST_OWED_MS:
                self._forget_debt(now)
            self._sent_ms += length
            if not self._marks and self._forgotten_ms <= 0:
                self.due_ms = self._sent_ms
            return True
        if self._passed is _NONE_PASSED:
            self._passed = deque()
        self.due_ms = -math.inf
        self._passed.append((rate, pcm))
        self._passed_ms += length
        while self._passed_ms > min(at_most_ms, MAX_PASSED_MS) and len(self._passed) > 1:
            old_rate, old = self._passed.popleft()
            self._passed_ms -= len(old) * 500 / old_rate
            self.dropped += 1
        return False

    # what the clock does

    def tick(self, now: float) -> list[Frame | Reached]:
        """The frames due at ``now``, none when the leg is ahead, and the marks that are reached."""
        out: list[Frame | Reached] = []
        patience: float = GAP_MS
        if now - self.due_ms > FRAME_MS and self.due_ms > -math.inf:
            self.late += 1
            patience += now - self.due_ms  # what came meanwhile has not been read yet
        waits = now - self._passed_at <= patience and now - self._sent_ms <= patience
        if now - self._sent_ms > MOST_OWED_MS:
            self._forget_debt(now)
        if self._marks:
            out.extend(self._reached())
        silent = 0
        while self._sent_ms <= now + SLACK_MS:
            frame = self._next_frame()
            if frame.source == "silence":
                silent += 1
                if silent > SILENCE_PER_TICK or waits:
                    break
            out.append(frame)
            self._sent_ms += len(frame.pcm) * 500 / frame.rate
            if self._marks:
                out.extend(self._reached())
        while self._passed and self._sent_ms + self._head_ms() <= now + AHEAD_MS:
            frame = self._next_frame()
            out.append(frame)
            self._sent_ms += len(frame.pcm) * 500 / frame.rate
        if self._forgotten_ms > 0:
            out.extend(self._catch_up(now))
        if self._marks or self._passed or self._forgotten_ms > 0:
            self.due_ms = -math.inf
        else:
            self.due_ms = now + FRAME_MS if waits and self._sent_ms <= now + SLACK_MS else self._sent_ms
        return out

    def _head_ms(self) -> float:
        """How long the first of the waiting passed frames lasts, in milliseconds."""
        rate, pcm = self._passed[0]
        return len(pcm) * 500 / rate

    def _catch_up(self, now: float) -> list[Frame]:
        """Waiting frames use the time that was forgotten: else each stall of ours would delay an echo for good.

        What they do not need soon is gone: minutes later it would let a caller's own lump run ahead.
        """
        out: list[Frame] = []
        if not self._passed and now - self._forgotten_at > FORGOTTEN_KEPT_MS:
            self._forgotten_ms = 0.0
        while self._passed and self._forgotten_ms > 0 and len(out) < CATCH_UP_PER_TICK:
            frame = self._next_frame()
            self._forgotten_ms -= len(frame.pcm) * 500 / frame.rate
            out.append(frame)
        return out

    def _reached(self) -> list[Reached]:
        """Takes out the marks with nothing left to send before them."""
        reached = [Reached(name, self.heard_ms) for due, name in self._marks if due <= 0]
        self._marks = self._marks[len(reached) :]
        return reached

    def _forget_debt(self, now: float) -> None:
        """Owe no more than may be repaid."""
        owed = now - self._sent_ms
        self.skipped_ms += owed - DEBT_MS
        self._forgotten_ms = min(self._forgotten_ms + owed - DEBT_MS, MAX_PASSED_MS)
        self._forgotten_at = now
        self._sent_ms = now - DEBT_MS

    def _next_frame(self) -> Frame:
        if self._passed:
            rate, pcm = self._passed.popleft()
            self._passed_ms -= len(pcm) * 500 / rate
            return Frame(rate, pcm, "passed")
        want = len(self._silence)
        if self._queue or self._converter is not None:
            self._stage(want)
        at = self._at
        pcm = self._staged[at : at + want]
        if not pcm:
            self.underruns += self._speaking
            self._speaking = False
            return Frame(self.rate, self._silence, "silence")
        length = len(pcm)
        self._at = at + length
        if self._at == len(self._staged):
            self._staged, self._at = b"", 0
        self._heard_ms += length * 500 / self.rate
        self._speaking = True
        if self._marks:
            self._marks = tuple((due - length, name) for due, name in self._marks)
            self._speaking = bool(self._staged) or self._marks[0][0] > 0
        return Frame(self.rate, pcm if length == want else pcm.ljust(want, b"\0"), "spoken")

    def _stage(self, want: int) -> None:
        """Bring ``want`` bytes of the leg's rate forward, if there are, and the marks right behind them."""
        while self._queue:
            head = self._queue[0]
            if isinstance(head, str):
                # The converter goes on: restarting it here would be heard as a click at every mark.
                self._marks += ((self._end(), head),)
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
        self._queue, self._queued_ms = _NO_SPEECH, 0.0
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
        """Bytes from here to the end of what is staged, with what the converter holds back."""
        if self._converter is None:
            return len(self._staged) - self._at
        source, target = self._converter_rates
        total = SAMPLE_BYTES * math.ceil(self._converted_in // SAMPLE_BYTES * target / source)
        return len(self._staged) - self._at + max(0, total - self._converted_out)

    def _flush(self) -> None:
        """Stage what the converter held back; marks behind it move to its real end."""
        if self._converter is None:
            return
        expected = self._end()
        self._put(self._converter.flush())
        self._converter = None
        real = len(self._staged)
        self._marks = tuple((real if due >= expected else min(due, real), name) for due, name in self._marks)
