"""What a process counts of its audio and of its peers since its start, for the figures of the API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from audiosocket.calls.call import LegState
from audiosocket.json_shapes import TrafficJSON
from audiosocket.wire import FRAME_MS

#: A frame that comes so long after the one before is late, in seconds: it should have come a frame earlier.
LATE_SECONDS = 2 * FRAME_MS / 1000
#: A leg with audio in one direction only is counted if it lasted at least this long, in seconds.
ONE_WAY_SECONDS = 2.0
#: Why frames are dropped: too many wait to be passed on, the server was too late, the peer does not read.
DROPPED = ("waiting", "stalled", "blocked")
PROTOCOL_ERRORS = (
    "handshake",
    "handshake_timeout",
    "second_uuid",
    "flood",
    "unknown_message",
    "peer_error",
    "not_reading",
)


class Queue(Protocol):
    """The outgoing queue of a leg: `media.playout.Playout`."""

    @property
    def dropped(self) -> int:
        """Frames that were dropped, as too many waited."""

    @property
    def skipped_ms(self) -> float:
        """Audio that was not sent, as the clock was too late, in milliseconds."""


class CountedLeg(Protocol):
    """A leg with its counters: `leg.Leg`."""

    @property
    def state(self) -> LegState:
        """Its counters."""

    @property
    def playout(self) -> Queue:
        """Its outgoing queue."""

    @property
    def now_ms(self) -> float:
        """The steady time in milliseconds."""


class Traffic:
    """Counters of the legs that have ended; those of the live ones are added when they are asked for."""

    def __init__(self) -> None:
        self._ended: Counter[str] = Counter()
        self.protocol_errors: Counter[str] = Counter(dict.fromkeys(PROTOCOL_ERRORS, 0))
        #: Frames that a peer did not take.
        self.blocked = 0

    def leg_over(self, leg: CountedLeg) -> None:
        """Keep the counters of a leg that has ended."""
        _add(self._ended, [leg])
        state = leg.state
        lasted = leg.now_ms / 1000 - state.joined
        self._ended["one way"] += lasted >= ONE_WAY_SECONDS and not (state.frames_in and state.frames_out)

    def to_json(self, live: Iterable[CountedLeg]) -> TrafficJSON:
        """Return all counters; ``live`` are the legs that go on."""
        sums = Counter(self._ended)
        _add(sums, live)
        return {
            "frames_in": {"audio": sums["in"], "digit": sums["digits"], "ignored": sums["ignored"]},
            "frames_out": {"audio": sums["out"] - sums["silence"], "silence": sums["silence"]},
            "frames_late": sums["late"],
            "frames_dropped": dict(
                zip(DROPPED, (sums["waiting"], sums["skipped ms"] // FRAME_MS, self.blocked), strict=True)
            ),
            "protocol_errors": dict(self.protocol_errors),
            "one_way": sums["one way"],
        }


def _add(sums: Counter[str], legs: Iterable[CountedLeg]) -> None:
    """Add the counters of the legs; in variables first, as there may be thousands of legs."""
    came = digits = ignored = went = silent = late = waiting = skipped = 0
    for leg in legs:
        state, queue = leg.state, leg.playout
        came += state.frames_in
        digits += state.digits
        ignored += state.ignored
        went += state.frames_out
        silent += state.silence_out
        late += state.late_in
        waiting += queue.dropped
        skipped += int(queue.skipped_ms)
    for name, number in (
        ("in", came),
        ("digits", digits),
        ("ignored", ignored),
        ("out", went),
        ("silence", silent),
        ("late", late),
        ("waiting", waiting),
        ("skipped ms", skipped),
    ):
        sums[name] += number
