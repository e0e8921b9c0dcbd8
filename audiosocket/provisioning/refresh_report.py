"""A reading of the table: what was asked, what came of it, and whether to believe it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.logger import Logger

from audiosocket.extensions.model import Problem
from audiosocket.extensions.reconcile import Plan, shrinks
from audiosocket.extensions.validation import ValidationResult
from audiosocket.json_shapes import RefreshDiffJSON, RefreshJSON, RefreshStatsJSON

#: A suspiciously small result is believed when it is still there after this many seconds.
DOUBT_SECONDS = 1.0
#: Triggers of readings that nobody waits for and that come in close succession.
HURRIED = frozenset({"start", "reconnect", "notify"})


@dataclass(frozen=True)
class RefreshOptions:
    """What is asked of a reading; ``but`` are extensions whose absence is expected."""

    force: bool = False
    dry_run: bool = False
    but: frozenset[int] = frozenset()


@dataclass
class RefreshReport:
    """What one reading brought; shown by the API."""

    trigger: str
    result: str = "applied"  # applied | unchanged | held_back | failed | previewed
    reason: str = ""
    at: float = field(default_factory=time.time)
    seconds: float = 0.0
    stats: RefreshStatsJSON = field(default_factory=RefreshStatsJSON)
    diff: RefreshDiffJSON = field(default_factory=RefreshDiffJSON)
    rejected: int = 0
    problems: tuple[Problem, ...] = ()

    def to_json(self) -> RefreshJSON:
        """As shown by the API; ``age_seconds`` since it happened."""
        return {
            "trigger": self.trigger,
            "result": self.result,
            "reason": self.reason,
            "age_seconds": round(max(0.0, time.time() - self.at), 1),
            "duration_seconds": round(self.seconds, 3),
            "stats": self.stats,
            "diff": self.diff,
            "rejected": self.rejected,
            "rejected_rows": [problem.to_json() for problem in self.problems],
        }

    def describe(self, plan: Plan) -> None:
        """What a plan changes."""
        self.stats = plan.stats()
        self.diff = {"added": list(plan.added), "updated": list(plan.updated), "removed": list(plan.removed)}

    def hold_back(self, found: int, running: int) -> None:
        """A result that is not believed yet."""
        self.result = "held_back"
        self.reason = (
            f"the table has {found} usable rows and {running} extensions run; it is applied when it looks the "
            'same once more, or by POST /api/refresh with {"force": true}'
        )
        self.stats = {"removed": 0, "updated": 0, "added": 0, "total_active": running}


class ShrinkGuard:
    """Holds back a result that is much smaller than what runs, until it is seen a second time.

    Two hurried looks at a table that is just being rewritten are one sight; two requests are two.
    """

    def __init__(self) -> None:
        self._suspect: frozenset[int] | None = None
        self._since = 0.0

    def holds(self, verdict: ValidationResult, running: int, trigger: str, now: float) -> bool:
        """True when this result, read at ``now`` (seconds), should not be applied yet."""
        if not shrinks(len(verdict.extensions), running):
            return False
        seen = frozenset(extension.id for extension in verdict.extensions)
        if seen != self._suspect:
            self._suspect, self._since = seen, now
            return True
        return trigger in HURRIED and now - self._since < DOUBT_SECONDS

    def forget(self) -> None:
        """Something was applied; the next small result is a new one."""
        self._suspect = None


class ProblemLog:
    """Logs each bad entry once, not at every reading."""

    _log = Logger()

    def __init__(self) -> None:
        self._known: frozenset[tuple[int | None, str]] = frozenset()

    def __call__(self, problems: Sequence[Problem], rejected: int, where: str) -> None:
        """Log what is new of ``problems`` in ``where``; ``rejected`` counts those that were not kept, too."""
        now = frozenset((problem.id, problem.reason) for problem in problems)
        for extension_id, reason in sorted(now - self._known, key=str):
            self._log.error(
                "leaving out extension {id} of {where}: {reason}", id=extension_id, where=where, reason=reason
            )
        if rejected > len(problems) and now != self._known:
            self._log.error("{n} more entries of {where} are left out", n=rejected - len(problems), where=where)
        self._known = now
