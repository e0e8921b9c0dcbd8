"""What a check has found, and how it is shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from audiosocket.cli.texts import Style
from audiosocket.runtime.log_format import escape

_KINDS = {"ok": "good", "warn": "warn", "bad": "bad"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``level`` is "ok", "warn" or "bad"; ``cure`` says what to do."""

    level: str
    what: str
    cure: str = ""


def is_bad(findings: Iterable[Finding]) -> bool:
    """Return whether one of the findings keeps something from working."""
    return any(finding.level == "bad" for finding in findings)


def lines(findings: Iterable[Finding], style: Style) -> Iterator[str]:
    """Yield one line for each finding, with its cure."""
    for finding in findings:
        cure = f" -> {finding.cure}" if finding.cure else ""
        level = style.paint(finding.level, _KINDS[finding.level]) + " " * (6 - len(finding.level))
        yield f"{level}{escape(finding.what + cure)}"


def to_json(findings: Iterable[Finding]) -> dict[str, Any]:
    """Return the findings as JSON; ``status`` is "error" if one of them is bad."""
    found = list(findings)
    return {"status": "error" if is_bad(found) else "success", "findings": [asdict(one) for one in found]}
