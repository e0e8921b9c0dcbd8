"""What a peer can cause again and again is noted so often, and counted beyond that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from audiosocket.calls.call import Call
from audiosocket.calls.event_quota import BURST, LIMITED, PER_SECOND, SUMMARY_SECONDS, EventQuota
from audiosocket.calls.events import EVENTS, EventLog
from audiosocket.calls.journal import CallJournal
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.wire import digit_frame
from tests.support.in_memory import CALL, InMemoryServer, RecordingApp, refused

SECONDS = 5


def test_the_limited_events_exist_and_none_is_needed_after_a_restart() -> None:
    assert EVENTS.keys() >= LIMITED
    assert not LIMITED & {"call.started", "call.ended", "leg.joined", "leg.resumed", "leg.left"}


def test_a_burst_is_noted_then_two_a_second_and_the_rest_is_counted() -> None:
    quota = EventQuota(0.0)
    assert sum(quota.allow("leg.digit", 0.0) for _ in range(1_000)) == BURST
    later = sum(quota.allow("leg.digit", n / 100) for n in range(100 * SECONDS))
    assert later == pytest.approx(SECONDS * PER_SECOND, abs=1)
    assert quota.take() == {"leg.digit": 1_000 - BURST + 100 * SECONDS - later}
    assert quota.take() == {}


def test_a_person_who_presses_keys_for_a_minute_is_noted_in_full() -> None:
    quota = EventQuota(0.0)
    assert all(quota.allow("leg.digit", n / 3) for n in range(180))
    assert not quota.due(1_000.0)


def test_the_counts_are_due_10_s_after_the_first_event_that_was_left_out() -> None:
    quota = EventQuota(0.0)
    for _ in range(BURST + 1):
        quota.allow("leg.refused", 3.0)
    assert not quota.due(2.9 + SUMMARY_SECONDS)
    assert quota.due(3.0 + SUMMARY_SECONDS)
    quota.take()
    assert not quota.due(100.0)


def test_a_minute_of_digits_is_summed_up_in_the_timeline_every_10_s_and_at_the_end() -> None:
    records: list[dict[str, Any]] = []
    call = Call(CALL, DEFAULT_EXTENSION, 0.0, "now", EventLog([lambda record: records.append(dict(record))]))
    for n in range(60 * 50):
        call.note("leg.digit", n / 50, digit="1")
    call.note("gate.opened", 60.0)
    call.decide("completed")
    call.note_end(60.0)
    omitted = [record["events"]["leg.digit"] for record in records if record["event"] == "call.omitted"]
    noted = [record for record in records if record["event"] == "leg.digit"]
    assert len(noted) + sum(omitted) == 60 * 50
    assert len(noted) <= BURST + 60 * PER_SECOND + 1
    assert 5 <= len(omitted) <= 7
    assert [record["event"] for record in records[-3:]] == ["gate.opened", "call.omitted", "call.ended"]


def test_five_seconds_of_digits_are_a_small_journal_and_lose_no_digit_for_the_app(tmp_path: Path) -> None:
    path = tmp_path / "calls.journal"
    journal = CallJournal(path, lambda work, *args, **kwargs: work(*args, **kwargs))
    journal.open()
    app = RecordingApp()
    server = InMemoryServer(app, journal=journal)
    line = server.join()
    # As many as the intake lets a peer send without being ended.
    count = 0
    for _ in range(SECONDS * 10):
        line.send(digit_frame("5") * 6)
        count += 6
        server.run(100, line)
    assert app.methods.count("digit") == count
    journal.close()
    lines = [json.loads(one) for one in path.read_bytes().splitlines()]
    assert 0 < len(lines) <= BURST + SECONDS * PER_SECOND + 5
    assert path.stat().st_size < 20_000
    shown = server.registry.get(CALL)
    assert shown is not None
    assert shown.timeline[0]["event"] == "call.started"


def test_refused_duplicates_are_counted_too() -> None:
    server = InMemoryServer(RecordingApp())
    line = server.join()
    for _ in range(500):
        server.run(2, line)
        assert refused(server.join(role=Role.VISITOR))
    line.hang_up()
    names = server.event_names()
    assert names.count("leg.refused") <= BURST + 2 * PER_SECOND + 1
    [omitted] = [record["events"] for record in server.events if record["event"] == "call.omitted"]
    assert omitted["leg.refused"] + names.count("leg.refused") == 500
