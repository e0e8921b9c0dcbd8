"""``audiosocket doctor`` against a real server, and imitations of what may be wrong around it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from audiosocket.cli import disk
from audiosocket.cli.__main__ import run
from audiosocket.cli.ami import AMIConversation, AMIFailed
from audiosocket.cli.api import APIClient
from audiosocket.cli.dialplan_check import dialplan_findings
from audiosocket.cli.doctor_checks import CHECKS
from audiosocket.cli.outside import address_of, heard, port_findings
from audiosocket.cli.parser import DOCTOR_CHECKS
from audiosocket.settings import Settings
from tests.support.fake_ami import SECRET, USER, Action, FakeAMIConnection, FakeAMIServer
from tests.support.ports import free_ports
from tests.support.reactor import reactor
from tests.support.server_process import ServerProcess

HEARD: dict[str, Any] = {
    "ended_by": "caller",
    "refused": False,
    "first_frame_ms": 7.0,
    "frames_heard": 250,
    "heard_rate": 8_000,
    "broken": [],
    "echo": None,
    "echo_sought": True,
    "seconds_sound": 2.0,
    "late_frames": 0,
    "largest_gap_ms": 21.0,
    "own_lateness_ms": 1.0,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("server")
    with ServerProcess(directory, {"API_TOKEN": "sesame"}, app="echo") as started:
        yield started


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use an empty directory, which has no ``.env``."""
    monkeypatch.chdir(tmp_path)


def examine(server: ServerProcess, *arguments: str, **settings: str) -> tuple[int, str]:
    """Run the command for ``server``; return the exit status and what was printed."""
    out = io.StringIO()
    environment = {"API_PORT": str(server.api_port), "API_TOKEN": "sesame", **settings}
    return run(["doctor", *arguments], environment, out), out.getvalue()


def found(text: str) -> list[tuple[str, str, str]]:
    return [(one["check"], one["level"], one["what"]) for one in json.loads(text)["findings"]]


def test_the_options_name_the_checks() -> None:
    assert tuple(CHECKS) == DOCTOR_CHECKS


@pytest.mark.slow
@pytest.mark.deadline(120)
def test_a_server_that_works_is_called_and_nothing_is_bad(server: ServerProcess) -> None:
    status, text = examine(server, "--json")
    findings = found(text)
    # A loaded machine may be late, which the server reports as one of its problems.
    assert [one for one in findings if one[1] == "bad" and one[0] != "problems"] == []
    assert status in (0, 1)
    assert {check for check, _, _ in findings} == set(CHECKS)
    assert ("ports", "ok", "2 ports of 1 extension can be reached") in findings
    assert ("process", "ok", "the audio clock runs") in findings
    api = f"http://127.0.0.1:{server.api_port} answers; the token API_TOKEN has the scope admin"
    assert ("api", "ok", api) in findings
    call = f"extension 1000 at 127.0.0.1:{server.visitor}: the UUID was accepted"
    assert any(check == "call" and what.startswith(call) for check, _, what in findings)
    assert any(check == "call" and re.match("what was said came back after", what) for check, _, what in findings)


def test_the_text_fits_a_terminal_and_says_how_much_is_wrong(server: ServerProcess) -> None:
    status, text = examine(server, "--only", "api", "--only", "ports")
    assert status == 0
    assert text.startswith("api\n  ok    http://127.0.0.1:")
    assert "\nports\n  ok    2 ports of 1 extension can be reached\n\nNothing is wrong.\n" in text
    assert max(map(len, text.splitlines())) <= 80
    status, text = examine(server, "--only", "call", "--extension", "77")
    assert status == 1
    assert (
        "  bad   extension 77 is not listening\n        -> audiosocket status says why\n\n1 bad, 0 warnings."
        in text
    )


def test_a_wrong_token_and_what_can_be_looked_at_all_the_same(server: ServerProcess) -> None:
    status, text = examine(server, "--only", "api", "--only", "process", "--only", "ports", API_TOKEN="guess")
    assert status == 1
    assert "the token is wrong" in " ".join(text.split())
    assert "the audio clock runs" in text
    assert "it was not looked at" in text
    assert "guess" not in text


def test_without_a_server_the_status_is_3_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    out = io.StringIO()
    port, away = free_ports(2)
    settings = {"API_PORT": str(port), "DB_HOST": "127.0.0.1", "DB_PORT": str(away)}
    assert run(["doctor", "--json"], settings, out) == 3
    levels = {(check, level) for check, level, _ in found(out.getvalue())}
    assert {("settings", "ok"), ("api", "bad"), ("call", "warn"), ("database", "bad"), ("ami", "ok")} <= levels
    (tmp_path / ".env").write_text("this is no setting\n")
    out = io.StringIO()
    assert run(["doctor"], {}, out) == 1
    assert "1 bad" in out.getvalue()


def test_ports_that_nobody_reaches_are_named_and_not_all_tried() -> None:
    ports = free_ports(8)
    extensions = [
        {"ramal_ia": str(n), "bind": "0.0.0.0", "actual_porta_ia": port, "actual_porta_retorno": None}
        for n, port in enumerate(ports)
    ]
    findings = list(port_findings({"extensions": extensions}, APIClient("http://127.0.0.1:1"), ""))
    assert [one.level for one in findings] == ["bad"] * 5 + ["warn"]
    assert findings[0].what == f"127.0.0.1:{ports[0]}, for visitors of extension 0: Connection refused"
    assert findings[-1].what == "3 more ports were not tried"
    (none,) = port_findings({"extensions": []}, APIClient("http://127.0.0.1:1"), "")
    assert none.level == "warn"


def test_where_a_listener_is_reached() -> None:
    assert address_of("0.0.0.0", "http://[::1]:8082", "") == "::1"
    assert address_of("192.0.2.7", "http://127.0.0.1:8082", "") == "192.0.2.7"
    assert address_of("192.0.2.7", "http://127.0.0.1:8082", "door.example") == "door.example"
    assert address_of(None, "http://127.0.0.1:8082", "") == "127.0.0.1"


@pytest.mark.parametrize(
    ("changed", "apps", "level", "what"),
    [
        ({"ended_by": "failed", "broken": [{"sentence": "Connection refused"}]}, [], "bad", "Connection refused"),
        ({"refused": True}, ["echo"], "bad", "refused before any audio"),
        ({"broken": [{"sentence": "it sends too fast"}]}, ["play"], "bad", "it sends too fast"),
        ({"echo": {"delay_ms": 40.0}}, ["echo"], "ok", "came back after 40 ms"),
        ({}, ["play", "echo"], "bad", "did not come back"),
        ({"seconds_sound": 0}, ["porteiro"], "warn", "only silence was heard from porteiro"),
        (
            {"late_frames": 3, "largest_gap_ms": 90.0},
            ["play"],
            "warn",
            "3 frames came late, the largest gap 90 ms",
        ),
        ({}, ["play"], "ok", "the UUID was accepted; first frame after 7 ms, 250 frames of slin at 8000 Hz"),
    ],
)
def test_what_a_call_says(changed: Mapping[str, Any], apps: list[str], level: str, what: str) -> None:
    findings = list(heard({**HEARD, **changed}, apps, "extension 1"))
    assert any(one.level == level and what in one.what for one in findings)
    assert all(one.cure for one in findings if one.level != "ok")


def test_a_full_disk_is_bad_and_a_small_rest_a_warning() -> None:
    gigabyte = 2**30
    levels = [disk.of_space("DATA_DIR", free, 10_000).level for free in (gigabyte // 100, gigabyte // 2, gigabyte)]
    assert levels == ["bad", "warn", "ok"]
    assert disk.of_space("DATA_DIR", gigabyte, 7).what == "DATA_DIR: 7 inodes are free"
    assert disk.of_space("DATA_DIR", gigabyte, None).level == "ok"


EXTENSIONS = [
    {"id": 1, "ramal_ia": "1000", "porta_ia": 8_080, "porta_retorno": 8_081, "ramal_retorno": "1001"},
    {"id": 2, "ramal_ia": "2000", "porta_ia": 8_090, "porta_retorno": None, "ramal_retorno": ""},
]


def show_dialplan(*data: str) -> Any:
    """Return what Asterisk answers to ShowDialPlan, with these values of AppData."""

    def answer(connection: FakeAMIConnection, action: Action) -> None:
        connection.answer(action, EventList="start", Message="DialPlan list will follow")
        for priority, value in enumerate(data, 1):
            connection.send(
                ("Event", "ListDialplan"),
                ("Context", "audiosocket-visitor"),
                ("Extension", "1000"),
                ("Priority", str(priority)),
                ("Application", "Gosub"),
                ("AppData", value),
            )
        connection.send(
            ("Event", "ShowDialPlanComplete"), ("EventList", "Complete"), ("ListItems", str(len(data)))
        )

    return answer


async def dialplan(asterisk: FakeAMIServer, secret: str = SECRET) -> list[tuple[str, str]]:
    port = reactor.listenTCP(0, asterisk, interface="127.0.0.1")
    given = {"AMI_HOST": "127.0.0.1", "AMI_PORT": str(port.getHost().port), "AMI_USER": USER, "AMI_SECRET": secret}
    try:
        findings = await deferToThread(lambda: list(dialplan_findings(Settings.parse(given), EXTENSIONS)))
    finally:
        await port.stopListening()
    return [(one.level, one.what) for one in findings]


async def test_the_dialplan_leads_to_the_ports_or_lacks_some() -> None:
    asterisk = FakeAMIServer()
    asterisk.replies["ShowDialPlan"] = show_dialplan(
        "audiosocket-call,s,1(${UUID()},192.0.2.7:8080,)",
        "AudioSocket/[2001:db8::7]:8081/${AUDIOSOCKET_CALL_ID}",
        "192.0.2.7:80900",
    )
    assert await dialplan(asterisk) == [
        ("warn", "no line of Asterisk's dialplan names the port for visitors of 2000 (id 2, port 8090)"),
        ("ok", "Asterisk's dialplan leads to the ports for residents of 1 extension"),
    ]


async def test_an_account_that_may_not_list_the_dialplan_or_is_wrong() -> None:
    asterisk = FakeAMIServer()
    asterisk.replies["ShowDialPlan"] = lambda connection, action: connection.error(action, "Permission denied")
    ((level, what),) = await dialplan(asterisk)
    assert level == "warn"
    assert what.endswith("the dialplan cannot be read: it refused ShowDialPlan: Permission denied")
    ((level, what),) = await dialplan(asterisk, "another")
    assert (level, what.endswith("the account was refused")) == ("bad", True)
    (closed,) = free_ports(1)
    settings = Settings.parse(
        {"AMI_HOST": "127.0.0.1", "AMI_PORT": str(closed), "AMI_USER": "x", "AMI_SECRET": "y"}
    )
    ((level, what),) = [(one.level, one.what) for one in dialplan_findings(settings, EXTENSIONS)]
    assert (level, what) == ("bad", f"AMI at 127.0.0.1:{closed}: Connection refused")


async def test_a_peer_that_closes_in_the_middle_of_a_listing() -> None:
    asterisk = FakeAMIServer()

    def close(connection: FakeAMIConnection, action: Action) -> None:
        connection.answer(action, EventList="start")
        connection.transport.loseConnection()

    asterisk.replies["ShowDialPlan"] = close
    port = reactor.listenTCP(0, asterisk, interface="127.0.0.1")

    def ask() -> None:
        with AMIConversation("127.0.0.1", port.getHost().port) as conversation:
            assert conversation.log_in(USER, SECRET)
            list(conversation.listing("ShowDialPlan", [], "ShowDialPlanComplete"))

    try:
        with pytest.raises(AMIFailed, match="closed the connection"):
            await deferToThread(ask)
    finally:
        await port.stopListening()
