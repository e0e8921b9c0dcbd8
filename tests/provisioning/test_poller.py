"""Where the configuration comes from, when it is read, what is believed: a table in memory, time by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel

from audiosocket.errors import ExtensionTaken, SourceUnavailable
from audiosocket.extensions.model import DEFAULT_EXTENSION, Extension
from audiosocket.extensions.reconcile import Plan, Slot, SocketAddress, plan
from audiosocket.provisioning import local_file as cache
from audiosocket.provisioning.poller import FIRST_WAIT_SECONDS, MAX_PAUSE_SECONDS, MIN_PAUSE_SECONDS, Poller
from audiosocket.provisioning.refresh import SAVE_SECONDS
from audiosocket.provisioning.refresh_report import CONFIRM_SECONDS
from tests.support.logged_failures import LoggedFailures
from tests.support.loopback_server import CapturedLog, ManualFileThread, data_file, extension

T = TypeVar("T")
INTERVAL = 30.0
TICK = 1 / 16  # without rounding errors


class FakeListeners:
    """Listeners without sockets; ``closed`` holds up every apply until it is called back."""

    def __init__(self) -> None:
        self.extensions: dict[int, Extension] = {}
        self.applied: list[list[int]] = []
        self.failing: Exception | None = None
        self.closed: Deferred[None] | None = None

    async def apply(self, desired: Sequence[Extension]) -> Plan:
        if self.closed is not None:
            await self.closed
        if self.failing is not None:
            raise self.failing
        steps = self.preview(desired)
        self.extensions = {e.id: e for e in desired}
        self.applied.append(sorted(self.extensions))
        return steps

    def preview(self, desired: Sequence[Extension]) -> Plan:
        wanted = {e.id: e for e in desired}
        return plan(wanted, self.extensions, _addresses(wanted), _addresses(self.extensions))


def _addresses(extensions: Mapping[int, Extension]) -> dict[Slot, SocketAddress]:
    return {
        (key, role): SocketAddress("0.0.0.0", port)
        for key, e in extensions.items()
        for role, port in e.ports().items()
    }


class Table:
    """Rows in memory; ``silent`` holds up every reading until `answer`, ``failing`` is the error of every one."""

    def __init__(self, *rows: Extension) -> None:
        self.rows: list[Any] = list(rows)
        self.silent = False
        self.failing = ""
        self.readings = 0
        self.at_once = 0
        self._waiting: list[Deferred[None]] = []

    async def read(self, take: Callable[[Sequence[Mapping[str, object]]], None]) -> int:
        self.readings += 1
        self.at_once += 1
        assert self.at_once == 1, "two readings at once"
        try:
            if self.silent:
                waiting: Deferred[None] = Deferred()
                self._waiting.append(waiting)
                await waiting
            if self.failing:
                raise SourceUnavailable(self.failing)
            take([_row(row) for row in self.rows])
            return len(self.rows)
        finally:
            self.at_once -= 1

    def answer(self) -> None:
        """Let the reading that waits go on, and later ones too."""
        self.silent = False
        waiting, self._waiting = self._waiting, []
        for reading in waiting:
            reading.callback(None)


def _row(row: Any) -> Mapping[str, object]:
    return {"extension_ia_id": row.id, **row.as_row()} if isinstance(row, Extension) else row


class PollerFixture:
    """A poller with listeners, table, file thread and clock."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.listeners = FakeListeners()
        self.table = Table(*ROWS)
        self.files = ManualFileThread()
        self.path = data_file(directory)
        self.log = CapturedLog()
        self.poller: Poller | None = None

    def start(self, *, database: bool = True, automatic: bool = True, limit: int = 1000) -> Poller:
        self.poller = Poller(
            self.clock,
            self.listeners,
            self.table if database else None,
            self.path,
            self.files.run,
            interval=INTERVAL,
            automatic=automatic,
            limit=limit,
        )
        self.poller.startService()
        return self.poller

    def file(self, *extensions: Extension) -> None:
        cache.save(self.path, extensions, "test")

    def saved(self) -> list[int]:
        return [entry["id"] for entry in json.loads(self.path.read_bytes())["ramais"]]

    def running(self) -> list[int]:
        return sorted(self.listeners.extensions)

    def wait(self, seconds: float) -> None:
        """Move the clock, in steps small enough for timers that are started by timers."""
        for _ in range(math.ceil(seconds / TICK)):
            self.clock.advance(TICK)

    def problems(self) -> list[str]:
        return [text for level, text in self.log if level is LogLevel.error]

    def close(self) -> None:
        if self.poller is not None and self.poller.running:
            done(self.poller.stopService())
        assert self.clock.getDelayedCalls() == []
        self.log.close()


ROWS = [extension(n, 9000 + n) for n in range(1, 11)]
FILE = [extension(n, 9500 + n) for n in range(1, 4)]


@pytest.fixture
def fixture(tmp_path: Path) -> Iterator[PollerFixture]:
    made = PollerFixture(tmp_path)
    yield made
    made.close()


def pending(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    return Deferred.fromCoroutine(work)


def done(work: Coroutine[Deferred[Any], Any, T] | Deferred[T]) -> T:
    """Return the result of work that waits for nothing more, or raise its error."""
    results: list[Any] = []
    deferred = work if isinstance(work, Deferred) else pending(work)
    deferred.addCallbacks(results.append, results.append)
    assert results, "still waiting"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    value: T = results[0]
    return value


IDS = [row.id for row in ROWS]


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
