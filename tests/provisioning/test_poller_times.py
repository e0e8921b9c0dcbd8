"""When the poller reads: intervals, notifications, requests, reconnects."""

from __future__ import annotations

import json

import pytest

from audiosocket.errors import SourceUnavailable
from audiosocket.provisioning.poller import MAX_PAUSE_SECONDS, MIN_PAUSE_SECONDS
from tests.support.loopback_server import extension
from tests.support.poller import FILE, IDS, INTERVAL, ROWS, PollerFixture, done, pending

# when it is read


def test_another_interval_applies_at_once_where_it_is_shorter(fixture: PollerFixture) -> None:
    poller = fixture.start()
    readings = fixture.table.readings
    poller.poll_every(INTERVAL / 10)
    fixture.wait(INTERVAL / 10)
    assert fixture.table.readings == readings + 1


def test_the_table_is_polled_at_every_interval(fixture: PollerFixture) -> None:
    fixture.start()
    for n in range(1, 4):
        fixture.table.rows = ROWS[: 10 - n]
        fixture.wait(INTERVAL - 1)
        assert len(fixture.running()) == 11 - n
        fixture.wait(1)
        assert len(fixture.running()) == 10 - n
    assert fixture.table.readings == 4


def test_many_notifications_are_few_refreshes_with_one_after_the_last(fixture: PollerFixture) -> None:
    poller = fixture.start()
    readings = []
    for n in range(200):
        fixture.table.rows = [extension(m, 9000 + m + n) for m in range(1, 11)]
        poller.refresh_soon()
        fixture.clock.advance(0.01)
        readings.append(fixture.table.readings)
    assert readings[-1] - 1 <= 200 * 0.01 / MIN_PAUSE_SECONDS + 1
    fixture.wait(MIN_PAUSE_SECONDS)
    assert fixture.listeners.extensions[1].port == 9200
    quiet = fixture.table.readings
    fixture.wait(INTERVAL / 2)
    assert fixture.table.readings == quiet


def test_a_notification_during_a_refresh_is_not_lost(fixture: PollerFixture) -> None:
    poller = fixture.start()
    fixture.wait(1)
    fixture.table.silent = True
    poller.refresh_soon()
    fixture.wait(MIN_PAUSE_SECONDS)
    assert fixture.table.readings == 2
    poller.refresh_soon()
    poller.refresh_soon()
    fixture.wait(1)
    assert fixture.table.readings == 2
    fixture.table.answer()
    assert fixture.table.readings == 3


def test_slow_refreshes_are_made_less_often(fixture: PollerFixture) -> None:
    poller = fixture.start()
    fixture.table.silent = True
    slow = pending(poller.refresh("api"))
    fixture.wait(20)
    fixture.table.answer()
    done(slow)
    poller.refresh_soon()
    fixture.wait(MAX_PAUSE_SECONDS - 1)
    assert fixture.table.readings == 2
    fixture.wait(1)
    assert fixture.table.readings == 3


def test_a_refresh_that_failed_slowly_does_not_delay_the_next(fixture: PollerFixture) -> None:
    """After an outage the first notification must not wait for five times the outage's time-out."""
    poller = fixture.start()
    fixture.table.silent = True
    failing = pending(poller.refresh("api"))
    failing.addErrback(lambda failure: failure.trap(SourceUnavailable))
    fixture.wait(20)
    fixture.table.failing = "timed out"
    fixture.table.answer()
    fixture.table.failing = ""
    fixture.table.rows = ROWS[:9]
    poller.refresh_soon()
    fixture.wait(MIN_PAUSE_SECONDS * 2)
    assert fixture.running() == IDS[:9]


def test_fifty_requests_at_once_are_at_most_two_readings(fixture: PollerFixture) -> None:
    poller = fixture.start()
    fixture.table.silent = True
    waiting = [pending(poller.refresh("api")) for _ in range(50)]
    fixture.table.answer()
    assert {done(one).result for one in waiting} == {"unchanged"}
    assert fixture.table.readings == 3
    fixture.table.silent, fixture.table.failing = True, "gone"
    waiting = [pending(poller.refresh("api")) for _ in range(50)]
    fixture.table.answer()
    for one in waiting:
        with pytest.raises(SourceUnavailable, match="gone"):
            done(one)
    assert fixture.table.readings == 5


def test_a_cancelled_caller_does_not_concern_the_others(fixture: PollerFixture) -> None:
    poller = fixture.start()
    fixture.table.silent = True
    first, second = pending(poller.refresh("api")), pending(poller.refresh("api"))
    for impatient in (first, second):
        impatient.addErrback(lambda _: None)
    third = pending(poller.refresh("api"))
    first.cancel()
    second.cancel()
    fixture.table.answer()
    assert done(third).result == "unchanged"
    assert done(poller.refresh("api")).result == "unchanged"


def test_a_dry_run_changes_nothing_and_reports_what_would_change(fixture: PollerFixture) -> None:
    poller = fixture.start()
    last, content = poller.configuration.last, fixture.path.read_bytes()
    fixture.table.rows = [extension(1, 9999), *ROWS[1:9], extension(50, 9950), {"extension_ia_id": 60}]
    report = done(poller.refresh("api", dry_run=True))
    assert report.result == "previewed"
    assert report.diff == {"added": [50], "updated": [1], "removed": [10]}
    assert report.stats == {"added": 1, "updated": 1, "removed": 1, "total_active": 10}
    assert report.rejected == 1
    assert (fixture.running(), fixture.path.read_bytes(), poller.configuration.last) == (IDS, content, last)
    fixture.table.rows = []
    assert done(poller.refresh("api", dry_run=True)).stats["removed"] == 10
    assert done(poller.refresh("api")).result == "held_back", "a dry run is no sight"
    report = done(poller.refresh("api", force=True))
    assert report.diff["removed"] == IDS


def test_the_report_has_what_operators_scripts_parse(fixture: PollerFixture) -> None:
    poller = fixture.start()
    shown = done(poller.refresh("api")).to_json()
    assert shown["stats"] == {"removed": 0, "updated": 0, "added": 0, "total_active": 10}
    assert shown["trigger"] == "api"
    assert shown["result"] == "unchanged"
    assert isinstance(shown["age_seconds"], float)
    json.dumps(shown)


def test_without_automatic_refresh_the_table_is_read_at_the_start_and_on_request(
    fixture: PollerFixture,
) -> None:
    poller = fixture.start(automatic=False)
    assert fixture.running() == IDS
    fixture.table.rows = ROWS[:8]
    poller.refresh_soon()
    poller.database_came_up()
    fixture.wait(INTERVAL * 3)
    assert fixture.table.readings == 1
    done(poller.refresh("api"))
    assert fixture.running() == IDS[:8]


def test_without_automatic_refresh_the_first_connection_counts_as_the_start(fixture: PollerFixture) -> None:
    fixture.file(*FILE)
    fixture.table.failing = "starting up"
    poller = fixture.start(automatic=False)
    assert poller.configuration.source == "file"
    fixture.table.failing = ""
    for _ in range(3):
        poller.database_came_up()
    assert (poller.configuration.source, fixture.running()) == ("database", IDS)
    assert fixture.table.readings == 2


def test_the_table_is_read_in_full_after_every_reconnect(fixture: PollerFixture) -> None:
    poller = fixture.start()
    fixture.table.rows = ROWS[:9]
    poller.database_came_up()
    assert fixture.running() == IDS[:9]


def test_ports_that_could_not_be_opened_are_tried_again_at_every_interval(
    fixture: PollerFixture,
) -> None:
    """The listeners do that in `apply`, also when nothing has changed."""
    for case in ("up", "down", "held back", "manual", "none"):
        there = PollerFixture(fixture.path.parent)
        there.start(database=case != "none", automatic=case != "manual")
        before = there.running()
        there.table.failing = "gone" if case == "down" else ""
        for _ in range(3):
            if case == "held back":
                there.table.rows = [] if there.table.rows else ROWS[:1]
            there.listeners.applied.clear()
            there.wait(INTERVAL)
            assert there.listeners.applied == [before], case
        there.close()
