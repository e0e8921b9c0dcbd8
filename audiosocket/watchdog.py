"""How late the reactor is: the first thing to look at when somebody says "choppy"."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

EVERY_SECONDS = 0.1
#: Lateness above this is worth a line in the log, in seconds.
WORTH_A_LINE = 0.25
#: Between two such lines, in seconds.
LINE_EVERY = 10.0
#: Lateness above this within the last 10 s means not healthy, in seconds.
UNHEALTHY = 1.0
BUCKETS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Watchdog(Service):
    """Measures, ten times a second, how much later than asked it is called."""

    _log = Logger()

    def __init__(self, reactor: IReactorTime, seconds: Callable[[], float]) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._call: IDelayedCall | None = None
        self._asked = 0.0
        self._last_line = -LINE_EVERY
        self._recent: deque[float] = deque(maxlen=round(10 / EVERY_SECONDS))
        self.buckets = [0] * (len(BUCKETS_MS) + 1)
        self.worst = 0.0

    def startService(self) -> None:
        super().startService()
        self._wait()

    def stopService(self) -> None:
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()

    @property
    def recent_worst(self) -> float:
        """The largest lateness of the last 10 s, in seconds."""
        return max(self._recent, default=0.0)

    def as_json(self) -> dict[str, Any]:
        """As shown by ``/api/status``; a histogram of lateness by upper bound in milliseconds."""
        bounds = [f"le_{bound}_ms" for bound in BUCKETS_MS] + ["more"]
        return {
            "lag_ms_worst_10s": round(self.recent_worst * 1000, 1),
            "lag_ms_worst": round(self.worst * 1000, 1),
            "lag_histogram": dict(zip(bounds, self.buckets, strict=True)),
        }

    def _wait(self) -> None:
        self._asked = self._seconds() + EVERY_SECONDS
        self._call = self._reactor.callLater(EVERY_SECONDS, self._measure)

    def _measure(self) -> None:
        late = max(0.0, self._seconds() - self._asked)
        self._recent.append(late)
        self.worst = max(self.worst, late)
        self.buckets[sum(late * 1000 > bound for bound in BUCKETS_MS)] += 1
        if late > WORTH_A_LINE and self._seconds() - self._last_line > LINE_EVERY:
            self._last_line = self._seconds()
            self._log.warn(
                "the reactor was blocked for {ms:.0f} ms: callers heard a gap; look for work that blocks, a full "
                "processor or swapping",
                ms=late * 1000,
            )
        self._wait()
