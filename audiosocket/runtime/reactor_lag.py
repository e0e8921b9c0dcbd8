"""How late the reactor is, and why: the first thing to check when audio is reported as choppy."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from audiosocket.json_shapes import HistogramJSON, ReactorJSON
from audiosocket.runtime.blocking_report import BlockingReport
from audiosocket.runtime.gc_stats import GCStats
from audiosocket.runtime.stack_sampler import StackSample, StackSampler

#: Interval between two measurements, in seconds.
INTERVAL_SECONDS = 0.02
#: Lateness from which the cause is counted, in seconds. A block begins anywhere between two measurements: one of
#: 60 ms is always noticed, one of 40 ms never.
MIN_BLOCK_SECONDS = 0.04
#: Lateness without a known cause is logged above this, in seconds.
MIN_LOGGED_SECONDS = 0.25
#: Minimum time between two such lines, in seconds.
LINE_SECONDS = 10.0
#: Lateness within the last 10 s above which the process is not healthy, in seconds.
MAX_HEALTHY_SECONDS = 1.0
BUCKETS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class ReactorLagMonitor(Service):
    """Measures, fifty times a second, how much later than requested the reactor calls it.

    ``seconds`` is a steady clock. ``sampler`` samples what the reactor does meanwhile; without one no cause is
    known.
    """

    _log = Logger()

    def __init__(
        self, reactor: IReactorTime, seconds: Callable[[], float], sampler: StackSampler | None = None
    ) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._sampler = sampler
        self._call: IDelayedCall | None = None
        self._requested = 0.0
        self._last_warning = -LINE_SECONDS
        self._recent: deque[float] = deque(maxlen=round(10 / INTERVAL_SECONDS))
        self.buckets = [0] * (len(BUCKETS_MS) + 1)
        self.worst = 0.0
        self.total = 0.0
        self.blocking = BlockingReport()
        self.gc_stats = GCStats()
        #: How often the whole process was not run.
        self.stood_still = 0

    def startService(self) -> None:
        super().startService()
        self.gc_stats.start()
        if self._sampler is not None:
            self._sampler.start()
        # The start is not measured: there are no calls before the reactor runs.
        self._call = self._reactor.callLater(0, self._wait)

    def stopService(self) -> None:
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self.gc_stats.stop()
        if self._sampler is not None:
            self._sampler.stop()

    @property
    def recent_worst(self) -> float:
        """The largest lateness of the last 10 s, in seconds."""
        return max(self._recent, default=0.0)

    def to_json(self) -> ReactorJSON:
        """Return what ``/api/status`` shows, with a histogram of lateness by upper bound in milliseconds."""
        bounds = [f"le_{bound}_ms" for bound in BUCKETS_MS] + ["more"]
        return {
            "lag_ms_worst_10s": round(self.recent_worst * 1000, 1),
            "lag_ms_worst": round(self.worst * 1000, 1),
            "lag_histogram": dict(zip(bounds, self.buckets, strict=True)),
            "blocked_times": self.blocking.times,
            "blocked_by": self.blocking.to_json(),
            "stood_still_times": self.stood_still,
            "gc": self.gc_stats.to_json(),
        }

    def histogram(self) -> HistogramJSON:
        """Return all measurements since the start."""
        return {
            "count": sum(self.buckets),
            "sum_ms": round(self.total * 1000, 1),
            "max_ms": round(self.worst * 1000, 1),
            "buckets": dict(zip([*map(str, BUCKETS_MS), "inf"], self.buckets, strict=True)),
        }

    def _wait(self) -> StackSample | None:
        self._requested = self._seconds() + INTERVAL_SECONDS
        self._call = self._reactor.callLater(INTERVAL_SECONDS, self._measure)
        return self._sampler.beat(INTERVAL_SECONDS) if self._sampler is not None else None

    def _measure(self) -> None:
        late = max(0.0, self._seconds() - self._requested)
        self._recent.append(late)
        self.worst = max(self.worst, late)
        self.total += late
        self.buckets[bisect_left(BUCKETS_MS, late * 1000)] += 1
        seen = self._wait()
        if late >= MIN_BLOCK_SECONDS:
            self._explain(late, seen)

    def _explain(self, late: float, seen: StackSample | None) -> None:
        if seen is not None and seen.stood_still > late / 2:
            self.stood_still += 1
            self._warn(
                late,
                "the process was not run for {ms:.0f} ms: callers heard a gap; it was stopped, or the "
                "machine was out of processor time or memory",
            )
        elif seen is not None and seen.stack is not None:
            blocked = late + INTERVAL_SECONDS / 2
            stack = self.blocking.add(seen.stack, blocked)
            if stack is not None:
                self._log.warn(
                    "{where} blocked the reactor for about {ms:.0f} ms{purpose}: callers heard a gap; do that "
                    "work in a thread or in pieces; logged once for each cause, /api/status has the count; "
                    "stack: {stack}",
                    where=str(seen.stack[0]),
                    ms=blocked * 1000,
                    purpose=f" in {seen.purpose}" if seen.purpose else "",
                    stack=stack,
                )
        else:
            self._warn(
                late,
                "the reactor was blocked for {ms:.0f} ms: callers heard a gap; check for blocking work, a busy "
                "processor or swapping",
            )

    def _warn(self, late: float, line: str) -> None:
        if late > MIN_LOGGED_SECONDS and self._seconds() - self._last_warning > LINE_SECONDS:
            self._last_warning = self._seconds()
            self._log.warn(line, ms=late * 1000)
