"""What has blocked the reactor, by cause: each cause is logged once and counted from then on."""

from __future__ import annotations

from dataclasses import dataclass

from audiosocket.json_shapes import BlockedByJSON
from audiosocket.runtime.stack_sampler import Stack

#: Innermost functions (``file:function``) by which causes are distinguished.
KEY_FRAMES = 3
#: Causes that are counted separately; further ones are counted together.
MAX_CAUSES = 64
#: Causes that the status shows, and frames that are logged.
MAX_SHOWN, MAX_LOGGED_FRAMES = 10, 8


@dataclass
class _Cause:
    where: str
    times: int = 0
    worst: float = 0.0


class BlockingReport:
    """Counts at most `MAX_CAUSES` causes; times are seconds."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], _Cause] = {}
        self._others = _Cause("others")
        self.times = 0

    def add(self, stack: Stack, seconds: float) -> str | None:
        """Count a block; return its stack as text, innermost frame first, None for a cause known already."""
        self.times += 1
        key = tuple(f"{frame.file}:{frame.function}" for frame in stack[:KEY_FRAMES])
        cause = self._known.get(key)
        new = cause is None
        if cause is None:
            cause = self._others
            if len(self._known) < MAX_CAUSES:
                cause = self._known[key] = _Cause(str(stack[0]))
        cause.times += 1
        cause.worst = max(cause.worst, seconds)
        if not new or (cause is self._others and cause.times > 1):
            return None
        return " < ".join(map(str, stack[:MAX_LOGGED_FRAMES]))

    def to_json(self) -> list[BlockedByJSON]:
        """Return the most frequent causes."""
        causes = sorted((*self._known.values(), self._others), key=lambda cause: cause.times, reverse=True)
        return [
            {"where": cause.where, "times": cause.times, "worst_ms": round(cause.worst * 1000)}
            for cause in causes[:MAX_SHOWN]
            if cause.times
        ]
