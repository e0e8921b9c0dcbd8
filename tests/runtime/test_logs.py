"""The log file: one event is one line whatever is in it, and the disk never fills."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile

from audiosocket.runtime import logs
from audiosocket.runtime.logs import LogPlan, as_json_line, as_line, escape, observer, twistd_observer
from tests.support.loopback_server import no_deadline

#: The form that docs/operations.md promises.
LINE = re.compile(
    r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2},\d{3} - (?P<module>\S+) - (?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)"
    r" - (?P<text>.*)\n"
)
NASTY = (
    "\n", "\r", "\r\n", "\x00", "\x07", "\x1b[31mred", "\x7f", "\x85", "\x9b31m", "\u2028", "\u2029", "\u202eevil",
    "\u2066", "\u200f", "\u061c", "\x0b", "\x0c", "\x1c", "\udc80", "a\ufeffb",
)  # fmt: skip
NASTY_TEXT = st.lists(st.text(max_size=5) | st.sampled_from(NASTY), max_size=6).map("".join)


class Boom(Exception):
    """An error with whatever text."""


def failure(text: str) -> Failure:
    return Failure(Boom(text))


@pytest.fixture(autouse=True)
def closed_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes the log files that observers opened: a process does that by ending."""
    opened: list[LogFile] = []

    def keep(*arguments: Any, **options: Any) -> LogFile:
        opened.append(LogFile(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(logs, "LogFile", keep)
    yield
    for file in opened:
        file.close()


def event(**fields: Any) -> LogEvent:
    return {"log_time": 1769858123.4567, "log_namespace": "audiosocket.x", "log_level": LogLevel.info, **fields}


def log_to(plan: LogPlan, namespace: str = "audiosocket.test") -> Logger:
    return Logger(namespace, observer=observer(plan))


def to(directory: Path, **fields: Any) -> LogPlan:
    return LogPlan(directory, **{"echo": False, **fields})


def lines(directory: Path) -> list[str]:
    return (directory / logs.FILE_NAME).read_text(encoding="utf-8", errors="strict").splitlines(keepends=True)


def test_a_line_has_the_form_that_operators_scripts_know() -> None:
    line = as_line(event(log_format="{n} extensions", n=3))
    assert re.fullmatch(r"2026-01-3\d \d\d:15:23,456 - audiosocket\.x - INFO - 3 extensions\n", line)
    assert as_line(event(log_format="x", log_level=LogLevel.warn)).endswith(" - WARNING - x\n")
    assert " - twisted - INFO - " in as_line({"log_time": 1.0, "log_system": "twisted", "log_text": "x"})
    assert LINE.fullmatch(as_line({}))


def test_thousandths_never_run_ahead_of_their_second() -> None:
    for when in (1769858123.9996, 1769858123.0, 1769858124.0004):
        stamp = as_line(event(log_time=when, log_format="x")).split(" - ")[0]
        assert stamp[-6:-4] == f"{int(when) % 60:02d}"
        assert int(stamp[-3:]) == int(when * 1000) % 1000


@no_deadline
@given(NASTY_TEXT, NASTY_TEXT, NASTY_TEXT)
@example("".join(NASTY), "".join(NASTY), "".join(NASTY))
def test_one_event_is_one_line_whatever_a_peer_or_the_database_sent(peer: str, namespace: str, error: str) -> None:
    hostile = event(
        log_namespace=f"n{namespace}",
        log_format="{peer} said {what!r} and {peer.__class__}",
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
    assert "Boom" in as_line(hostile)
    record = json.loads(as_json_line(hostile))
    assert record["peer"] == peer
    assert "Boom" in record["traceback"]


def test_escaping_keeps_what_people_read_and_shows_what_they_should_not() -> None:
    assert escape("São João – 1000 ✓") == "São João – 1000 ✓"
    for nasty in NASTY[:-1]:
        assert escape(nasty).isprintable(), repr(nasty)
        assert "\\" in escape(nasty)
    assert escape("a\nb\x1b[0m\u202e") == r"a\nb\x1b[0m\u202e"


def strictly(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | NASTY_TEXT | st.binary(max_size=4) | st.just({})


@no_deadline
@given(
    st.dictionaries(st.sampled_from(["n", "text", "level", "module", "ts", "peer", "log_x"]) | NASTY_TEXT, VALUES)
)
@example({"n": float("nan"), "peer": float("-inf")})
@example({"n": 10**5000})
def test_json_lines_are_json_with_the_scalar_fields_beside_the_text(fields: dict[str, Any]) -> None:
    record = strictly(as_json_line({**event(log_format="hello"), **fields}))
    assert (record["text"], record["level"], record["module"]) == ("hello", "INFO", "audiosocket.x")
    assert re.fullmatch(r"[\d-]{10} [\d:]{8},\d{3}", record["ts"])
    for key, value in fields.items():
        if isinstance(value, str) and key not in {"text", "level", "module", "ts"} and not key.startswith("log_"):
            assert record[key] == value


def test_a_broken_format_or_field_is_a_line_and_no_error(tmp_path: Path) -> None:
    class Rude:
        def __repr__(self) -> str:
            raise Boom("no")

    for form in ("text", "json"):
        log = log_to(to(tmp_path / form, format=form))
        log.info("{missing}")
        log.info("{rude}", rude=Rude())
        log.info("{n:d}", n="x")
        log.info("{", n=1)
        assert len(lines(tmp_path / form)) == 4


@pytest.mark.parametrize(
    ("level", "seen"),
    [("debug", "DIWEC"), ("info", "IWEC"), ("warn", "WEC"), ("error", "EC")],
)
def test_the_level_filters_and_chatter_is_left_out(tmp_path: Path, level: str, seen: str) -> None:
    log = log_to(to(tmp_path, level=level))
    for each in (log.debug, log.info, log.warn, log.error, log.critical):
        each("x")
    assert "".join(line.split(" - ")[2][0] for line in lines(tmp_path)) == seen
    for namespace in logs.CHATTER:
        chatter = Logger(namespace, observer=log.observer)
        chatter.info("Starting factory")
    log_to_legacy(log.observer, "AudioSocketFactory starting on 8080")
    log_to_legacy(log.observer, "(TCP Port 8080 Closed)")
    assert len(lines(tmp_path)) == len(seen)
    log_to_legacy(log.observer, "something else")
    assert len(lines(tmp_path)) == len(seen) + (level in {"debug", "info"})


def log_to_legacy(watching: ILogObserver, text: str) -> None:
    watching(event(log_namespace="log_legacy", log_format="{text}", text=text))


def test_rotation_is_bounded(tmp_path: Path) -> None:
    log = log_to(to(tmp_path, rotate_bytes=2_000, keep_files=3))
    for n in range(500):
        log.info("line {n} {filler}", n=n, filler="x" * 100)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [logs.FILE_NAME, *(f"{logs.FILE_NAME}.{n}" for n in (1, 2, 3))]
    assert all(file.stat().st_size <= 2_200 for file in files)
    assert "line 499 " in lines(tmp_path)[-1]
    assert all(LINE.fullmatch(line) for file in files for line in file.read_text().splitlines(keepends=True))


def test_an_old_log_goes_on(tmp_path: Path) -> None:
    (tmp_path / logs.FILE_NAME).write_text("an earlier line\n")
    log_to(to(tmp_path)).info("x")
    assert lines(tmp_path)[0] == "an earlier line\n"
    assert len(lines(tmp_path)) == 2


def test_the_directory_is_made_and_the_echo_goes_to_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "__stdout__", shown)
    log = log_to(to(tmp_path / "a" / "b", echo=True))
    log.info("São {who}", who="\x1b[31mJoão\n")
    (line,) = lines(tmp_path / "a" / "b")
    assert line.endswith("São \\x1b[31mJoão\\n\n")
    shown.flush()
    raw = shown.buffer.getvalue()  # type: ignore[attr-defined]
    assert raw.endswith(b"S\\xe3o \\x1b[31mJo\\xe3o\\n\n"), "a terminal without these letters still gets the line"


class Broken:
    """An output that fails, as a full disk or a closed pipe does."""

    def __init__(self, error: OSError) -> None:
        self.error = error

    def write(self, text: str) -> None:
        raise self.error

    def flush(self) -> None:
        raise self.error


def test_a_full_disk_or_closed_pipe_costs_its_own_copy_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")):
        monkeypatch.setattr(sys, "__stdout__", Broken(error))
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


def test_a_place_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        observer(to(tmp_path / "file"))
    os.mkdir(tmp_path / logs.FILE_NAME)
    with pytest.raises(OSError, match="directory"):
        observer(to(tmp_path))


def test_twistd_gets_what_the_options_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "plan", None)
    with pytest.raises(RuntimeError, match="options"):
        twistd_observer()
    monkeypatch.setattr(logs, "plan", to(tmp_path, format="json"))
    watching: Callable[[LogEvent], None] = twistd_observer()
    watching(event(log_format="x"))
    assert strictly(lines(tmp_path)[0])["text"] == "x"
