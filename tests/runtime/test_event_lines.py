"""The log lines of events: what is left out, and how often recordings that fail are logged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from audiosocket.runtime.event_lines import FAILED_PER_SECOND, EventLines
from audiosocket.runtime.log_format import as_json_line
from tests.support.logged_events import LoggedEvents


def record(event: str, **fields: Any) -> dict[str, Any]:
    return {"event": event, "call_id": "c1", "extension": 7, "number": "1007", **fields}


def test_an_event_is_one_line_with_its_fields() -> None:
    with LoggedEvents() as logged:
        EventLines(Path("recordings"), Clock().seconds)(record("leg.digit", digit="5", role="visitor"))
    assert logged.text == "leg.digit call c1 extension 7 (1007) digit=5 role=visitor"


def test_in_json_the_fields_of_an_event_keep_their_types() -> None:
    with LoggedEvents() as logged:
        EventLines(Path("recordings"), Clock().seconds)(record("call.ended", outcome="lost", duration_seconds=3.5))
    line = json.loads(as_json_line(logged[0]))
    assert line["details"] == {"outcome": "lost", "duration_seconds": 3.5}
    assert line["text"] == "call.ended call c1 extension 7 (1007) outcome=lost duration_seconds=3.5"
    assert not [key for key in line if key.startswith("log_")]


def test_what_another_line_says_is_not_logged() -> None:
    with LoggedEvents() as logged:
        lines = EventLines(Path("recordings"), Clock().seconds)
        lines(record("call.started"))
        lines(record("leg.joined", role="visitor"))
        lines(record("leg.left", remaining=0))
    assert logged.text == ""


def test_many_recordings_that_fail_at_once_are_a_few_lines_and_the_next_says_how_many_more() -> None:
    time = Clock()
    lines = EventLines(Path("recordings"), time.seconds)
    with LoggedEvents() as logged:
        for _ in range(500):
            lines(record("recording.failed", role="visitor", reason="Too many open files"))
    assert len(logged) == FAILED_PER_SECOND
    assert "RECORD_DIR" in logged.text
    assert "in recordings ends here (Too many open files)" in logged.text
    time.advance(1)
    with LoggedEvents() as later:
        lines(record("recording.failed", role="visitor", reason="Too many open files"))
    assert later.text.endswith(f"(and {500 - FAILED_PER_SECOND} more since the last line)")
