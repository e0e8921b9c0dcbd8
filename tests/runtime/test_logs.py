"""The log: one event is one line whatever is in it, and the file is bounded."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface import provider

from audiosocket.extensions.model import Role
from audiosocket.runtime import log_format, logs
from audiosocket.runtime.log_file import AppendedLogFile
from audiosocket.runtime.log_format import as_json_line, as_line, escape
from audiosocket.runtime.logs import FrequentLogger, LogPlan, ProcessLog
from tests.support.log_lines import LINE
from tests.support.loopback_server import no_deadline

SPECIAL = (
    "\n", "\r", "\r\n", "\x00", "\x07", "\x1b[31mred", "\x7f", "\x85", "\x9b31m", "\u2028", "\u2029", "\u202eevil",
    "\u2066", "\u200f", "\u061c", "\x0b", "\x0c", "\x1c", "\udc80", "a\ufeffb",
)  # fmt: skip
SPECIAL_TEXT = st.lists(st.text(max_size=5) | st.sampled_from(SPECIAL), max_size=6).map("".join)


class AnyError(Exception):
    """An error with any text."""


def failure(text: str) -> Failure:
    return Failure(AnyError(text))


@pytest.fixture(autouse=True)
def closed_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the log files that the tests have opened; a process closes them when it ends."""
    opened: list[AppendedLogFile] = []

    def keep(*arguments: Any, **options: Any) -> AppendedLogFile:
        opened.append(AppendedLogFile(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(logs, "AppendedLogFile", keep)
    yield
    for file in opened:
        file.close()


def event(**fields: Any) -> LogEvent:
    return {"log_time": 1769858123.4567, "log_namespace": "audiosocket.x", "log_level": LogLevel.info, **fields}


def start(plan: LogPlan) -> ILogObserver:
    """Return the observer of a log with this plan."""
    log = ProcessLog()
    log.plan = plan
    return log()


def log_to(plan: LogPlan, namespace: str = "audiosocket.test") -> Logger:
    return Logger(namespace, observer=start(plan))


def to(directory: Path, **fields: Any) -> LogPlan:
    return LogPlan(directory, **{"echo": False, **fields})


def lines(directory: Path) -> list[str]:
    return (directory / logs.FILE_NAME).read_text(encoding="utf-8", errors="strict").splitlines(keepends=True)


def test_a_line_has_the_documented_form() -> None:
    line = as_line(event(log_format="{n} extensions", n=3))
    assert re.fullmatch(r"2026-01-3\d \d\d:15:23,456 - audiosocket\.x - INFO - 3 extensions\n", line)
    assert as_line(event(log_format="x", log_level=LogLevel.warn)).endswith(" - WARNING - x\n")
    assert " - twisted - INFO - " in as_line({"log_time": 1.0, "log_system": "twisted", "log_text": "x"})
    assert LINE.fullmatch(as_line({}))


def test_the_milliseconds_belong_to_the_second_that_is_shown() -> None:
    for when in (1769858123.9996, 1769858123.0, 1769858124.0004):
        stamp = as_line(event(log_time=when, log_format="x")).split(" - ")[0]
        assert stamp[-6:-4] == f"{int(when) % 60:02d}"
        assert int(stamp[-3:]) == int(when * 1000) % 1000


@no_deadline
@given(SPECIAL_TEXT, SPECIAL_TEXT, SPECIAL_TEXT)
@example("".join(SPECIAL), "".join(SPECIAL), "".join(SPECIAL))
def test_one_event_is_one_line_whatever_a_peer_or_the_database_sent(peer: str, namespace: str, error: str) -> None:
    hostile = event(
        log_namespace=f"n{namespace}",
        log_format="{peer} sent {what!r} and {peer.__class__}",
        peer=peer,
        what={"nested": [peer]},
        log_failure=failure(error),
    )
    for made in (as_line(hostile), as_json_line(hostile)):
        assert made.endswith("\n")
        assert len(made.splitlines()) == 1
        assert made[:-1].isprintable() or not re.search(
            r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", made[:-1]
        )
        made.encode("utf-8")
    assert "AnyError" in as_line(hostile)
    record = json.loads(as_json_line(hostile))
    assert record["peer"] == peer
    assert "AnyError" in record["traceback"]


def test_printable_text_is_kept_and_control_characters_are_escaped() -> None:
    assert escape("São João – 1000 ✓") == "São João – 1000 ✓"
    for special in SPECIAL[:-1]:
        assert escape(special).isprintable(), repr(special)
        assert "\\" in escape(special)
    assert escape("a\nb\x1b[0m\u202e") == r"a\nb\x1b[0m\u202e"


def strictly(text: str) -> Any:
    def reject(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=reject)


VALUES: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.floats() | SPECIAL_TEXT | st.binary(max_size=4) | st.just({})
)


@no_deadline
@given(
    st.dictionaries(
        st.sampled_from(["n", "text", "level", "module", "ts", "peer", "log_x"]) | SPECIAL_TEXT, VALUES
    )
)
@example({"n": float("nan"), "peer": float("-inf")})
@example({"n": 10**5000})
def test_json_lines_are_json_with_the_scalar_fields_beside_the_text(fields: dict[str, Any]) -> None:
    record = strictly(as_json_line({**event(log_format="hello"), **fields}))
    assert (record["text"], record["level"], record["module"]) == ("hello", "INFO", "audiosocket.x")
    assert re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{3}[+-]\d\d:\d\d", record["ts"])
    for key, value in fields.items():
        if isinstance(value, str) and key not in {"text", "level", "module", "ts"} and not key.startswith("log_"):
            assert record[key] == value


def test_fields_of_json_lines_are_values_and_objects() -> None:
    call_id = UUID(int=7)
    fields = {
        "n": 3,
        "legs": [{"role": Role.VISITOR, "port": 8080}],
        "call": call_id,
        "path": Path("/a"),
        "address": ip_address("::1"),
        "failed": {"a": float("nan"), "b": None},
        "other": object(),
        "deep": [[[[[[1]]]]]],
    }
    record = strictly(as_json_line(event(log_format="x", **fields)))
    assert record["n"] == 3
    assert record["legs"] == [{"role": "visitor", "port": 8080}]
    assert (record["call"], record["path"], record["address"]) == (str(call_id), "/a", "::1")
    assert record["failed"] == {"b": None}
    assert "other" not in record
    assert "object at" not in json.dumps(record)


@pytest.mark.parametrize("zone", ["America/Sao_Paulo", "Asia/Kolkata", "UTC"])
def test_the_time_of_json_lines_has_its_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    log_format._second.cache_clear()
    log_format._zone.cache_clear()
    try:
        record = strictly(as_json_line(event(log_format="x", log_time=1_800_000_000.25)))
    finally:
        monkeypatch.undo()
        time.tzset()
        log_format._second.cache_clear()
        log_format._zone.cache_clear()
    assert datetime.fromisoformat(record["ts"]).timestamp() == 1_800_000_000.25
    assert record["ts"][-6:] == {"America/Sao_Paulo": "-03:00", "Asia/Kolkata": "+05:30", "UTC": "+00:00"}[zone]


def test_a_traceback_has_lines_in_the_foreground_and_one_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "__stdout__", shown)
    log = ProcessLog()
    log.plan = to(tmp_path, echo=True)
    log()(event(log_format="it failed", log_failure=failure("no\x1b[31m")))
    log.write("2026 - worker - ERROR - x | Traceback (most recent call last):\\nFailure: y\n")
    assert len(lines(tmp_path)) == 2
    assert "it failed |\nTraceback (most recent call last):\n" in shown.getvalue()
    assert "\x1b" not in shown.getvalue()
    assert shown.getvalue().endswith("x |\nTraceback (most recent call last):\nFailure: y\n")


@pytest.mark.parametrize(
    "namespace", ["twisted.web.client._HTTP11ClientFactory", "twisted.internet.protocol.Factory", "klein._app"]
)
def test_libraries_do_not_chat(tmp_path: Path, namespace: str) -> None:
    log = log_to(to(tmp_path), namespace)
    log.info("Starting factory <x>")
    assert lines(tmp_path) == []
    log.warn("something is wrong")
    assert len(lines(tmp_path)) == 1


def test_a_wrong_format_or_field_gives_a_line_and_no_error(tmp_path: Path) -> None:
    class Failing:
        def __repr__(self) -> str:
            raise AnyError("no")

    for form in ("text", "json"):
        log = log_to(to(tmp_path / form, format=form))
        log.info("{missing}")
        log.info("{failing}", failing=Failing())
        log.info("{n:d}", n="x")
        log.info("{", n=1)
        assert len(lines(tmp_path / form)) == 4


@pytest.mark.parametrize(
    ("level", "seen"),
    [("debug", "DIWEC"), ("info", "IWEC"), ("warn", "WEC"), ("error", "EC")],
)
def test_events_below_the_level_and_routine_events_of_twisted_are_dropped(
    tmp_path: Path, level: str, seen: str
) -> None:
    log = log_to(to(tmp_path, level=level))
    for write in (log.debug, log.info, log.warn, log.error, log.critical):
        write("x")
    assert "".join(line.split(" - ")[2][0] for line in lines(tmp_path)) == seen
    for namespace in logs.QUIET_NAMESPACES:
        quiet = Logger(namespace, observer=log.observer)
        quiet.info("Starting factory")
    log_to_legacy(log.observer, "AudioSocketFactory starting on 8080")
    log_to_legacy(log.observer, "(TCP Port 8080 Closed)")
    assert len(lines(tmp_path)) == len(seen)
    log_to_legacy(log.observer, "something else")
    assert len(lines(tmp_path)) == len(seen) + (level in {"debug", "info"})


def log_to_legacy(log_observer: ILogObserver, text: str) -> None:
    log_observer(event(log_namespace="log_legacy", log_format="{text}", text=text))


def test_rotation_is_bounded(tmp_path: Path) -> None:
    log = log_to(to(tmp_path, rotate_bytes=2_000, keep_files=3))
    for n in range(500):
        log.info("line {n} {filler}", n=n, filler="x" * 100)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [logs.FILE_NAME, *(f"{logs.FILE_NAME}.{n}" for n in (1, 2, 3))]
    assert all(file.stat().st_size <= 2_200 for file in files)
    assert "line 499 " in lines(tmp_path)[-1]
    assert all(LINE.fullmatch(line) for file in files for line in file.read_text().splitlines(keepends=True))


def test_an_existing_log_is_continued(tmp_path: Path) -> None:
    (tmp_path / logs.FILE_NAME).write_text("an earlier line\n")
    log_to(to(tmp_path)).info("x")
    assert lines(tmp_path)[0] == "an earlier line\n"
    assert len(lines(tmp_path)) == 2


def test_the_directory_is_created_and_lines_are_repeated_on_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "__stdout__", shown)
    log = log_to(to(tmp_path / "a" / "b", echo=True))
    log.info("São {who}", who="\x1b[31mJoão\n")
    (line,) = lines(tmp_path / "a" / "b")
    assert line.endswith("São \\x1b[31mJoão\\n\n")
    shown.flush()
    raw = shown.buffer.getvalue()
    assert raw.endswith(b"S\\xe3o \\x1b[31mJo\\xe3o\\n\n"), "a terminal without these letters still gets the line"


class FailingOutput:
    """An output that fails, as a full disk or a closed pipe does."""

    def __init__(self, error: OSError) -> None:
        self.error = error

    def write(self, text: str) -> None:
        raise self.error

    def flush(self) -> None:
        raise self.error


def test_a_full_disk_or_closed_pipe_loses_only_its_own_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")):
        monkeypatch.setattr(sys, "__stdout__", FailingOutput(error))
        log_to(to(tmp_path, echo=True)).info("x")
    assert len(lines(tmp_path)) == 2
    shown = io.StringIO()
    monkeypatch.setattr(sys, "__stdout__", shown)
    log = log_to(to(tmp_path, echo=True))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("twisted.python.logfile.LogFile.write", full)
    log.info("y")
    assert shown.getvalue().endswith(" - y\n")


def started(plan: LogPlan) -> tuple[ProcessLog, Logger]:
    log = ProcessLog()
    log.plan = plan
    return log, Logger("audiosocket.test", observer=log())


def texts(directory: Path) -> list[str]:
    return [line.rpartition(" - ")[2].strip() for line in lines(directory)]


def test_lines_that_are_held_are_written_in_order_when_they_are_released(tmp_path: Path) -> None:
    process, log = started(to(tmp_path))
    log.info("1")
    process.hold()
    log.info("2")
    log.debug("not logged")
    log.info("3")
    assert texts(tmp_path) == ["1"]
    process.release()
    log.info("4")
    process.hold()
    process.release()
    assert texts(tmp_path) == ["1", "2", "3", "4"]


def test_a_warning_is_written_at_once_with_the_lines_that_were_held(tmp_path: Path) -> None:
    process, log = started(to(tmp_path))
    process.hold()
    log.info("1")
    log.warn("2")
    assert texts(tmp_path) == ["1", "2"]
    process.write("a line of a worker\n")
    log.info("3")
    assert len(lines(tmp_path)) == 3
    process.release()
    assert texts(tmp_path)[-1] == "3"


def test_lines_of_other_threads_are_not_held(tmp_path: Path) -> None:
    process, log = started(to(tmp_path))
    process.hold()
    log.info("of this thread")
    thread = threading.Thread(target=lambda: log.info("of another"))
    thread.start()
    thread.join()
    assert texts(tmp_path) == ["of another"]
    process.release()
    assert texts(tmp_path) == ["of another", "of this thread"]


def test_without_a_log_of_its_own_the_process_has_nothing_to_hold() -> None:
    log = ProcessLog()
    log.hold()
    log.release()


def test_a_frequent_logger_makes_the_same_events() -> None:
    seen: list[LogEvent] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        seen.append(event)

    source = object()
    for kind in (Logger, FrequentLogger):
        kind("audiosocket.test", source, observe).info("{a} and {b}", a=1, b="2")
    for one in seen:
        assert isinstance(one.pop("log_logger"), Logger)
        assert isinstance(one.pop("log_time"), float)
    assert seen[0] == seen[1]
    assert FrequentLogger().namespace == __name__


def test_a_log_that_cannot_be_written_raises_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        start(to(tmp_path / "file"))
    os.mkdir(tmp_path / logs.FILE_NAME)
    with pytest.raises(OSError, match="directory"):
        start(to(tmp_path))


def test_the_log_that_twistd_starts_follows_the_plan_of_the_options(tmp_path: Path) -> None:
    log = ProcessLog()
    with pytest.raises(RuntimeError, match="options"):
        log()
    log.write("dropped: there is no output yet\n")
    log.plan = to(tmp_path, format="json")
    log()(event(log_format="x"))
    log.write("a line of a worker\n")
    first, second = lines(tmp_path)
    assert strictly(first)["text"] == "x"
    assert second == "a line of a worker\n"


def test_a_moved_log_is_left_and_a_new_one_begun_when_told(tmp_path: Path) -> None:
    log = ProcessLog()
    log.plan = to(tmp_path)
    log()
    log.write("first\n")
    os.rename(tmp_path / logs.FILE_NAME, tmp_path / "moved")
    log.write("second\n")
    log.reopen()
    log.write("third\n")
    assert (tmp_path / "moved").read_text() == "first\nsecond\n"
    assert lines(tmp_path) == ["third\n"]
    log.reopen()
    log.write("fourth\n")
    assert lines(tmp_path) == ["third\n", "fourth\n"]


def test_a_copied_and_truncated_log_has_no_hole(tmp_path: Path) -> None:
    log = ProcessLog()
    log.plan = to(tmp_path)
    log()
    log.write("first\n")
    os.truncate(tmp_path / logs.FILE_NAME, 0)
    log.write("second\n")
    assert (tmp_path / logs.FILE_NAME).read_bytes() == b"second\n"


def test_a_truncated_log_is_not_rotated_for_what_it_had(tmp_path: Path) -> None:
    log = ProcessLog()
    log.plan = to(tmp_path, rotate_bytes=100)
    log()
    log.write("x" * 99 + "\n")
    os.truncate(tmp_path / logs.FILE_NAME, 0)
    log.write("y\n")
    assert [file.name for file in tmp_path.iterdir()] == [logs.FILE_NAME]


def test_a_new_log_has_the_permissions_of_the_old_one(tmp_path: Path) -> None:
    (tmp_path / logs.FILE_NAME).touch(0o600)
    (tmp_path / logs.FILE_NAME).chmod(0o640)
    log = ProcessLog()
    log.plan = to(tmp_path)
    log()
    os.rename(tmp_path / logs.FILE_NAME, tmp_path / "moved")
    log.reopen()
    assert (tmp_path / logs.FILE_NAME).stat().st_mode & 0o777 == 0o640


def test_a_log_that_cannot_be_reopened_goes_on_in_the_old_file(tmp_path: Path) -> None:
    log = ProcessLog()
    log.reopen()  # one of twistd's logs was chosen
    log.plan = to(tmp_path)
    log()
    os.rename(tmp_path / logs.FILE_NAME, tmp_path / "moved")
    (tmp_path / logs.FILE_NAME).mkdir()
    with pytest.raises(IsADirectoryError):
        log.reopen()
    log.write("kept\n")
    assert (tmp_path / "moved").read_text() == "kept\n"


def test_a_removed_directory_of_the_log_is_made_again(tmp_path: Path) -> None:
    log = ProcessLog()
    log.plan = to(tmp_path / "logs")
    log()
    os.rename(tmp_path / "logs", tmp_path / "old")
    log.reopen()
    log.write("kept\n")
    assert lines(tmp_path / "logs") == ["kept\n"]
