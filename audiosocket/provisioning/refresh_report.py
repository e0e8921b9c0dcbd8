"""A refresh: its options, its report, and the check of a table that has become much smaller."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.logger import Logger

from audiosocket.extensions.model import Problem
from audiosocket.extensions.reconcile import Plan, shrinks
from audiosocket.extensions.validation import ValidationResult
from audiosocket.json_shapes import RefreshDiffJSON, RefreshJSON, RefreshStatsJSON

#: Least seconds between two automatic refreshes that are to confirm each other.
CONFIRM_SECONDS = 1.0
#: Triggers of automatic refreshes that may follow each other closely.
RAPID_TRIGGERS = frozenset({"start", "reconnect", "notify"})


@dataclass(frozen=True)
class RefreshOptions:
    """Options of a refresh; ``but`` are ids of extensions whose absence is expected."""

    force: bool = False
    dry_run: bool = False
    but: frozenset[int] = frozenset()


@dataclass
class RefreshReport:
    """What a refresh found and changed; shown by the API."""

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
        """Return what the API shows."""
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
        """Take what a plan changes."""
        self.stats = plan.stats()
        self.diff = {"added": list(plan.added), "updated": list(plan.updated), "removed": list(plan.removed)}

    def hold_back(self, found: int, running: int) -> None:
        """Note that a result is not applied until it is confirmed."""
        self.result = "held_back"
        self.reason = (
            f"the table has {found} usable rows and {running} extensions run; it is applied when it looks the "
            'same once more, or by POST /api/refresh with {"force": true}'
        )
        self.stats = {"removed": 0, "updated": 0, "added": 0, "total_active": running}


class ShrinkGuard:
    """Holds back a result with much fewer extensions than run, until a second refresh has the same result.

    The second one must be requested, or come `CONFIRM_SECONDS` later: a table may be in the middle of a rewrite.
    """

    def __init__(self) -> None:
        self._suspect: frozenset[int] | None = None
        self._since = 0.0

    def holds(self, read: ValidationResult, running: int, trigger: str, now: float) -> bool:
        """Return whether this result, read at ``now`` (seconds), must not be applied yet."""
        if not shrinks(len(read.extensions), running):
            return False
        seen = frozenset(extension.id for extension in read.extensions)
        if seen != self._suspect:
            self._suspect, self._since = seen, now
            return True
        return trigger in RAPID_TRIGGERS and now - self._since < CONFIRM_SECONDS

    def forget(self) -> None:
        """Forget a result that was held back: something was applied."""
        self._suspect = None


class ProblemLog:
    """Logs each rejected entry once, not at every refresh."""

    _log = Logger()

    def __init__(self) -> None:
        self._known: frozenset[tuple[int | None, str]] = frozenset()

    def __call__(self, problems: Sequence[Problem], rejected: int, where: str) -> None:
        """Log the new ones of ``problems`` in ``where``; ``rejected`` also counts those not described."""
        now = frozenset((problem.id, problem.reason) for problem in problems)
        for extension_id, reason in sorted(now - self._known, key=str):
            self._log.error(
                "leaving out extension {id} of {where}: {reason}", id=extension_id, where=where, reason=reason
            )
        if rejected > len(problems) and now != self._known:
            self._log.error("{n} more entries of {where} are left out", n=rejected - len(problems), where=where)
        self._known = now
