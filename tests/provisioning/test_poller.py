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


class Rooms:
    """Listeners without sockets; ``closed`` holds back every apply until it is called back."""

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
        wish = {e.id: e for e in desired}
        return plan(wish, self.extensions, _places(wish), _places(self.extensions))


def _places(extensions: Mapping[int, Extension]) -> dict[Slot, SocketAddress]:
    return {
        (key, role): SocketAddress("0.0.0.0", port)
        for key, e in extensions.items()
        for role, port in e.ports().items()
    }


class Table:
    """Rows in memory; ``silent`` keeps every reading waiting until `answer`, ``failing`` refuses it."""

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
        """The reading that waits goes on, and so do later ones."""
        self.silent = False
        waiting, self._waiting = self._waiting, []
        for reading in waiting:
            reading.callback(None)


def _row(row: Any) -> Mapping[str, object]:
    return {"extension_ia_id": row.id, **row.as_row()} if isinstance(row, Extension) else row


class Desk:
    """A poller with everything around it."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.rooms = Rooms()
        self.table = Table(*ROWS)
        self.files = ManualFileThread()
        self.path = data_file(directory)
        self.log = CapturedLog()
        self.poller: Poller | None = None

    def start(self, *, database: bool = True, automatic: bool = True, limit: int = 1000) -> Poller:
        self.poller = Poller(
            self.clock,
            self.rooms,
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
        return sorted(self.rooms.extensions)

    def wait(self, seconds: float) -> None:
        """Time passes, in steps small enough for timers that follow from timers."""
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
def desk(tmp_path: Path) -> Iterator[Desk]:
    there = Desk(tmp_path)
    yield there
    there.close()


def pending(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    return Deferred.fromCoroutine(work)


def done(work: Coroutine[Deferred[Any], Any, T] | Deferred[T]) -> T:
    """The result of work that has nothing left to wait for; raises what it raised."""
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


def test_the_database_comes_first_and_is_saved(desk: Desk) -> None:
    desk.file(*FILE)
    poller = desk.start()
    assert desk.rooms.applied == [IDS]
    assert (poller.configuration.source, desk.saved()) == ("database", IDS)
    last = poller.configuration.last
    assert last is not None
    assert (last.trigger, last.result, last.stats["added"]) == ("start", "applied", 10)
    assert poller.configuration.last_success is not None


def test_when_the_database_fails_at_once_the_file_is_used_without_a_wait(desk: Desk) -> None:
    desk.file(*FILE)
    desk.table.failing = "no route to the server"
    poller = desk.start()
    assert desk.running() == [1, 2, 3]
    assert poller.configuration.source == "file"
    assert poller.configuration.source_since == desk.path.stat().st_mtime
    assert desk.log.containing("no route to the server")


def test_the_file_is_used_until_a_slow_database_answers(desk: Desk) -> None:
    desk.file(*FILE)
    desk.table.silent = True
    poller = desk.start()
    desk.clock.advance(FIRST_WAIT_SECONDS - 0.01)
    assert desk.rooms.applied == []
    desk.clock.advance(0.01)
    assert (poller.configuration.source, desk.running()) == ("file", [1, 2, 3])
    desk.table.answer()
    assert (poller.configuration.source, desk.running(), desk.saved()) == ("database", IDS, IDS)
    assert desk.table.readings == 1


def test_without_database_and_file_the_default_listens(desk: Desk) -> None:
    poller = desk.start(database=False)
    assert (poller.configuration.source, desk.rooms.extensions) == ("default", {0: DEFAULT_EXTENSION})
    assert not desk.path.exists()


def test_a_damaged_file_is_reported_and_the_default_listens_or_the_database(desk: Desk) -> None:
    desk.path.write_text('{"ramais": [')
    poller = desk.start(database=False)
    assert poller.configuration.source == "default"
    assert "damaged" in poller.configuration.file_trouble
    assert desk.problems() == [poller.configuration.file_trouble]


def test_a_damaged_file_is_set_aside_before_the_database_s_replaces_it(desk: Desk) -> None:
    desk.path.write_text('{"ramais": [')
    desk.start()
    assert desk.saved() == IDS
    assert len(list(desk.path.parent.glob("*.damaged-*"))) == 1
    assert "set aside" in desk.problems()[0]


def test_bad_entries_of_the_file_are_logged_by_id(desk: Desk) -> None:
    entries = [FILE[0].to_json(), {"id": 77, "ramal_ia": "1", "porta_ia": 0}]
    desk.path.write_text(json.dumps({"ramais": entries}))
    desk.start(database=False)
    assert desk.running() == [1]
    assert desk.problems()[0].startswith("leaving out extension 77 of ")


def test_a_row_of_the_file_keeps_its_port_against_a_new_row_at_the_start(desk: Desk) -> None:
    desk.file(extension(5, 9000))
    desk.table.rows = [extension(1, 9000, number="thief"), extension(5, 9000)]
    desk.start()
    assert desk.running() == [5]


# what is believed


def test_an_empty_or_much_smaller_result_is_held_back_until_it_is_confirmed(desk: Desk) -> None:
    for remaining in ([], ROWS[:4]):
        there = Desk(desk.path.parent)
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


def test_half_of_the_extensions_is_applied_at_once(desk: Desk) -> None:
    desk.start()
    desk.table.rows = ROWS[:5]
    desk.wait(INTERVAL)
    assert desk.running() == IDS[:5]


def test_a_small_result_is_applied_by_force_or_a_second_request(desk: Desk) -> None:
    poller = desk.start()
    desk.table.rows = ROWS[:1]
    assert done(poller.refresh("api", force=True)).result == "applied"
    assert desk.running() == [1]
    desk.table.rows = []
    assert done(poller.refresh("api")).result == "held_back"
    assert done(poller.refresh("api")).result == "applied"
    assert desk.running() == []


def test_a_different_small_result_is_held_back_anew(desk: Desk) -> None:
    poller = desk.start()
    desk.table.rows = []
    assert done(poller.refresh("api")).result == "held_back"
    desk.table.rows = ROWS[:2]
    assert done(poller.refresh("api")).result == "held_back"
    desk.table.rows = ROWS
    assert done(poller.refresh("api")).result == "unchanged"
    desk.table.rows = ROWS[:2]
    assert done(poller.refresh("api")).result == "held_back"
    assert done(poller.refresh("api")).result == "applied"


def test_two_automatic_refreshes_in_close_succession_do_not_confirm_each_other(desk: Desk) -> None:
    poller = desk.start()
    desk.wait(1)
    desk.table.rows = []
    for _ in range(3):
        poller.refresh_soon()
        desk.wait(MIN_PAUSE_SECONDS)
        assert desk.running() == IDS
    assert desk.table.readings == 4
    desk.wait(CONFIRM_SECONDS)
    poller.refresh_soon()
    desk.wait(MIN_PAUSE_SECONDS)
    assert desk.running() == []


def test_an_empty_table_at_the_start_does_not_replace_the_file(desk: Desk) -> None:
    desk.file(*FILE)
    desk.table.rows = []
    poller = desk.start()
    assert (poller.configuration.source, desk.running(), desk.saved()) == ("file", [1, 2, 3], [1, 2, 3])
    poller.database_came_up()
    assert desk.running() == [1, 2, 3]
    desk.wait(INTERVAL)
    assert (poller.configuration.source, desk.running(), desk.saved()) == ("database", [], [])


def test_an_empty_table_at_the_start_is_applied_without_a_file(desk: Desk) -> None:
    desk.table.rows = []
    poller = desk.start()
    assert (poller.configuration.source, desk.running()) == ("database", [])


def test_removed_extensions_are_expected_to_be_absent(desk: Desk) -> None:
    desk.table.rows = ROWS[:1]
    poller = desk.start()
    desk.table.rows = []
    assert done(poller.refresh("api remove", but=[1])).result == "applied"
    desk.table.rows = ROWS[:4]
    done(poller.refresh("api"))
    desk.table.rows = ROWS[:1]
    assert done(poller.refresh("api remove", but=[4])).result == "held_back"


# what fails


def test_a_refresh_that_fails_changes_nothing(desk: Desk) -> None:
    poller = desk.start()
    before, content = dict(desk.rooms.extensions), desk.path.read_bytes()
    success = poller.configuration.last_success
    desk.table.failing, desk.table.rows = "the table is locked", []
    for _ in range(3):
        with pytest.raises(SourceUnavailable, match="the table is locked"):
            done(poller.refresh("api"))
    desk.wait(INTERVAL * 3)
    assert (desk.rooms.extensions, desk.path.read_bytes(), poller.configuration.source) == (
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
    assert len(desk.log.containing("the table is locked")) == 1


def test_without_a_database_a_refresh_is_an_error(desk: Desk) -> None:
    poller = desk.start(database=False)
    with pytest.raises(SourceUnavailable, match="DB_HOST"):
        done(poller.refresh("api"))
    assert desk.running() == [0]


def test_an_unexpected_error_is_a_failure_and_polling_goes_on(desk: Desk, logged_failures: LoggedFailures) -> None:
    poller = desk.start()
    desk.rooms.failing = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        done(poller.refresh("api"))
    last = poller.configuration.last
    assert last is not None
    assert (last.result, last.reason) == ("failed", "a bug")
    desk.wait(INTERVAL)
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    desk.rooms.failing = None
    desk.table.rows = ROWS[:9]
    desk.wait(INTERVAL)
    assert desk.running() == IDS[:9]


def test_bad_rows_are_logged_once_and_again_only_when_they_change(desk: Desk) -> None:
    bad = [
        {"extension_ia_id": 100 + n, "extension_ia_number": "x", "extension_ia_number_port": "0"} for n in range(3)
    ]
    desk.table.rows = [*ROWS, *bad]
    poller = desk.start()
    desk.wait(INTERVAL * 3)
    assert desk.table.readings == 4
    assert len(desk.problems()) == 3
    assert desk.problems()[0].startswith("leaving out extension 100 of extension_ia: porta_ia")
    desk.table.rows = [*ROWS, *bad[1:], {**bad[0], "extension_ia_number_port": "70000"}]
    report = done(poller.refresh("api"))
    assert len(desk.problems()) == 4
    assert (report.rejected, [problem.id for problem in report.problems]) == (3, [101, 102, 100])
    assert report.to_json()["rejected_rows"][0].keys() == {"id", "reason"}


def test_of_thousands_of_bad_rows_a_hundred_are_described_and_the_others_counted(desk: Desk) -> None:
    desk.table.rows = [*ROWS, *({"extension_ia_id": n} for n in range(5000))]
    poller = desk.start()
    desk.wait(1)
    last = poller.configuration.last
    assert last is not None
    assert (last.rejected, len(last.problems)) == (5000, 100)
    assert len(desk.problems()) == 101
    assert "4900 more entries" in desk.problems()[-1]


def test_a_file_that_cannot_be_written_is_reported_and_the_table_applied(desk: Desk) -> None:
    desk.files.error = OSError(28, "No space left on device")
    poller = desk.start()
    assert desk.running() == IDS
    assert poller.configuration.file_trouble == f"{desk.path} cannot be written: No space left on device"
    desk.wait(INTERVAL * 2)
    assert len(desk.problems()) == 1
    desk.files.error = None
    desk.wait(INTERVAL)
    assert (poller.configuration.file_trouble, desk.saved()) == ("", IDS)


def test_a_disk_that_does_not_answer_delays_the_next_configuration_by_seconds_only(desk: Desk) -> None:
    desk.files.held = []
    poller = desk.start()
    assert desk.running() == IDS
    desk.table.rows = ROWS[:9]
    second = pending(poller.refresh("api"))
    desk.clock.advance(SAVE_SECONDS)
    assert desk.running() == IDS[:9]
    assert "does not answer" in poller.configuration.file_trouble
    desk.clock.advance(SAVE_SECONDS)
    assert done(second).result == "applied"
    desk.files.release()
    desk.wait(INTERVAL)
    assert (poller.configuration.file_trouble, desk.saved()) == ("", IDS[:9])


def test_a_removed_file_is_written_again_and_an_unchanged_one_is_not(desk: Desk) -> None:
    desk.start()
    before = desk.path.stat().st_ino
    desk.wait(INTERVAL)
    assert desk.path.stat().st_ino == before
    desk.path.unlink()
    desk.wait(INTERVAL)
    assert desk.saved() == IDS


# when it is read


def test_the_table_is_polled_at_every_interval(desk: Desk) -> None:
    desk.start()
    for n in range(1, 4):
        desk.table.rows = ROWS[: 10 - n]
        desk.wait(INTERVAL - 1)
        assert len(desk.running()) == 11 - n
        desk.wait(1)
        assert len(desk.running()) == 10 - n
    assert desk.table.readings == 4


def test_many_notifications_are_few_refreshes_with_one_after_the_last(desk: Desk) -> None:
    poller = desk.start()
    readings = []
    for n in range(200):
        desk.table.rows = [extension(m, 9000 + m + n) for m in range(1, 11)]
        poller.refresh_soon()
        desk.clock.advance(0.01)
        readings.append(desk.table.readings)
    assert readings[-1] - 1 <= 200 * 0.01 / MIN_PAUSE_SECONDS + 1
    desk.wait(MIN_PAUSE_SECONDS)
    assert desk.rooms.extensions[1].port == 9200
    quiet = desk.table.readings
    desk.wait(INTERVAL / 2)
    assert desk.table.readings == quiet


def test_a_notification_during_a_refresh_is_not_lost(desk: Desk) -> None:
    poller = desk.start()
    desk.wait(1)
    desk.table.silent = True
    poller.refresh_soon()
    desk.wait(MIN_PAUSE_SECONDS)
    assert desk.table.readings == 2
    poller.refresh_soon()
    poller.refresh_soon()
    desk.wait(1)
    assert desk.table.readings == 2
    desk.table.answer()
    assert desk.table.readings == 3


def test_slow_refreshes_are_made_less_often(desk: Desk) -> None:
    poller = desk.start()
    desk.table.silent = True
    slow = pending(poller.refresh("api"))
    desk.wait(20)
    desk.table.answer()
    done(slow)
    poller.refresh_soon()
    desk.wait(MAX_PAUSE_SECONDS - 1)
    assert desk.table.readings == 2
    desk.wait(1)
    assert desk.table.readings == 3


def test_a_refresh_that_failed_slowly_does_not_delay_the_next(desk: Desk) -> None:
    """After an outage the first notification must not wait for five times the outage's time-out."""
    poller = desk.start()
    desk.table.silent = True
    failing = pending(poller.refresh("api"))
    failing.addErrback(lambda failure: failure.trap(SourceUnavailable))
    desk.wait(20)
    desk.table.failing = "timed out"
    desk.table.answer()
    desk.table.failing = ""
    desk.table.rows = ROWS[:9]
    poller.refresh_soon()
    desk.wait(MIN_PAUSE_SECONDS * 2)
    assert desk.running() == IDS[:9]


def test_fifty_requests_at_once_are_at_most_two_readings(desk: Desk) -> None:
    poller = desk.start()
    desk.table.silent = True
    waiting = [pending(poller.refresh("api")) for _ in range(50)]
    desk.table.answer()
    assert {done(one).result for one in waiting} == {"unchanged"}
    assert desk.table.readings == 3
    desk.table.silent, desk.table.failing = True, "gone"
    waiting = [pending(poller.refresh("api")) for _ in range(50)]
    desk.table.answer()
    for one in waiting:
        with pytest.raises(SourceUnavailable, match="gone"):
            done(one)
    assert desk.table.readings == 5


def test_a_cancelled_caller_does_not_concern_the_others(desk: Desk) -> None:
    poller = desk.start()
    desk.table.silent = True
    first, second = pending(poller.refresh("api")), pending(poller.refresh("api"))
    for impatient in (first, second):
        impatient.addErrback(lambda _: None)
    third = pending(poller.refresh("api"))
    first.cancel()
    second.cancel()
    desk.table.answer()
    assert done(third).result == "unchanged"
    assert done(poller.refresh("api")).result == "unchanged"


def test_a_dry_run_changes_nothing_and_reports_what_would_change(desk: Desk) -> None:
    poller = desk.start()
    last, content = poller.configuration.last, desk.path.read_bytes()
    desk.table.rows = [extension(1, 9999), *ROWS[1:9], extension(50, 9950), {"extension_ia_id": 60}]
    report = done(poller.refresh("api", dry_run=True))
    assert report.result == "previewed"
    assert report.diff == {"added": [50], "updated": [1], "removed": [10]}
    assert report.stats == {"added": 1, "updated": 1, "removed": 1, "total_active": 10}
    assert report.rejected == 1
    assert (desk.running(), desk.path.read_bytes(), poller.configuration.last) == (IDS, content, last)
    desk.table.rows = []
    assert done(poller.refresh("api", dry_run=True)).stats["removed"] == 10
    assert done(poller.refresh("api")).result == "held_back", "a dry run is no sight"
    report = done(poller.refresh("api", force=True))
    assert report.diff["removed"] == IDS


def test_the_report_has_what_operators_scripts_parse(desk: Desk) -> None:
    poller = desk.start()
    shown = done(poller.refresh("api")).to_json()
    assert shown["stats"] == {"removed": 0, "updated": 0, "added": 0, "total_active": 10}
    assert shown["trigger"] == "api"
    assert shown["result"] == "unchanged"
    assert isinstance(shown["age_seconds"], float)
    json.dumps(shown)


def test_without_automatic_refresh_the_table_is_read_at_the_start_and_on_demand_only(desk: Desk) -> None:
    poller = desk.start(automatic=False)
    assert desk.running() == IDS
    desk.table.rows = ROWS[:8]
    poller.refresh_soon()
    poller.database_came_up()
    desk.wait(INTERVAL * 3)
    assert desk.table.readings == 1
    done(poller.refresh("api"))
    assert desk.running() == IDS[:8]


def test_without_automatic_refresh_the_first_connection_counts_as_the_start(desk: Desk) -> None:
    desk.file(*FILE)
    desk.table.failing = "starting up"
    poller = desk.start(automatic=False)
    assert poller.configuration.source == "file"
    desk.table.failing = ""
    for _ in range(3):
        poller.database_came_up()
    assert (poller.configuration.source, desk.running()) == ("database", IDS)
    assert desk.table.readings == 2


def test_the_table_is_read_in_full_after_every_reconnect(desk: Desk) -> None:
    poller = desk.start()
    desk.table.rows = ROWS[:9]
    poller.database_came_up()
    assert desk.running() == IDS[:9]


def test_ports_that_could_not_be_opened_are_tried_again_at_every_interval(
    desk: Desk,
) -> None:
    """The listeners do that in `apply`, also when nothing has changed."""
    for case in ("up", "down", "held back", "manual", "none"):
        there = Desk(desk.path.parent)
        there.start(database=case != "none", automatic=case != "manual")
        before = there.running()
        there.table.failing = "gone" if case == "down" else ""
        for _ in range(3):
            if case == "held back":
                there.table.rows = [] if there.table.rows else ROWS[:1]
            there.rooms.applied.clear()
            there.wait(INTERVAL)
            assert there.rooms.applied == [before], case
        there.close()


# without a database


def test_changes_made_through_the_api_are_saved_and_applied(desk: Desk) -> None:
    poller = desk.start(database=False)
    steps = done(poller.keep(lambda running: [*running.values(), ROWS[2], ROWS[1]]))
    assert steps.added == (2, 3)
    assert desk.running() == desk.saved() == [0, 2, 3]
    assert poller.configuration.source == "file"
    assert json.loads(desk.path.read_bytes())["source"] == "api"


def test_a_change_that_cannot_be_saved_is_not_applied(desk: Desk) -> None:
    desk.file(*FILE)
    poller = desk.start(database=False)
    desk.files.error = OSError(30, "Read-only file system")
    with pytest.raises(OSError, match="Read-only"):
        done(poller.keep(lambda _: []))
    assert desk.running() == desk.saved() == [1, 2, 3]
    desk.files.error = None

    def refuse(_: Mapping[int, Extension]) -> Sequence[Extension]:
        raise ExtensionTaken("it is taken")

    with pytest.raises(ExtensionTaken):
        done(poller.keep(refuse))
    assert done(poller.keep(lambda _: ROWS)).stats()["total_active"] == 10


def test_two_changes_at_once_are_both_made(desk: Desk) -> None:
    poller = desk.start(database=False)
    desk.files.held = []
    adding = [
        pending(poller.keep(lambda running, row=row: [*running.values(), row]))  # type: ignore[misc]
        for row in ROWS[:3]
    ]
    desk.files.release()
    for one in adding:
        done(one)
    assert desk.running() == desk.saved() == [0, 1, 2, 3]


# the end


def stopped(there: Desk) -> Deferred[Any]:
    assert there.poller is not None
    return pending(there.poller.stopService())


def test_a_stop_during_the_first_wait_neither_listens_nor_leaves_a_timer(desk: Desk) -> None:
    desk.file(*FILE)
    desk.table.silent = True
    desk.start()
    done(stopped(desk))
    assert desk.clock.getDelayedCalls() == []
    assert desk.rooms.applied == []
    desk.table.answer()
    desk.wait(INTERVAL)
    assert desk.rooms.applied == []


def test_a_stop_fails_all_waiting_callers_and_starts_nothing(desk: Desk) -> None:
    poller = desk.start()
    desk.table.silent = True
    waiting = [pending(poller.refresh("api", force=n > 1)) for n in range(4)]
    desk.wait(INTERVAL)
    poller.refresh_soon()
    done(stopped(desk))
    for one in waiting:
        with pytest.raises(SourceUnavailable, match="stopping"):
            done(one)
    poller.refresh_soon()
    poller.database_came_up()
    assert desk.clock.getDelayedCalls() == []
    desk.table.answer()
    with pytest.raises(SourceUnavailable, match="stopping"):
        done(poller.refresh("api"))
    assert len(desk.rooms.applied) == 1


def test_a_stop_waits_for_a_change_that_is_being_saved(desk: Desk) -> None:
    poller = desk.start(database=False)
    desk.files.held = []
    change = pending(poller.keep(lambda _: ROWS))
    stopping = stopped(desk)
    assert not stopping.called
    desk.files.release()
    done(stopping)
    assert done(change).added == tuple(IDS)
    assert desk.saved() == IDS


def test_a_stop_during_an_apply_logs_no_failure(desk: Desk, logged_failures: LoggedFailures) -> None:
    desk.rooms.closed = Deferred()
    desk.start()
    done(stopped(desk))
    assert desk.clock.getDelayedCalls() == []
    assert not logged_failures
    assert desk.problems() == []
