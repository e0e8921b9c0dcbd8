"""What a leg sends and when: the arithmetic of a 20 ms clock.

Pure: the time in milliseconds is an argument, and the frames to send are returned. There are three sources:

* *spoken* audio, which apps append and ``playout_queue.py`` cuts into 20 ms frames of the leg's rate;
* *passed* frames (echo, bridge), which are sent unchanged as soon as they arrive, unless that would be more than
  100 ms ahead of real time; then they wait;
* *silence*, which fills every other frame from the start (Asterisk ends a leg that sends nothing for 2 s, and a
  caller who gets no RTP hears a dead line). While frames are being passed, or when live audio has run out, silence
  waits 80 ms for late audio: to send both would delay everything after it by 20 ms.

After a late tick up to 100 ms are made up for, and the rest is skipped: Asterisk has no jitter buffer, so a burst
reaches the caller as a burst.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Final

from audiosocket.media.playout_queue import Converter, Frame, MarkReached, PlayoutQueue
from audiosocket.wire import FRAME_MS, frame_bytes

#: Frames are never sent further ahead of real time than this, in milliseconds.
AHEAD_MS = 100
#: The debt (time for which no audio was sent) that is made up for, in milliseconds.
DEBT_MS = 100
#: A debt above this is cut to `DEBT_MS`: one frame more, as a tick is usually late by at most that.
MAX_DEBT_MS = DEBT_MS + FRAME_MS
#: A tick this early, in milliseconds, still sends its frame: the clock has four phases of 5 ms.
SLACK_MS = 5
#: Passed frames that may wait, in milliseconds; beyond that the oldest is dropped.
MAX_PASSED_MS = 2_000
#: Extra passed frames sent per tick after time was skipped: twice real time, no burst.
CATCH_UP_PER_TICK = 1
#: How long skipped time can be used by frames that arrived during a stall, in milliseconds.
SKIPPED_USABLE_MS = 200
#: While frames are being passed, silence begins when none came for so long, or so much is missing, in
#: milliseconds; after live audio, when so much is missing.
GAP_MS = 80
#: Live audio may be sent this far ahead of real time, in milliseconds, so that a frame need not wait for its tick
#: behind silence that was sent early.
LIVE_AHEAD_MS = 2 * FRAME_MS + SLACK_MS
#: Silence frames per tick at most: one, and one more to reduce the debt.
MAX_SILENCE_PER_TICK = 2


#: The queue of a leg without passed frames; shared by all of them, and never appended to.
_NONE_PASSED: Final[deque[tuple[int, bytes]]] = deque()


@cache
def _silence(rate: int) -> bytes:
    return bytes(frame_bytes(rate))


class Playout:
    """The outgoing audio of one leg. Times are milliseconds of any steady clock."""

    __slots__ = (
        "_live",
        "_make_converter",
        "_passed",
        "_passed_at",
        "_passed_ms",
        "_queue",
        "_sent_ms",
        "_silence",
        "_usable_at",
        "_usable_ms",
        "dropped",
        "due_ms",
        "late",
        "rate",
        "skipped_ms",
    )

    def __init__(self, make_converter: Callable[[int, int], Converter], rate: int = 8000) -> None:
        self.rate = rate
        #: Milliseconds that were skipped because ticks were too late.
        self.skipped_ms = 0.0
        #: Ticks that came more than one frame (20 ms) late.
        self.late = 0
        #: Passed frames dropped because too many waited.
        self.dropped = 0
        #: When `tick` next has something to do; minus infinity when every tick may have.
        self.due_ms = -math.inf
        self._make_converter = make_converter
        #: Spoken audio; None until an app plays something.
        self._queue: PlayoutQueue | None = None
        self._passed = _NONE_PASSED
        self._passed_ms = 0.0
        #: When the last passed frame arrived.
        self._passed_at = -math.inf
        #: Whether the audio before was live and more is expected.
        self._live = False
        self._sent_ms: float = 0.0
        #: Skipped time that waiting frames may still use, and when it was skipped.
        self._usable_ms = 0.0
        self._usable_at = 0.0
        self._silence = _silence(rate)

    def start(self, now: float) -> None:
        """Begin to send one frame every 20 ms from ``now`` on."""
        self._sent_ms = now
        self._usable_ms = 0.0
        self.due_ms = -math.inf

    # called for apps

    @property
    def speaking(self) -> bool:
        """Whether spoken audio is queued."""
        return self._queue is not None and self._queue.waiting

    @property
    def heard_ms(self) -> int:
        """Milliseconds of spoken audio sent so far."""
        return 0 if self._queue is None else self._queue.heard_ms

    @property
    def queued_ms(self) -> int:
        """Milliseconds of spoken audio queued."""
        return 0 if self._queue is None else self._queue.queued_ms

    @property
    def underruns(self) -> int:
        """Times that spoken audio ended without a mark at its end."""
        return 0 if self._queue is None else self._queue.underruns

    def play(self, pcm: bytes, rate: int) -> bool:
        """Append 16-bit mono samples, without an odd last byte; return false when the queue is full.

        Raises `ValueError` for a ``rate`` that cannot be converted.
        """
        return self._make_queue().append(pcm, rate)

    def speak_at_once(self, now: float, pcm: bytes, rate: int) -> bool:
        """Count ``pcm`` as sent and return true if it is one frame that `play` and `take_live` would return alone.

        That is how nearly all live audio comes, and costs a third of what the two cost.
        """
        length, queue = len(pcm), self._queue
        sent_ms = self._sent_ms
        if (
            length != len(self._silence)
            or rate != self.rate
            or self._passed
            or not now - MAX_DEBT_MS <= sent_ms <= now + LIVE_AHEAD_MS - FRAME_MS
            or queue is None
            or not queue.spoken_at_once(length)
        ):
            return False
        self._live = True
        self._sent_ms = sent_ms = sent_ms + FRAME_MS
        self.due_ms = sent_ms if sent_ms > now else now
        return True

    def take_live(self, now: float) -> list[Frame]:
        """Return complete frames of spoken audio to send now, at most `LIVE_AHEAD_MS` ahead of real time."""
        out: list[Frame] = []
        queue = self._queue
        if queue is None or self._passed:
            return out
        self._live = not queue.paused
        while self._sent_ms + FRAME_MS <= now + LIVE_AHEAD_MS and queue.queued_ms >= FRAME_MS:
            if now - self._sent_ms > MAX_DEBT_MS:
                self._cut_debt(now)
            frame = self._next_frame()
            if frame.source != "spoken":  # it is paused
                break
            out.append(frame)
            self._sent_ms += FRAME_MS
        if out:
            self.due_ms = -math.inf if queue.marks else max(now, self._sent_ms)
        return out

    def pause(self, paused: bool) -> None:
        """Send silence and keep spoken audio queued, or continue."""
        self._live = False
        self._make_queue().paused = paused

    def ahead_ms(self, now: float) -> float:
        """Return the milliseconds of audio that were sent ahead of real time."""
        return max(0.0, self._sent_ms - now)

    def mark(self, name: str) -> None:
        """Report `MarkReached` when everything appended so far has been sent, at the next tick at the earliest."""
        self._make_queue().mark(name)
        self.due_ms = -math.inf

    def _make_queue(self) -> PlayoutQueue:
        if self._queue is None:
            self._queue = PlayoutQueue(self._make_converter, self.rate)
        return self._queue

    def clear(self) -> int:
        """Drop all queued audio and marks; return the milliseconds of spoken audio dropped."""
        self._passed, self._passed_ms = _NONE_PASSED, 0.0
        self._live = False
        return 0 if self._queue is None else self._queue.clear()

    def set_rate(self, rate: int) -> None:
        """Change the rate of the leg's frames; queued audio is converted."""
        if rate == self.rate:
            return
        if self._queue is not None:
            self._queue.set_rate(rate)
        self.rate = rate
        self._silence = _silence(rate)

    def pass_on(self, now: float, pcm: bytes, rate: int, at_most_ms: float = MAX_PASSED_MS) -> bool:
        """Take a frame to pass on; return true when it is to be sent now, else it waits or is dropped.

        While spoken audio is queued, passed frames are dropped: they would be sent after it, late for the rest of
        the call. When more than ``at_most_ms`` (at most 2 s) wait, the oldest are dropped, as waiting frames delay
        all later ones.
        """
        queue = self._queue
        if queue is not None and queue.waiting:
            self.dropped += 1
            return False
        length = len(pcm) * 500 / rate
        self._passed_at = now
        if not self._passed and self._sent_ms + length <= now + AHEAD_MS:
            if now - self._sent_ms > MAX_DEBT_MS:
                self._cut_debt(now)
            self._sent_ms += length
            if self._usable_ms <= 0 and (queue is None or not queue.marks):
                self.due_ms = max(now, self._sent_ms)  # a tick is not late because the caller runs behind
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

    # called by the clock

    def tick(self, now: float) -> list[Frame | MarkReached]:
        """Return the frames due at ``now``, none when the leg is ahead, and the marks reached."""
        out: list[Frame | MarkReached] = []
        max_gap: float = GAP_MS
        if now - self.due_ms > FRAME_MS and self.due_ms > -math.inf:
            self.late += 1
            max_gap += now - self.due_ms  # frames that arrived meanwhile have not been read yet
        waits = (self._live or now - self._passed_at <= max_gap) and now - self._sent_ms <= max_gap
        if now - self._sent_ms > MAX_DEBT_MS:
            self._cut_debt(now)
        queue = self._queue
        # Live audio that was sent ahead has not been heard yet: its marks wait, to within a frame.
        if queue is not None and queue.marks and self._sent_ms <= now + FRAME_MS + SLACK_MS:
            out.extend(queue.reached())
        silent = 0
        while self._sent_ms <= now + SLACK_MS:
            if waits and not self._passed and not self.speaking:
                break
            frame = self._next_frame()
            if frame.source == "silence":
                self._live, silent = False, silent + 1
                if silent > MAX_SILENCE_PER_TICK or waits:
                    break
            out.append(frame)
            self._sent_ms += len(frame.pcm) * 500 / frame.rate
            if queue is not None and queue.marks:
                out.extend(queue.reached())
        while (
            self._passed and self._sent_ms + len(self._passed[0][1]) * 500 / self._passed[0][0] <= now + AHEAD_MS
        ):
            frame = self._next_frame()
            out.append(frame)
            self._sent_ms += len(frame.pcm) * 500 / frame.rate
        if self._usable_ms > 0:
            out.extend(self._catch_up(now))
        if self._passed or self._usable_ms > 0 or (queue is not None and queue.marks):
            self.due_ms = -math.inf
        else:
            self.due_ms = now + FRAME_MS if waits and self._sent_ms <= now + SLACK_MS else self._sent_ms
        return out

    def _catch_up(self, now: float) -> list[Frame]:
        """Return extra waiting frames for skipped time; else each late tick would delay an echo for good.

        Skipped time that is not used soon is lost: minutes later it would let a burst of the caller run ahead.
        """
        out: list[Frame] = []
        if not self._passed and now - self._usable_at > SKIPPED_USABLE_MS:
            self._usable_ms = 0.0
        while self._passed and self._usable_ms > 0 and len(out) < CATCH_UP_PER_TICK:
            frame = self._next_frame()
            self._usable_ms -= len(frame.pcm) * 500 / frame.rate
            out.append(frame)
        return out

    def _cut_debt(self, now: float) -> None:
        """Skip the time that is not to be made up for."""
        debt = now - self._sent_ms
        self.skipped_ms += debt - DEBT_MS
        self._usable_ms = min(self._usable_ms + debt - DEBT_MS, MAX_PASSED_MS)
        self._usable_at = now
        self._sent_ms = now - DEBT_MS

    def _next_frame(self) -> Frame:
        if self._passed:
            rate, pcm = self._passed.popleft()
            self._passed_ms -= len(pcm) * 500 / rate
            return Frame(rate, pcm, "passed")
        pcm = self._queue.take(len(self._silence)) if self._queue is not None else b""
        if pcm:
            return Frame(self.rate, pcm, "spoken")
        return Frame(self.rate, self._silence, "silence")
