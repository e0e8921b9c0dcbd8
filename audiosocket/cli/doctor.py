"""``audiosocket doctor``: what keeps calls from working, looked at from outside the server, and its report."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from dataclasses import asdict
from typing import Any, TextIO

from audiosocket.cli.api import Unreachable
from audiosocket.cli.doctor_checks import CHECKS, Subject
from audiosocket.cli.findings import Finding, is_bad
from audiosocket.cli.texts import Style, count, paragraph

__all__ = ["Report", "Subject"]

_KINDS = {"ok": "good", "warn": "warn", "bad": "bad"}
_NOT_MADE = Finding("warn", "it was not looked at", "correct what is bad above, or look at api and settings first")


class Report:
    """What was found, printed to ``out`` as it is found, or as one JSON object at the end."""

    def __init__(self, out: TextIO, style: Style, *, as_json: bool) -> None:
        self.unreachable = False
        self._found: list[tuple[str, Finding]] = []
        self._out = out
        self._style = style
        self._as_json = as_json

    @property
    def is_bad(self) -> bool:
        """Whether one of the findings keeps something from working."""
        return is_bad(finding for _name, finding in self._found)

    def add(self, subject: Subject, chosen: Container[str]) -> None:
        """Make the checks whose names are in ``chosen``. Blocks."""
        for name, look in CHECKS.items():
            if name in chosen:
                self._begin(name)
                before = len(self._found)
                for finding in look(subject):
                    self._note(name, finding)
                if len(self._found) == before:
                    self._note(name, _NOT_MADE)
        self.unreachable = "api" in chosen and isinstance(subject.session, Unreachable)
        self._finish()

    def stop(self, error: str) -> None:
        """Report that nothing can be looked at."""
        self._note("settings", Finding("bad", error))
        self._finish()

    def _begin(self, name: str) -> None:
        """Say what is looked at before it is, as a call takes seconds."""
        if not self._as_json:
            print(self._style.paint(name, "strong"), file=self._out, flush=True)

    def _note(self, name: str, finding: Finding) -> None:
        self._found.append((name, finding))
        if not self._as_json:
            print("\n".join(_lines(finding, self._style)), file=self._out, flush=True)

    def _finish(self) -> None:
        if self._as_json:
            text = json.dumps(self._to_json(), ensure_ascii=False, indent=2)
        else:
            levels = [finding.level for _name, finding in self._found]
            bad, warn = levels.count("bad"), levels.count("warn")
            text = f"\n{bad} bad, {count(warn, 'warning')}." if bad or warn else "\nNothing is wrong."
        print(text, file=self._out, flush=True)

    def _to_json(self) -> dict[str, Any]:
        findings = [{"check": name, **asdict(finding)} for name, finding in self._found]
        return {"status": "error" if self.is_bad else "success", "findings": findings}


def _lines(finding: Finding, style: Style) -> Iterator[str]:
    first, *rest = paragraph(finding.what, f"  {finding.level:<6}")
    yield f"  {style.paint(finding.level, _KINDS[finding.level])}{first[2 + len(finding.level) :]}"
    yield from rest
    if finding.cure:
        yield from paragraph(finding.cure, "        -> ")
