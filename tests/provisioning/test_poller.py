"""Where the configuration comes from, without a database too, and the poller's end: time by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from audiosocket.errors import ExtensionTaken, SourceUnavailable
from audiosocket.extensions.model import DEFAULT_EXTENSION, Extension
from audiosocket.provisioning.poller import FIRST_WAIT_SECONDS
from tests.support.logged_failures import LoggedFailures
from tests.support.loopback_server import extension
from tests.support.poller import FILE, IDS, INTERVAL, ROWS, PollerFixture, done, pending

# at the start


def test_the_database_comes_first_and_is_saved(fixture: PollerFixture) -> None:
    fixture.file(*FILE)
    poller = fixture.start()
    assert fixture.listeners.applied == [IDS]
    assert (poller.configuration.source, fixture.saved()) == ("database", IDS)
    last = poller.configuration.last
    assert last is not None
    assert (last.trigger, last.result, last.stats["added"]) == ("start", "applied", 10)
    assert poller.configuration.last_success is not None


def test_when_the_database_fails_at_once_the_file_is_used_without_a_wait(fixture: PollerFixture) -> None:
    fixture.file(*FILE)
    fixture.table.failing = "no route to the server"
    poller = fixture.start()
    assert fixture.running() == [1, 2, 3]
    assert poller.configuration.source == "file"
    assert poller.configuration.source_since == fixture.path.stat().st_mtime
    assert fixture.log.containing("no route to the server")


def test_the_file_is_used_until_a_slow_database_answers(fixture: PollerFixture) -> None:
    fixture.file(*FILE)
    fixture.table.silent = True
    poller = fixture.start()
    fixture.clock.advance(FIRST_WAIT_SECONDS - 0.01)
    assert fixture.listeners.applied == []
    fixture.clock.advance(0.01)
    assert (poller.configuration.source, fixture.running()) == ("file", [1, 2, 3])
    fixture.table.answer()
    assert (poller.configuration.source, fixture.running(), fixture.saved()) == ("database", IDS, IDS)
    assert fixture.table.readings == 1


def test_without_database_and_file_the_default_listens(fixture: PollerFixture) -> None:
    poller = fixture.start(database=False)
    assert (poller.configuration.source, fixture.listeners.extensions) == ("default", {0: DEFAULT_EXTENSION})
    assert not fixture.path.exists()


def test_a_damaged_file_is_reported_and_the_default_listens_or_the_database(fixture: PollerFixture) -> None:
    fixture.path.write_text('{"ramais": [')
    poller = fixture.start(database=False)
    assert poller.configuration.source == "default"
    assert "damaged" in poller.configuration.file_trouble
    assert fixture.problems() == [poller.configuration.file_trouble]


def test_a_damaged_file_is_set_aside_before_the_database_s_replaces_it(fixture: PollerFixture) -> None:
    fixture.path.write_text('{"ramais": [')
    fixture.start()
    assert fixture.saved() == IDS
    assert len(list(fixture.path.parent.glob("*.damaged-*"))) == 1
    assert "set aside" in fixture.problems()[0]


def test_bad_entries_of_the_file_are_logged_by_id(fixture: PollerFixture) -> None:
    entries = [FILE[0].to_json(), {"id": 77, "ramal_ia": "1", "porta_ia": 0}]
    fixture.path.write_text(json.dumps({"ramais": entries}))
    fixture.start(database=False)
    assert fixture.running() == [1]
    assert fixture.problems()[0].startswith("leaving out extension 77 of ")


def test_a_row_of_the_file_keeps_its_port_against_a_new_row_at_the_start(fixture: PollerFixture) -> None:
    fixture.file(extension(5, 9000))
    fixture.table.rows = [extension(1, 9000, number="thief"), extension(5, 9000)]
    fixture.start()
    assert fixture.running() == [5]


# without a database


def test_changes_made_through_the_api_are_saved_and_applied(fixture: PollerFixture) -> None:
    poller = fixture.start(database=False)
    steps = done(poller.keep(lambda running: [*running.values(), ROWS[2], ROWS[1]]))
    assert steps.added == (2, 3)
    assert fixture.running() == fixture.saved() == [0, 2, 3]
    assert poller.configuration.source == "file"
    assert json.loads(fixture.path.read_bytes())["source"] == "api"


def test_a_change_that_cannot_be_saved_is_not_applied(fixture: PollerFixture) -> None:
    fixture.file(*FILE)
    poller = fixture.start(database=False)
    fixture.files.error = OSError(30, "Read-only file system")
    with pytest.raises(OSError, match="Read-only"):
        done(poller.keep(lambda _: []))
    assert fixture.running() == fixture.saved() == [1, 2, 3]
    fixture.files.error = None

    def refuse(_: Mapping[int, Extension]) -> Sequence[Extension]:
        raise ExtensionTaken("it is taken")

    with pytest.raises(ExtensionTaken):
        done(poller.keep(refuse))
    assert done(poller.keep(lambda _: ROWS)).stats()["total_active"] == 10


def test_the_local_file_is_read_again_on_request(fixture: PollerFixture) -> None:
    fixture.file(*FILE)
    poller = fixture.start(database=False)
    fixture.file(*FILE[:2])
    poller.read_again("signal")
    assert fixture.running() == [1, 2]
    assert poller.configuration.source == "file"


@pytest.mark.parametrize("content", ["{", '{"ramais": []}', '{"ramais": [{"id": 1}]}', None])
def test_a_local_file_that_cannot_be_used_changes_nothing_when_read_again(
    fixture: PollerFixture, content: str | None
) -> None:
    fixture.file(*FILE)
    poller = fixture.start(database=False)
    if content is None:
        fixture.path.unlink()
    else:
        fixture.path.write_text(content)
    poller.read_again("signal")
    assert fixture.running() == [1, 2, 3]
    assert content is None or fixture.path.read_text() == content


def test_with_a_database_the_table_is_read_again_on_request(fixture: PollerFixture) -> None:
    poller = fixture.start(automatic=False)
    fixture.table.rows = ROWS[:2]
    poller.read_again("signal")
    fixture.wait(0.0)
    assert poller.configuration.last is not None
    assert poller.configuration.last.trigger == "signal"


def test_two_changes_at_once_are_both_made(fixture: PollerFixture) -> None:
    poller = fixture.start(database=False)
    fixture.files.held = []
    adding = [
        pending(poller.keep(lambda running, row=row: [*running.values(), row]))  # type: ignore[misc]
        for row in ROWS[:3]
    ]
    fixture.files.release()
    for one in adding:
        done(one)
    assert fixture.running() == fixture.saved() == [0, 1, 2, 3]


# the end


def stopped(there: PollerFixture) -> Deferred[Any]:
    assert there.poller is not None
    return pending(there.poller.stopService())


def test_a_stop_during_the_first_wait_neither_listens_nor_leaves_a_timer(fixture: PollerFixture) -> None:
    fixture.file(*FILE)
    fixture.table.silent = True
    fixture.start()
    done(stopped(fixture))
    assert fixture.clock.getDelayedCalls() == []
    assert fixture.listeners.applied == []
    fixture.table.answer()
    fixture.wait(INTERVAL)
    assert fixture.listeners.applied == []


def test_a_stop_fails_all_waiting_callers_and_starts_nothing(fixture: PollerFixture) -> None:
    poller = fixture.start()
    fixture.table.silent = True
    waiting = [pending(poller.refresh("api", force=n > 1)) for n in range(4)]
    fixture.wait(INTERVAL)
    poller.refresh_soon()
    done(stopped(fixture))
    for one in waiting:
        with pytest.raises(SourceUnavailable, match="stopping"):
            done(one)
    poller.refresh_soon()
    poller.database_came_up()
    assert fixture.clock.getDelayedCalls() == []
    fixture.table.answer()
    with pytest.raises(SourceUnavailable, match="stopping"):
        done(poller.refresh("api"))
    assert len(fixture.listeners.applied) == 1


def test_a_stop_waits_for_a_change_that_is_being_saved(fixture: PollerFixture) -> None:
    poller = fixture.start(database=False)
    fixture.files.held = []
    change = pending(poller.keep(lambda _: ROWS))
    stopping = stopped(fixture)
    assert not stopping.called
    fixture.files.release()
    done(stopping)
    assert done(change).added == tuple(IDS)
    assert fixture.saved() == IDS


def test_a_stop_during_an_apply_logs_no_failure(fixture: PollerFixture, logged_failures: LoggedFailures) -> None:
    fixture.listeners.closed = Deferred()
    fixture.start()
    done(stopped(fixture))
    assert fixture.clock.getDelayedCalls() == []
    assert not logged_failures
    assert fixture.problems() == []
