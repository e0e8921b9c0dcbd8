"""What a leg sends and when: the arithmetic of a 20 ms clock.

Pure: the caller passes the time in milliseconds and sends what comes back. Three things are kept apart:

* *spoken* audio, which apps append and ``speech.py`` cuts into 20 ms frames of the leg's rate;
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
from functools import cache
from typing import Final, NamedTuple

from audiosocket.media.playout_queue import Converter, MarkReached, PlayoutQueue
from audiosocket.wire import FRAME_MS, frame_bytes

#: Never written further ahead of real time than this, in milliseconds.
AHEAD_MS = 100
#: Time owed beyond this is dropped, in milliseconds.
DEBT_MS = 100
#: More than this owed is cut down to `DEBT_MS`: one frame of grace, as a tick comes that much late at most.
MOST_OWED_MS = DEBT_MS + FRAME_MS
#: A tick this early still sends its frame: the clock has four phases of 5 ms.
SLACK_MS = 5
#: Passed frames that may wait, in milliseconds; beyond it the oldest is dropped.
MAX_PASSED_MS = 2_000
#: Waiting passed frames sent beyond one per tick while time was forgotten: twice real time, no burst.
CATCH_UP_PER_TICK = 1
#: How long forgotten time is kept for the frames of a stall to be read from the kernel, in milliseconds.
FORGOTTEN_KEPT_MS = 200
#: Where frames pass, silence fills in after this long without one, or so much too few, in milliseconds.
GAP_MS = 80
#: Live audio may be written this far ahead of real time, in milliseconds: a frame need not wait for its tick.
LIVE_AHEAD_MS = 40
#: Silence frames per tick: one, and one more to repay time owed.
SILENCE_PER_TICK = 2


class Frame(NamedTuple):
    """Audio to write now. ``source`` is "spoken", "passed" or "silence"."""

    rate: int
    pcm: bytes
    source: str


#: The queue of a leg through which nothing passes. Nothing is ever put into it.
_NONE_PASSED: Final[deque[tuple[int, bytes]]] = deque()


@cache
def _silence(rate: int) -> bytes:
    return bytes(frame_bytes(rate))


class Playout:
    """The outgoing side of one leg. Times are milliseconds on any steady clock."""

    __slots__ = (
        "_forgotten_at",
        "_forgotten_ms",
        "_make_converter",
        "_passed",
        "_passed_at",
        "_passed_ms",
        "_sent_ms",
        "_silence",
        "_speech",
        "dropped",
        "due_ms",
        "late",
        "rate",
        "skipped_ms",
    )

    def __init__(self, make_converter: Callable[[int, int], Converter], rate: int = 8000) -> None:
        self.rate = rate
        #: Milliseconds the clock was late beyond what may be repaid.
        self.skipped_ms = 0.0
        #: Ticks that came more than a frame (20 ms) after they were due.
        self.late = 0
        #: Passed frames dropped because too many waited.
        self.dropped = 0
        #: When the next `tick` has something to do; minus infinity when every one may have.
        self.due_ms = -math.inf
        self._make_converter = make_converter
        #: What apps say; None for a leg that has never been told anything.
        self._speech: PlayoutQueue | None = None
        self._passed = _NONE_PASSED
        self._passed_ms = 0.0
        #: When the last frame came that passes.
        self._passed_at = -math.inf
        self._sent_ms: float = 0.0
        self._forgotten_ms = 0.0
        self._forgotten_at = 0.0
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
        return self._speech is not None and self._speech.waiting

    @property
    def heard_ms(self) -> int:
        """Milliseconds of spoken audio sent so far."""
        return 0 if self._speech is None else self._speech.heard_ms

    @property
    def queued_ms(self) -> int:
        """Milliseconds of spoken audio that wait."""
        return 0 if self._speech is None else self._speech.queued_ms

    @property
    def underruns(self) -> int:
        """Times spoken audio ran dry without a mark at its end."""
        return 0 if self._speech is None else self._speech.underruns

    def play(self, pcm: bytes, rate: int) -> bool:
        """Append 16-bit mono samples; an odd last byte is cut off. False when too much waits already.

        Raises what the converter raises (`ValueError`) for a ``rate`` it cannot convert.
        """
        return self._said().append(pcm, rate)

    def take_live(self, now: float) -> list[Frame]:
        """Return whole frames of spoken audio that may leave now, `LIVE_AHEAD_MS` ahead at most."""
        out: list[Frame] = []
        speech = self._speech
        if speech is None or self._passed:
            return out
        while speech.queued_ms >= FRAME_MS and self._sent_ms + FRAME_MS <= now + LIVE_AHEAD_MS:
            if now - self._sent_ms > MOST_OWED_MS:
                self._forget_debt(now)
            frame = self._next_frame()
            if frame.source != "spoken":  # it is paused
                break
            out.append(frame)
            self._sent_ms += FRAME_MS
        if out:
            self.due_ms = -math.inf if speech.marks else self._sent_ms
        return out

    def pause(self, paused: bool) -> None:
        """Keep spoken audio back and send silence instead, or go on."""
        self._said().paused = paused

    def ahead_ms(self, now: float) -> float:
        """Return the milliseconds of audio that were written before their time."""
        return max(0.0, self._sent_ms - now)

    def mark(self, name: str) -> None:
        """Ask to be told when everything appended so far has been sent; at the next tick if it has been."""
        self._said().mark(name)
        self.due_ms = -math.inf

    def _said(self) -> PlayoutQueue:
        if self._speech is None:
            self._speech = PlayoutQueue(self._make_converter, self.rate)
        return self._speech

    def clear(self) -> int:
        """Forget all audio and marks that wait; returns the milliseconds of speech thrown away."""
        self._passed, self._passed_ms = _NONE_PASSED, 0.0
        return 0 if self._speech is None else self._speech.clear()

    def set_rate(self, rate: int) -> None:
        """The leg's frames changed their rate; what waits follows."""
        if rate == self.rate:
            return
        if self._speech is not None:
            self._speech.set_rate(rate)
        self.rate = rate
        self._silence = _silence(rate)

    def pass_on(self, now: float, pcm: bytes, rate: int, at_most_ms: float = MAX_PASSED_MS) -> bool:
        """A frame on its way through: true when it is to leave now, else it waits (or is dropped).

        While the leg speaks, passing frames are dropped: they would come out behind the speech, late
        for the rest of the call. When more than ``at_most_ms`` (at most 2 s) wait, the oldest go: what
        waits once delays all that comes later.
        """
        speech = self._speech
        if speech is not None and speech.waiting:
            self.dropped += 1
            return False
        length = len(pcm) * 500 / rate
        self._passed_at = now
        if not self._passed and self._sent_ms + length <= now + AHEAD_MS:
            if now - self._sent_ms > MOST_OWED_MS:
                self._forget_debt(now)
            self._sent_ms += length
            if self._forgotten_ms <= 0 and (speech is None or not speech.marks):
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

    def tick(self, now: float) -> list[Frame | MarkReached]:
        """The frames due at ``now``, none when the leg is ahead, and the marks that are reached."""
        out: list[Frame | MarkReached] = []
        patience: float = GAP_MS
        if now - self.due_ms > FRAME_MS and self.due_ms > -math.inf:
            self.late += 1
            patience += now - self.due_ms  # what came meanwhile has not been read yet
        waits = now - self._passed_at <= patience and now - self._sent_ms <= patience
        if now - self._sent_ms > MOST_OWED_MS:
            self._forget_debt(now)
        speech = self._speech
        # Live audio that was written ahead has not been heard yet: its marks wait, to within a frame.
        if speech is not None and speech.marks and self._sent_ms <= now + FRAME_MS + SLACK_MS:
            out.extend(speech.reached())
        silent = 0
        while self._sent_ms <= now + SLACK_MS:
            frame = self._next_frame()
            if frame.source == "silence":
                silent += 1
                if silent > SILENCE_PER_TICK or waits:
                    break
            out.append(frame)
            self._sent_ms += len(frame.pcm) * 500 / frame.rate
            if speech is not None and speech.marks:
                out.extend(speech.reached())
        while self._passed and self._sent_ms + self._head_ms() <= now + AHEAD_MS:
            frame = self._next_frame()
            out.append(frame)
            self._sent_ms += len(frame.pcm) * 500 / frame.rate
        if self._forgotten_ms > 0:
            out.extend(self._catch_up(now))
        if self._passed or self._forgotten_ms > 0 or (speech is not None and speech.marks):
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
        pcm = self._speech.take(len(self._silence)) if self._speech is not None else b""
        if pcm:
            return Frame(self.rate, pcm, "spoken")
        return Frame(self.rate, self._silence, "silence")
