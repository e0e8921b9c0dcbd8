"""Call events: identity cannot be faked, a broken sink costs its own copy, and the names are one list."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audiosocket.calls.events import EVENTS, EventLog, Record
from audiosocket.calls.outcomes import LegOutcome
from tests.support.logged_failures import LoggedFailures

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "events.md"
IDENTITY = {"call_id": "c", "extension": 4, "number": "1000"}
#: Methods that emit an event, with the name first.
EMITTERS = {"note", "emit"}
#: Others, by file: the position of the name.
FURTHER_EMITTERS = {("opener.py", "_note"): 1}
#: Where a name is passed on and not written: the function, and the name of its parameter.
PASSED_ON = {("leg.py", "event"), ("call.py", "event"), ("visit_services.py", "event")}
#: Not emitted in this repository: for apps of other packages.
FOR_APPS: set[str] = set()


def emitted() -> Iterator[tuple[str, int, ast.expr]]:
    """Yield file, line and the argument with the name for every call in the code that emits an event."""
    for top in ("audiosocket", "admin"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                method = node.func.attr
                at = 0 if method in EMITTERS else FURTHER_EMITTERS.get((path.name, method))
                if at is not None and len(node.args) > at:
                    yield path.name, node.lineno, node.args[at]


def names_in(argument: ast.expr) -> list[str]:
    """Return the names in a literal, or in a choice between literals."""
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return [argument.value]
    if isinstance(argument, ast.IfExp):
        return names_in(argument.body) + names_in(argument.orelse)
    return []


def test_every_sink_has_the_event_with_identity_and_fields() -> None:
    first: list[Record] = []
    second: list[Record] = []
    record = EventLog([first.append, second.append]).emit("leg.digit", IDENTITY, {"digit": "5"})
    assert first == second == [record]
    assert record == {**IDENTITY, "event": "leg.digit", "digit": "5"}


def test_identity_wins_over_fields() -> None:
    faked = {"call_id": "x", "extension": 9, "number": "9", "event": "call.ended", "digit": "5"}
    assert EventLog().emit("leg.digit", IDENTITY, faked) == {**IDENTITY, "event": "leg.digit", "digit": "5"}


def test_a_sink_that_fails_costs_its_own_copy_only(logged_failures: LoggedFailures) -> None:
    seen: list[Record] = []

    def fail(_: Record) -> None:
        raise OSError("disk full")

    EventLog([fail, seen.append]).emit("call.started", IDENTITY, {})
    assert len(seen) == 1
    assert len(logged_failures.flush(OSError)) == 1


def test_a_sink_that_changes_its_copy_changes_no_other() -> None:
    seen: list[Record] = []

    def spoil(record: Any) -> None:
        record.clear()

    record = EventLog([spoil, seen.append]).emit("call.started", IDENTITY, {})
    assert seen == [record] == [{**IDENTITY, "event": "call.started"}]


def test_an_unknown_name_raises_before_any_sink_is_called() -> None:
    seen: list[Record] = []
    with pytest.raises(KeyError, match=re.escape("leg.danced")):
        EventLog([seen.append]).emit("leg.danced", IDENTITY, {})
    assert seen == []


def test_the_list_has_exactly_the_names_in_the_code() -> None:
    found: set[str] = set()
    for file, line, argument in emitted():
        names = names_in(argument)
        passes_on = isinstance(argument, ast.Name) and (file, argument.id) in PASSED_ON
        assert names or passes_on, f"{file}:{line}: the event's name cannot be read"
        assert set(names) <= set(EVENTS), f"{file}:{line}"
        found.update(names)
    assert found == set(EVENTS) - FOR_APPS


def test_the_document_lists_the_same_events_and_outcomes() -> None:
    text = DOCUMENT.read_text(encoding="utf-8").partition("## Events of the server")[0]
    assert re.findall(r"^\| `([a-z.]+)` \|", text, re.MULTILINE) == list(EVENTS)
    outcomes = re.findall(r"`([a-z]+_[a-z]+|idle|shutdown|lost)`", text.rpartition("Outcomes")[2])
    assert outcomes == [e.value for e in LegOutcome]


def test_every_event_has_a_meaning() -> None:
    for name, meaning in EVENTS.items():
        assert re.fullmatch(r"[a-z]+\.[a-z]+", name)
        assert meaning.isprintable()
        assert len(meaning) > 10
