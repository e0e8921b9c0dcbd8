"""How late the reactor is, and because of what: the first thing to look at when somebody says "choppy"."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from audiosocket.json_shapes import ReactorJSON
from audiosocket.runtime.blocking_report import BlockingReport
from audiosocket.runtime.gc_stats import GCStats
from audiosocket.runtime.stack_sampler import StackSample, StackSampler

EVERY_SECONDS = 0.02
#: Lateness that is put down to a cause, in seconds. A block begins anywhere between two beats: one of 60 ms is
#: always noticed, one of 40 ms never.
WORTH_A_CAUSE = 0.04
#: Lateness without a cause above this is worth a line in the log, in seconds.
WORTH_A_LINE = 0.25
#: Between two such lines, in seconds.
LINE_EVERY = 10.0
#: Lateness above this within the last 10 s means not healthy, in seconds.
UNHEALTHY = 1.0
BUCKETS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class ReactorLagMonitor(Service):
    """Measures, fifty times a second, how much later than asked it is called.

    ``watch`` sees what the reactor does meanwhile; without one lateness has no cause.
    """

    _log = Logger()

    def __init__(
        self, reactor: IReactorTime, seconds: Callable[[], float], watch: StackSampler | None = None
    ) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._watch = watch
        self._call: IDelayedCall | None = None
        self._asked = 0.0
        self._last_line = -LINE_EVERY
        self._recent: deque[float] = deque(maxlen=round(10 / EVERY_SECONDS))
        self.buckets = [0] * (len(BUCKETS_MS) + 1)
        self.worst = 0.0
        self.causes = BlockingReport()
        self.pauses = GCStats()
        #: Times the whole process was not run.
        self.stood_still = 0

    def startService(self) -> None:
        super().startService()
        self.pauses.start()
        if self._watch is not None:
            self._watch.start()
        # The start itself is over when the reactor runs: nobody is on the phone before.
        self._call = self._reactor.callLater(0, self._wait)

    def stopService(self) -> None:
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self.pauses.stop()
        if self._watch is not None:
            self._watch.stop()

    @property
    def recent_worst(self) -> float:
        """The largest lateness of the last 10 s, in seconds."""
        return max(self._recent, default=0.0)

    def to_json(self) -> ReactorJSON:
        """As shown by ``/api/status``; a histogram of lateness by upper bound in milliseconds."""
        bounds = [f"le_{bound}_ms" for bound in BUCKETS_MS] + ["more"]
        return {
            "lag_ms_worst_10s": round(self.recent_worst * 1000, 1),
            "lag_ms_worst": round(self.worst * 1000, 1),
            "lag_histogram": dict(zip(bounds, self.buckets, strict=True)),
            "blocked_times": self.causes.times,
            "blocked_by": self.causes.to_json(),
            "stood_still_times": self.stood_still,
            "gc": self.pauses.to_json(),
        }

    def _wait(self) -> StackSample | None:
        self._asked = self._seconds() + EVERY_SECONDS
        self._call = self._reactor.callLater(EVERY_SECONDS, self._measure)
        return self._watch.beat(EVERY_SECONDS) if self._watch is not None else None

    def _measure(self) -> None:
        late = max(0.0, self._seconds() - self._asked)
        self._recent.append(late)
        self.worst = max(self.worst, late)
        self.buckets[bisect_left(BUCKETS_MS, late * 1000)] += 1
        seen = self._wait()
        if late >= WORTH_A_CAUSE:
            self._explain(late, seen)

    def _explain(self, late: float, seen: StackSample | None) -> None:
        if seen is not None and seen.stood_still > late / 2:
            self.stood_still += 1
            self._say(
                late,
                "the whole process stood still for {ms:.0f} ms: callers heard a gap; it was stopped, or the "
                "machine was out of processor time or memory",
            )
        elif seen is not None and seen.stack is not None:
            blocked = late + EVERY_SECONDS / 2
            stack = self.causes.add(seen.stack, blocked)
            if stack is not None:
                self._log.warn(
                    "{where} blocked the reactor for about {ms:.0f} ms: callers heard a gap; do that work in a "
                    "thread or in pieces; said once for each cause, /api/status counts on; stack: {stack}",
                    where=str(seen.stack[0]),
                    ms=blocked * 1000,
                    stack=stack,
                )
        else:
            self._say(
                late,
                "the reactor was blocked for {ms:.0f} ms: callers heard a gap; look for work that blocks, a full "
                "processor or swapping",
            )

    def _say(self, late: float, line: str) -> None:
        if late > WORTH_A_LINE and self._seconds() - self._last_line > LINE_EVERY:
            self._last_line = self._seconds()
            self._log.warn(line, ms=late * 1000)
