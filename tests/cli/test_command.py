"""The command ``audiosocket`` against a real server."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import audiosocket
from audiosocket.cli.__main__ import run
from audiosocket.cli.parser import DELEGATED, commands_of, make_parser
from audiosocket.client.options import make_parser as make_dial_parser
from audiosocket.schema import make_parser as make_schema_parser
from tests.support.ports import free_ports
from tests.support.server_process import ROOT, ServerProcess, checkout_environment, wait_until
from tests.support.terminal import Terminal


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server"), {"API_TOKEN": "sesame"}) as started:
        yield started


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use an empty directory, which has no ``.env``."""
    monkeypatch.chdir(tmp_path)


def ask(server: ServerProcess, *arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a command for ``server``; return the exit status and what was printed."""
    settings = {"API_PORT": str(server.api_port), "API_TOKEN": "sesame"}
    out = io.StringIO()
    return run(arguments, {**settings, **(environment or {})}, out), out.getvalue()


def in_80_columns(text: str) -> bool:
    return max(map(len, text.splitlines())) <= 80


def start_call(server: ServerProcess) -> tuple[subprocess.Popen[bytes], str]:
    """Place a call that lasts, and return its process and its UUID once it is live."""
    command = [sys.executable, "-m", "audiosocket.cli", "dial", f"127.0.0.1:{server.visitor}", "--seconds", "60"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=checkout_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    found: list[str] = []

    def live() -> bool:
        found[:] = [call["call_id"] for call in server.api("/api/calls")["calls"] if call["state"] == "live"]
        return bool(found)

    assert wait_until(live, 20)
    return process, found[0]


def test_status_says_what_runs_and_what_is_wrong(server: ServerProcess) -> None:
    status, text = ask(server, "status")
    assert status == 0
    assert f"audiosocket {audiosocket.__version__}, up " in text
    assert re.search(
        rf"^ 1  1000    -       {server.visitor}     {server.resident}      +0  listening$", text, re.M
    )
    assert "database       off: DB_HOST is not set" in text
    assert "\x1b" not in text
    assert in_80_columns(text)


def test_json_is_the_answer_of_the_api(server: ServerProcess) -> None:
    status, text = ask(server, "status", "--json")
    answer = json.loads(text)
    assert (status, answer["status"], answer["total_extensions"]) == (0, "success", 1)
    assert isinstance(answer["problems"], list)


@pytest.mark.deadline(60)
def test_a_call_is_shown_hung_up_and_shown_as_ended(
    server: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    dial, call_id = start_call(server)
    try:
        status, text = ask(server, "calls")
        assert status == 0
        assert re.search(rf"^{call_id}  1000  [0-9.]+ s  visitor  -$", text, re.M)
        assert text.endswith("\n\n1 live\n")
        assert ask(server, "hangup", call_id, "--role", "resident")[0] == 1
        assert f"no live resident leg with call_id {call_id}" in capsys.readouterr().err
        status, text = ask(server, "hangup", call_id, "--reason", "a test")
        assert (status, text) == (0, f"The visitor's leg of call {call_id} was hung up.\n")
        assert dial.wait(20) == 0
    finally:
        if dial.poll() is None:
            dial.kill()
            dial.wait()
    assert wait_until(lambda: "a test" in server.log(), 5)
    assert call_id not in ask(server, "calls")[1]
    assert f"{call_id}  1000" in ask(server, "calls", "--all")[1]
    status, text = ask(server, "calls", call_id)
    assert status == 0
    assert "  state          ended, admin_hangup\n" in text
    assert re.search(r"^ +0\.000  leg\.joined +role visitor, peer 127\.0\.0\.1:", text, re.M)
    assert in_80_columns(text)
    one: dict[str, Any] = json.loads(ask(server, "calls", call_id, "--json")[1])
    assert one["call"]["outcome"] == "admin_hangup"


def test_a_node_drains_and_takes_part_again(server: ServerProcess) -> None:
    status, text = ask(server, "drain")
    assert (status, text.splitlines()[0].split(".")[0]) == (0, "The balancer sends no new calls to this node")
    assert server.request("/livez") == (404, {"status": "error", "message": "draining"})
    status, text = ask(server, "drain", "--cancel")
    assert (status, text) == (0, "The balancer sends new calls to this node again.\n")
    assert server.request("/livez")[0] == 200


def test_a_refresh_without_a_database_is_refused(
    server: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(server, "refresh", "--dry-run") == (1, "")
    assert capsys.readouterr().err == "audiosocket refresh: no database is configured; set DB_HOST to use one\n"
    status, text = ask(server, "refresh", "--json")
    assert (status, json.loads(text)["status"]) == (1, "error")


def test_a_server_without_a_fleet_says_so(server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(server, "fleet", "nodes") == (1, "")
    assert "set FLEET=true" in capsys.readouterr().err


def test_apps_and_dialplan(server: ServerProcess) -> None:
    assert re.search(r"^porteiro +built in$", ask(server, "apps")[1], re.M)
    assert "  visitor   play+echo, from VISITOR_APP\n" in ask(server, "apps", "1")[1]
    text = ask(server, "dialplan", "1", "--host", "192.0.2.7")[1]
    assert f"192.0.2.7:{server.visitor}" in text
    assert json.loads(ask(server, "dialplan", "--json", "--host", "192.0.2.7")[1])["dialplan"].startswith(";")


def test_a_token_that_is_missing_or_wrong(server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(server, "status", environment={"API_TOKEN": ""})[0] == 1
    assert "the token is missing" in capsys.readouterr().err
    assert ask(server, "status", environment={"API_TOKEN": "guess"})[0] == 1
    shown = capsys.readouterr().err
    assert "the token is wrong" in shown
    assert "guess" not in shown


def test_settings_come_from_the_env_file_and_the_token_from_a_file(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"API_PORT={server.api_port}\nAPI_TOKEN=sesame\n")
    (tmp_path / "token").write_text("sesame\n")
    out = io.StringIO()
    assert run(["status"], {}, out) == 0
    assert run(["status", "--url", f"http://127.0.0.1:{server.api_port}", "--token-file", "token"], {}, out) == 0


def test_without_a_server_the_status_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = free_ports(1)
    assert run(["status"], {"API_PORT": str(port)}, io.StringIO()) == 3
    assert "Start it (audiosocket run)" in capsys.readouterr().err
    out = io.StringIO()
    assert run(["calls", "--json"], {"API_PORT": str(port)}, out) == 3
    assert json.loads(out.getvalue())["status"] == "error"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stauts"], "audiosocket: there is no command 'stauts'; did you mean 'status'? (--help explains)\n"),
        (["calls", "7"], "audiosocket calls: argument UUID: '7' is not a UUID like "),
        (["hangup"], "audiosocket hangup: the following arguments are required: UUID (--help explains)\n"),
        (["fleet", "hang-up"], "audiosocket fleet: hang-up needs the UUID of a call (--help explains)\n"),
        (["fleet", "drain", "--force"], "audiosocket fleet: drain takes no --force (--help explains)\n"),
        (["fleet", "nodes", "--node", "n1"], "audiosocket fleet: nodes takes no --node (--help explains)\n"),
        (["fleet", "drain", str(UUID(int=1))], "audiosocket fleet: drain takes no UUID (--help explains)\n"),
        (["apps", "x"], "audiosocket apps: argument id: 'x' is not the id of an extension"),
        (["dial", "nowhere"], "audiosocket dial: argument HOST:PORT: 'nowhere' is not HOST:PORT"),
        (["status", "--token=x"], "audiosocket: unrecognized arguments: --token=x (--help explains)\n"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(arguments, {}, io.StringIO())
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(message)
    assert shown.count("\n") == 1


def test_the_version_says_ours_and_twisteds() -> None:
    out = io.StringIO()
    assert run(["--version"], {}, out) == 0
    assert re.fullmatch(rf"audiosocket {audiosocket.__version__}, Twisted \d+\.\d+\.\d+\n", out.getvalue())


def test_the_schema_is_printed_by_its_own_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "--print"], {}, io.StringIO()) == 0
    assert "create table" in capsys.readouterr().out.lower()


def test_every_command_that_answers_has_json() -> None:
    own = {"dial": make_dial_parser(), "schema": make_schema_parser()}
    for name, parser in {**commands_of(make_parser()), **own}.items():
        if name not in {"run", "completion", "haproxy"}:  # the last two print texts for other programs
            assert "--json" in parser._option_string_actions, name


@pytest.mark.parametrize(
    ("settings", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_that_want_them(
    server: ServerProcess, settings: Mapping[str, str], coloured: bool
) -> None:
    environment = checkout_environment({"API_PORT": str(server.api_port), "API_TOKEN": "sesame"})
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "audiosocket.cli", "status"]
    with Terminal(command, {**environment, "TERM": "xterm", **settings}) as terminal:
        status, text = terminal.rest()
    assert status == 0
    assert f"audiosocket {audiosocket.__version__}" in text
    assert ("\x1b[1m" in text) is coloured
    plain = subprocess.run(
        command, env={**environment, "TERM": "xterm"}, capture_output=True, text=True, timeout=60, check=True
    )
    assert "\x1b" not in plain.stdout


def test_help_without_a_command_fits_a_terminal_and_names_all_commands() -> None:
    out = io.StringIO()
    assert run([], {}, out) == 2
    assert in_80_columns(out.getvalue())
    assert set(DELEGATED) < set(commands_of(make_parser()))
    assert all(re.search(rf"^    {name}\s", out.getvalue(), re.M) for name in commands_of(make_parser()))


@pytest.mark.parametrize("page", ["command-line.md", "command-line.pt-BR.md"])
def test_the_page_has_every_command_and_option(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for name, parser in commands_of(make_parser()).items():
        assert f"`audiosocket {name}" in text, name
        for action in parser._actions:
            for option in action.option_strings:
                assert option in {"-h", "--help"} or option in text, (name, option)
