"""What the poller believes of a table that shrank, and what it does when something fails."""

from __future__ import annotations

import pytest

from audiosocket.errors import SourceUnavailable
from audiosocket.provisioning.poller import MIN_PAUSE_SECONDS
from audiosocket.provisioning.refresh import SAVE_SECONDS
from audiosocket.provisioning.refresh_report import CONFIRM_SECONDS
from tests.support.logged_failures import LoggedFailures
from tests.support.poller import FILE, IDS, INTERVAL, ROWS, PollerFixture, done, pending

# what is believed


def test_an_empty_or_much_smaller_result_is_held_back_until_it_is_confirmed(fixture: PollerFixture) -> None:
    for remaining in ([], ROWS[:4]):
        there = PollerFixture(fixture.path.parent)
        poller = there.start()
        there.table.rows = list(remaining)
        there.wait(INTERVAL)
        assert there.running() == IDS
        last = poller.configuration.last
        assert last is not None
        assert last.result == "held_back"
        assert last.stats == {"removed": 0, "updated": 0, "added": 0, "total_active": 10}
        assert '{"force": true}' in last.reason
        assert there.saved() == IDS
        there.wait(INTERVAL)
        assert there.running() == there.saved() == [row.id for row in remaining]
        there.close()


def test_half_of_the_extensions_is_applied_at_once(fixture: PollerFixture) -> None:
    fixture.start()
    fixture.table.rows = ROWS[:5]
    fixture.wait(INTERVAL)
    assert fixture.running() == IDS[:5]


def test_a_small_result_is_applied_by_force_or_a_second_request(fixture: PollerFixture) -> None:
    poller = fixture.start()
    fixture.table.rows = ROWS[:1]
    assert done(poller.refresh("api", force=True)).result == "applied"
    assert fixture.running() == [1]
    fixture.table.rows = []
    assert done(poller.refresh("api")).result == "held_back"
    assert done(poller.refresh("api")).result == "applied"
    assert fixture.running() == []


def test_a_different_small_result_is_held_back_anew(fixture: PollerFixture) -> None:
    poller = fixture.start()
    fixture.table.rows = []
    assert done(poller.refresh("api")).result == "held_back"
    fixture.table.rows = ROWS[:2]
    assert done(poller.refresh("api")).result == "held_back"
    fixture.table.rows = ROWS
    assert done(poller.refresh("api")).result == "unchanged"
    fixture.table.rows = ROWS[:2]
    assert done(poller.refresh("api")).result == "held_back"
    assert done(poller.refresh("api")).result == "applied"


def test_two_automatic_refreshes_in_close_succession_do_not_confirm_each_other(fixture: PollerFixture) -> None:
    poller = fixture.start()
    fixture.wait(1)
    fixture.table.rows = []
    for _ in range(3):
        poller.refresh_soon()
        fixture.wait(MIN_PAUSE_SECONDS)
        assert fixture.running() == IDS
    assert fixture.table.readings == 4
    fixture.wait(CONFIRM_SECONDS)
    poller.refresh_soon()
    fixture.wait(MIN_PAUSE_SECONDS)
    assert fixture.running() == []


def test_an_empty_table_at_the_start_does_not_replace_the_file(fixture: PollerFixture) -> None:
    fixture.file(*FILE)
    fixture.table.rows = []
    poller = fixture.start()
    assert (poller.configuration.source, fixture.running(), fixture.saved()) == ("file", [1, 2, 3], [1, 2, 3])
    poller.database_came_up()
    assert fixture.running() == [1, 2, 3]
    fixture.wait(INTERVAL)
    assert (poller.configuration.source, fixture.running(), fixture.saved()) == ("database", [], [])


def test_an_empty_table_at_the_start_is_applied_without_a_file(fixture: PollerFixture) -> None:
    fixture.table.rows = []
    poller = fixture.start()
    assert (poller.configuration.source, fixture.running()) == ("database", [])


def test_removed_extensions_are_expected_to_be_absent(fixture: PollerFixture) -> None:
    fixture.table.rows = ROWS[:1]
    poller = fixture.start()
    fixture.table.rows = []
    assert done(poller.refresh("api remove", but=[1])).result == "applied"
    fixture.table.rows = ROWS[:4]
    done(poller.refresh("api"))
    fixture.table.rows = ROWS[:1]
    assert done(poller.refresh("api remove", but=[4])).result == "held_back"


# what fails


def test_a_refresh_that_fails_changes_nothing(fixture: PollerFixture) -> None:
    poller = fixture.start()
    before, content = dict(fixture.listeners.extensions), fixture.path.read_bytes()
    success = poller.configuration.last_success
    fixture.table.failing, fixture.table.rows = "the table is locked", []
    for _ in range(3):
        with pytest.raises(SourceUnavailable, match="the table is locked"):
            done(poller.refresh("api"))
    fixture.wait(INTERVAL * 3)
    assert (fixture.listeners.extensions, fixture.path.read_bytes(), poller.configuration.source) == (
        before,
        content,
        "database",
    )
    last = poller.configuration.last
    assert last is not None
    assert (last.result, last.reason) == (
        "failed",
        "the table is locked",
    )
    assert poller.configuration.last_success == success
    assert len(fixture.log.containing("the table is locked")) == 1


def test_without_a_database_a_refresh_is_an_error(fixture: PollerFixture) -> None:
    poller = fixture.start(database=False)
    with pytest.raises(SourceUnavailable, match="DB_HOST"):
        done(poller.refresh("api"))
    assert fixture.running() == [0]


def test_an_unexpected_error_is_a_failure_and_polling_goes_on(
    fixture: PollerFixture, logged_failures: LoggedFailures
) -> None:
    poller = fixture.start()
    fixture.listeners.failing = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        done(poller.refresh("api"))
    last = poller.configuration.last
    assert last is not None
    assert (last.result, last.reason) == ("failed", "a bug")
    fixture.wait(INTERVAL)
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    fixture.listeners.failing = None
    fixture.table.rows = ROWS[:9]
    fixture.wait(INTERVAL)
    assert fixture.running() == IDS[:9]


def test_bad_rows_are_logged_once_and_again_only_when_they_change(fixture: PollerFixture) -> None:
    bad = [
        {"extension_ia_id": 100 + n, "extension_ia_number": "x", "extension_ia_number_port": "0"} for n in range(3)
    ]
    fixture.table.rows = [*ROWS, *bad]
    poller = fixture.start()
    fixture.wait(INTERVAL * 3)
    assert fixture.table.readings == 4
    assert len(fixture.problems()) == 3
    assert fixture.problems()[0].startswith("leaving out extension 100 of extension_ia: porta_ia")
    fixture.table.rows = [*ROWS, *bad[1:], {**bad[0], "extension_ia_number_port": "70000"}]
    report = done(poller.refresh("api"))
    assert len(fixture.problems()) == 4
    assert (report.rejected, [problem.id for problem in report.problems]) == (3, [101, 102, 100])
    assert report.to_json()["rejected_rows"][0].keys() == {"id", "reason"}


def test_of_thousands_of_bad_rows_a_hundred_are_described_and_the_others_counted(fixture: PollerFixture) -> None:
    fixture.table.rows = [*ROWS, *({"extension_ia_id": n} for n in range(5000))]
    poller = fixture.start()
    fixture.wait(1)
    last = poller.configuration.last
    assert last is not None
    assert (last.rejected, len(last.problems)) == (5000, 100)
    assert len(fixture.problems()) == 101
    assert "4900 more entries" in fixture.problems()[-1]


def test_a_file_that_cannot_be_written_is_reported_and_the_table_applied(fixture: PollerFixture) -> None:
    fixture.files.error = OSError(28, "No space left on device")
    poller = fixture.start()
    assert fixture.running() == IDS
    assert poller.configuration.file_trouble == f"{fixture.path} cannot be written: No space left on device"
    fixture.wait(INTERVAL * 2)
    assert len(fixture.problems()) == 1
    fixture.files.error = None
    fixture.wait(INTERVAL)
    assert (poller.configuration.file_trouble, fixture.saved()) == ("", IDS)


def test_a_disk_that_does_not_answer_delays_the_next_configuration_by_seconds_only(fixture: PollerFixture) -> None:
    fixture.files.held = []
    poller = fixture.start()
    assert fixture.running() == IDS
    fixture.table.rows = ROWS[:9]
    second = pending(poller.refresh("api"))
    fixture.clock.advance(SAVE_SECONDS)
    assert fixture.running() == IDS[:9]
    assert "does not answer" in poller.configuration.file_trouble
    fixture.clock.advance(SAVE_SECONDS)
    assert done(second).result == "applied"
    fixture.files.release()
    fixture.wait(INTERVAL)
    assert (poller.configuration.file_trouble, fixture.saved()) == ("", IDS[:9])


def test_a_removed_file_is_written_again_and_an_unchanged_one_is_not(fixture: PollerFixture) -> None:
    fixture.start()
    before = fixture.path.stat().st_ino
    fixture.wait(INTERVAL)
    assert fixture.path.stat().st_ino == before
    fixture.path.unlink()
    fixture.wait(INTERVAL)
    assert fixture.saved() == IDS
