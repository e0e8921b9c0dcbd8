"""Options, environment, ``.env`` and defaults, as ``twistd`` parses them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.application.service import Service
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python import usage
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined] # re-exported for the platform

from audiosocket import tap
from audiosocket.composition import build
from audiosocket.extensions.model import Role
from audiosocket.options import Options
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.poller import Poller
from audiosocket.runtime import logs
from audiosocket.server.api_port import ApiPort
from audiosocket.settings import SECRETS, catalogue
from audiosocket.settings_files import read_env_file
from tests.support.loopback_server import CapturedLog


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty directory, an environment without settings, and no log."""
    monkeypatch.chdir(tmp_path)
    for info in catalogue():
        monkeypatch.delenv(info.name, raising=False)
    monkeypatch.setattr(logs.process_log, "plan", None)
    return tmp_path


def parse(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(list(arguments))
    return options


def twistd(*arguments: str) -> ServerOptions:
    """Parse the options of ``twistd`` and ours."""
    top = ServerOptions()
    top.parseOptions([*arguments[:-1], *([arguments[-1]] if arguments else [])])
    return top


def stopped_reactor() -> Any:
    """Return a clock, which is all that a server needs of a reactor before it starts."""
    return Clock()


def rejection(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line with which a start is rejected."""
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("audiosocket: ")
    assert shown.err.count("\n") == 1
    assert shown.err[:-1].isprintable()
    return shown.err


#: One setting of each kind: the default, then (text, value) in .env, environment and option.
KINDS: dict[str, tuple[Any, Sequence[tuple[str, Any]]]] = {
    "db_name": ("postgres", [("one", "one"), ("two words", "two words"), ("três", "três")]),
    "api_port": (8082, [("9001", 9001), (" 9002 ", 9002), ("9003", 9003)]),
    "auto_refresh": (True, [("false", False), ("TRUE", True), ("0", False)]),
    "log_format": ("text", [("json", "json"), ("TEXT", "text"), ("json", "json")]),
    "api_host": ("127.0.0.1", [("::1", "::1"), ("127.0.0.2", "127.0.0.2"), ("localhost", "127.0.0.1")]),
    "api_allowed_hosts": ((), [("a", ("a",)), ("b, c", ("b", "c")), ("D", ("d",))]),
    "refresh_interval_seconds": (30, [("1", 1), ("2", 2), ("3", 3)]),
}


def test_option_before_environment_before_env_file_before_default(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settings(*arguments: str) -> dict[str, Any]:
        parsed = parse(*arguments).settings
        return {name: getattr(parsed, name) for name in KINDS}

    assert settings() == {name: default for name, (default, _) in KINDS.items()}
    lines = [f"{name.upper()}={given[0][0]}" for name, (_, given) in KINDS.items()]
    (alone / ".env").write_text("\n".join(lines), encoding="utf-8")
    assert settings() == {name: given[0][1] for name, (_, given) in KINDS.items()}
    for name, (_, given) in KINDS.items():
        monkeypatch.setenv(name.upper(), given[1][0])
    assert settings() == {name: given[1][1] for name, (_, given) in KINDS.items()}
    arguments = [f"--{name.replace('_', '-')}={given[2][0]}" for name, (_, given) in KINDS.items()]
    assert settings(*arguments) == {name: given[2][1] for name, (_, given) in KINDS.items()}


@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_value_counts_as_not_set(alone: Path, monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    """As compose files pass ``API_TOKEN=``: it must not switch off what ``.env`` sets."""
    (alone / ".env").write_text("API_TOKEN=from-file\nDB_NAME=from_file\n")
    monkeypatch.setenv("API_TOKEN", blank)
    monkeypatch.setenv("DB_NAME", blank)
    assert parse().settings.api_token == "from-file"
    assert parse(f"--db-name={blank}").settings.db_name == "from_file"
    monkeypatch.setenv("DB_NAME", "from_environment")
    assert parse(f"--db-name={blank}").settings.db_name == "from_environment"


def test_another_env_file_with_quotes_comments_and_empty_values(alone: Path) -> None:
    (alone / ".env").write_text("API_PORT=9001\n")
    (alone / "other.env").write_bytes(
        b"\xef\xbb\xbfexport API_PORT='9002' # a comment\r\nDB_PASSWORD=\"placeholder $b #c\"\nAPI_TOKEN=\n"
    )
    options = parse("--env-file", "other.env")
    assert options.settings.api_port == 9002
    assert options.password == "placeholder $b #c"
    assert read_env_file(alone / "none.env", {}) == {}
    assert parse("--env-file=none.env").settings.api_port == 8082


def test_a_missing_env_file_that_was_given_is_warned_about() -> None:
    heard = CapturedLog()
    build(parse("--env-file=none.env"), stopped_reactor())
    assert len(heard.containing("none.env")) == 1
    build(parse(), stopped_reactor())
    assert len(heard.containing("env")) == 1
    heard.close()


def test_a_misspelt_name_is_warned_about_in_file_and_environment(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (alone / ".env").write_text("DB_PASWORD=secret-1\nSOMETHING_ELSE=1\ndb_user=x\n")
    monkeypatch.setenv("API_PROT", "9000")
    options = parse()
    assert set(options.misspelt) >= {
        ("DB_PASWORD", "DB_PASSWORD"), ("db_user", "DB_USER"), ("API_PROT", "API_PORT"),
    }  # fmt: skip
    heard = CapturedLog()
    build(options, stopped_reactor())
    assert heard.containing("DB_PASWORD")[0] == "the setting DB_PASWORD is unknown; did you mean DB_PASSWORD?"
    assert not [line for _, line in heard if "secret-1" in line or "SOMETHING_ELSE" in line]
    heard.close()


def test_the_password_can_be_in_a_file(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = alone / "password"
    for content, password in ((b"geheim\n", "geheim"), (b" s p \r\nmore\n", " s p "), ("ção".encode(), "ção")):
        file.write_bytes(content)
        assert parse("--db-password-file=password").password == password
    assert "DB_PASSWORD_FILE" in rejection(capsys, "--db-password-file=nothing")
    file.write_bytes(b"\xff\xfe")
    assert "DB_PASSWORD_FILE" in rejection(capsys, "--db-password-file=password")
    assert "DB_PASSWORD_FILE" in rejection(capsys, "--db-password-file=.")


def test_secrets_are_not_options(alone: Path) -> None:
    """Every user of the machine can read a command line."""
    for name in SECRETS:
        with pytest.raises(usage.UsageError) as caught:
            parse(f"--{name.lower().replace('_', '-')}=secret-2")
        assert "secret-2" not in str(caught.value)
    assert parse("--db-password-file=/dev/null").password == ""


def test_a_wrong_value_is_rejected_in_one_line_with_name_and_value(
    alone: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (alone / "file").write_text("")
    for arguments, words in (
        (["--api-port=none"], ["API_PORT", "'none'"]),
        (["--api-port=70000"], ["API_PORT", "'70000'"]),
        (["--auto-refresh=perhaps"], ["AUTO_REFRESH", "'perhaps'"]),
        (["--api-host=pbx"], ["API_HOST", "'pbx'"]),
        (["--api-host=0.0.0.0"], ["API_HOST", "'0.0.0.0'", "API_TOKEN"]),
        (["--bind-address=192.0.2.1"], ["BIND_ADDRESS", "'192.0.2.1'"]),
        (["--visitor-app=nonsense"], ["VISITOR_APP", "'nonsense'"]),
        (["--resident-app=echo+"], ["RESIDENT_APP", "'echo+'"]),
        (["--data-dir=file/data"], ["DATA_DIR", "'file/data'"]),
        (["--log-dir=file"], ["LOG_DIR", "'file'"]),
        (["--env-file=file/x"], ["--env-file", "'file/x'"]),
        (["--env-file=."], ["--env-file", "'.'"]),
        (["--allowed-peers=10.0.0.0/99"], ["ALLOWED_PEERS", "'10.0.0.0/99'"]),
        (["--log-level=loud\n\x1b[31m"], ["LOG_LEVEL", "loud"]),
    ):
        shown = rejection(capsys, *arguments)
        for word in words:
            assert word in shown, (arguments, shown)
    for name, value in (("API_PORT", "x"), ("DATA_DIR", "file/data"), ("VISITOR_APP", "a\nb")):
        monkeypatch.setenv(name, value)
        assert name in rejection(capsys)
        monkeypatch.delenv(name)
    for name, value in (("DATA_DIR", '"a\\0b"'), ("LOG_LEVEL", '"a\\nb"'), ("DB_PASSWORD_FILE", '"\\x00"')):
        (alone / ".env").write_bytes(f"{name}={value}\n".encode().replace(b"\\0", b"\0").replace(b"\\x00", b"\0"))
        assert name in rejection(capsys)
    (alone / ".env").write_bytes("DB_NAME=São\n".encode("latin-1"))
    assert "--env-file" in rejection(capsys)


def test_a_rejected_start_creates_no_directories(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argument in ("--api-port=x", "--bind-address=192.0.2.1", "--visitor-app=nonsense"):
        rejection(capsys, argument)
    assert list(alone.iterdir()) == []


def test_directories_are_created(alone: Path) -> None:
    parse("--data-dir=a/b", "--log-dir=c/d")
    assert (alone / "a" / "b").is_dir()
    assert (alone / "c" / "d").is_dir()


def test_a_log_file_that_cannot_be_written_is_rejected(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (alone / "logs" / "audiosocket.log").mkdir(parents=True)
    with pytest.raises(SystemExit):
        twistd("-n", "audiosocket")
    shown = capsys.readouterr().err
    assert shown.startswith("audiosocket: LOG_DIR: ")
    assert shown.count("\n") == 1


def test_twistd_uses_our_log_unless_it_was_given_another(alone: Path) -> None:
    top = twistd("-n", "audiosocket", "--log-dir=l", "--log-format=json", "--log-level=warn", "--log-files=3")
    assert top["logger"] in {logs.process_log, "audiosocket.runtime.logs.process_log"}
    assert logs.process_log.plan == logs.LogPlan(alone / "l", "json", "warn", 10_000_000, 3, echo=True)
    twistd("audiosocket", "--log-max-mb=2")
    assert logs.process_log.plan == logs.LogPlan(alone / "logs", "text", "info", 2_000_000, 10, echo=False)
    logs.process_log.plan = None
    top = twistd("-n", "--logfile=mine.log", "audiosocket")
    assert (logs.process_log.plan, top["logger"]) == (None, None)


def test_two_instances_share_no_pid_file(alone: Path) -> None:
    assert twistd("-n", "audiosocket")["pidfile"] == ""
    assert Path(twistd("audiosocket")["pidfile"]).absolute() == alone / "twistd.pid"
    assert twistd("audiosocket", "--data-dir=two")["pidfile"] == str(alone / "two" / "twistd.pid")
    assert Path(twistd("--pidfile=my.pid", "audiosocket")["pidfile"]).name == "my.pid"
    assert Path(twistd("-n", "--pidfile=my.pid", "audiosocket")["pidfile"]).name == "my.pid"


def test_help_documents_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        twistd("-n", "audiosocket", "--help")
    assert not caught.value.code
    shown = capsys.readouterr().out
    assert "--env-file=" in shown
    for info in catalogue():
        option = f"--{info.name.lower().replace('_', '-')}="
        if not info.secret:
            assert option in shown
            assert info.help.split()[0] in shown
    for name in ("--api-port", "8082", "./data", "./logs", "DB_PASSWORD", "API_TOKEN"):
        assert name in shown


def test_unknown_options_and_arguments_are_rejected() -> None:
    for arguments in (["--api-prot=1"], ["start"], ["--api-port"]):
        with pytest.raises(usage.UsageError):
            parse(*arguments)


def test_a_stray_argument_is_not_repeated() -> None:
    """After ``--ami-user door hush`` it may be a secret."""
    with pytest.raises(usage.UsageError) as refused:
        Options().parseOptions(["--api-port", "8082", "hush"])
    assert "1 unexpected argument(s)" in str(refused.value)
    assert "hush" not in str(refused.value)


def test_build_makes_all_services_and_starts_nothing(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = stopped_reactor()
    monkeypatch.setenv("DB_HOST", "127.0.0.1")
    server = build(parse(), clock)
    kinds = {type(child).__name__ for child in server}
    assert kinds >= {"Listeners", "ReactorLagMonitor", "ApiPort", "Database", "Poller"}
    assert isinstance(list(server)[-1], Poller), "it opens the ports, so it comes last"
    assert all(isinstance(child, Service) for child in server)
    assert [type(child) for child in server if isinstance(child, ApiPort | Listeners)] == [Listeners, ApiPort]
    assert clock.getDelayedCalls() == []
    assert sorted(os.listdir(alone)) == ["data", "logs"]
    monkeypatch.delenv("DB_HOST")
    assert "Database" not in {type(child).__name__ for child in build(parse(), stopped_reactor())}
    assert parse("--visitor-app=play+record").apps[Role.VISITOR][1][0] == "record"


def test_twistd_finds_the_plugin() -> None:
    top = ServerOptions()
    (ours,) = (line for line in top.subCommands if line[0] == "audiosocket")
    assert ours[2]().__class__ is tap.Options


class SignalledReactor:
    """Records what a signal handler calls."""

    def __init__(self) -> None:
        self.handlers: dict[int, Any] = {}
        self.later: list[tuple[Any, ...]] = []
        self.stopped = 0

    def addSystemEventTrigger(self, phase: str, event: str, call: object, number: int, handler: Any) -> None:
        self.handlers[number] = handler

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        self.later.append((function, *arguments))

    def stop(self) -> None:
        self.stopped += 1


def test_a_signal_that_interrupts_logging_does_not_deadlock() -> None:
    """A handler that logs would wait for the log's lock, which the interrupted thread holds."""
    reactor = SignalledReactor()
    written: list[LogEvent] = []
    observer = cast("ILogObserver", written.append)
    globalLogPublisher.addObserver(observer)
    try:
        tap._handle_signals(cast(Any, reactor), cast(Any, None), cast(Any, None))
        reactor.handlers[signal.SIGTERM](signal.SIGTERM, None)
        assert (written, reactor.stopped) == ([], 0)
        for function, *arguments in reactor.later:
            function(*arguments)
        assert reactor.stopped == 1
        assert [event["name"] for event in written] == ["SIGTERM"]
    finally:
        globalLogPublisher.removeObserver(observer)
