"""What has blocked the reactor, by cause: each said once and counted from then on."""

from __future__ import annotations

from dataclasses import dataclass

from audiosocket.json_shapes import BlockedByJSON
from audiosocket.runtime.stack_sampler import Stack

#: Innermost functions (``file:function``) that tell one cause from another.
TELLING = 3
#: Causes kept apart; what else blocks is counted together.
MOST = 64
#: Causes shown and frames said.
SHOWN, SAID = 10, 8


@dataclass
class _Cause:
    where: str
    times: int = 0
    worst: float = 0.0


class BlockingReport:
    """Remembers at most `MOST` causes; times are seconds."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], _Cause] = {}
        self._others = _Cause("others")
        self.times = 0

    def add(self, stack: Stack, seconds: float) -> str | None:
        """Count it; what to say of the stack, innermost first, or None when this cause has been said."""
        self.times += 1
        key = tuple(f"{place.file}:{place.function}" for place in stack[:TELLING])
        cause = self._known.get(key)
        new = cause is None
        if cause is None:
            cause = self._others
            if len(self._known) < MOST:
                cause = self._known[key] = _Cause(str(stack[0]))
        cause.times += 1
        cause.worst = max(cause.worst, seconds)
        if not new or (cause is self._others and cause.times > 1):
            return None
        return " < ".join(map(str, stack[:SAID]))

    def to_json(self) -> list[BlockedByJSON]:
        """The most frequent ones."""
        causes = sorted((*self._known.values(), self._others), key=lambda cause: cause.times, reverse=True)
        return [
            {"where": cause.where, "times": cause.times, "worst_ms": round(cause.worst * 1000)}
            for cause in causes[:SHOWN]
            if cause.times
        ]
