"""File descriptors that run out while calls are set up, while they end, and while a gate is opened.

``OPEN_FILES`` is a list of numbers of free descriptors, as for ``test_open_files.py``.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from audiosocket.wire import uuid_frame
from tests.support.loopback_server import LOOPBACK
from tests.support.porteiro_visits import door, gate_program
from tests.support.ports import free_ports
from tests.support.reactor import reactor
from tests.support.server_process import ServerProcess, wait_until
from tests.support.shortage import ESTABLISHED, Shortage, accepted, established, knock, report_of
from tests.support.websocket_bot import silent_bot

FREE = [int(number) for number in os.environ.get("OPEN_FILES", "0,1").split(",")]
#: Recorded calls that are set up, or that end, beside one with a bot.
CALLS = 4
BOT = '[extension."2000"]\nvisitor = "twilio"\n[extension."2000".twilio]\nurl = "ws://127.0.0.1:{port}/"\n'
BOT += 'fallback = "silence"\n'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this system has no prlimit"),
]


def two_extensions(directory: Path, bot: int) -> tuple[ServerProcess, int]:
    """Return a server, not started, that records calls, and the port whose calls have a bot."""
    visitor, resident, bot_visitor, bot_resident = free_ports(4)
    rows = [
        {"id": 1, "ramal_ia": "1000", "porta_ia": visitor, "porta_retorno": resident},
        {"id": 2, "ramal_ia": "2000", "porta_ia": bot_visitor, "porta_retorno": bot_resident},
    ]
    (directory / "data").mkdir()
    (directory / "data" / "apps.toml").write_text(BOT.format(port=bot))
    server = ServerProcess(directory, {"VISITOR_APP": "echo+record", "RECORD_DIR": "recordings"}, rows=rows)
    server.visitor = visitor
    return server, bot_visitor


def events(server: ServerProcess, call_id: UUID) -> list[str]:
    """Return the timeline of a call."""
    timeline = server.api(f"/api/calls/{call_id}")["call"]["timeline"]
    return [entry["event"] for entry in timeline]


def until_event(server: ServerProcess, call_id: UUID, event: str) -> None:
    assert wait_until(lambda: event in events(server, call_id), 15), events(server, call_id)


def new_calls_have_everything(server: ServerProcess, bot_port: int) -> None:
    """Assert that a new call is recorded, and that another one has its bot."""
    for port, event in ((server.visitor, "recording.started"), (bot_port, "bot.connected")):
        call_id = uuid4()
        with knock(port, call_id) as peer:
            assert peer.recv(3)
            until_event(server, call_id, event)


def in_set_up(server: ServerProcess, bot_port: int, free: int) -> None:
    """Descriptors are short from the connections on: recordings and bots begin without."""
    ports = [server.visitor] * CALLS + [bot_port]
    connected = [socket.create_connection((LOOPBACK, port), timeout=5) for port in ports]
    assert wait_until(lambda: accepted(server.visitor, bot_port) == ESTABLISHED + len(ports), 10)
    shortage = Shortage(server.pid, free)
    for peer in connected:
        peer.send(uuid_frame(uuid4()))
    heard = [peer.recv(3) for peer in connected]
    shortage.end()
    assert all(heard)
    for peer in connected:
        peer.close()


def at_the_end(server: ServerProcess, bot_port: int, free: int) -> None:
    """Descriptors are short when calls with open recordings and a bot end."""
    ids = [uuid4() for _ in range(CALLS + 1)]
    peers = [knock(server.visitor, call_id) for call_id in ids[:-1]] + [knock(bot_port, ids[-1])]
    for call_id in ids[:-1]:
        until_event(server, call_id, "recording.started")
    until_event(server, ids[-1], "bot.connected")
    shortage = Shortage(server.pid, free)
    for peer in peers:
        peer.close()
    assert wait_until(lambda: accepted(server.visitor, bot_port) == ESTABLISHED, 10)
    shortage.end()
    for call_id in ids[:-1]:
        until_event(server, call_id, "recording.ended")


@pytest.mark.deadline(120)
@pytest.mark.parametrize("moment", [in_set_up, at_the_end])
@pytest.mark.parametrize("free", FREE)
def test_a_shortage_within_a_call_leaves_nothing_over(
    tmp_path: Path, free: int, moment: Callable[[ServerProcess, int, int], None]
) -> None:
    (bot,) = free_ports(1)
    server, bot_port = two_extensions(tmp_path, bot)
    with silent_bot(bot), server:
        calls = established(server)
        moment(server, bot_port, free)
        new_calls_have_everything(server, bot_port)
        report = report_of(calls)
        assert (report["dropped_calls"], report["lost"], report["wrong"]) == (0, 0, 0), report
        assert wait_until(lambda: server.api("/api/status")["live_calls"] == 0, 10), server.api("/api/calls")
        assert "Traceback" not in server.log()


@pytest.mark.deadline(120)
@pytest.mark.parametrize("free", FREE)
async def test_a_gate_that_stayed_shut_is_not_opened_by_the_next_start(tmp_path: Path, free: int) -> None:
    async with gate_program() as (gate, settings), door(tmp_path, settings) as here:
        visitor = await here.visitor()
        visitor.press("#101#")
        await here.until_state(visitor, "ringing")
        resident = await here.resident(visitor)
        await here.until_state(visitor, "menu")
        shortage = Shortage(here.server.pid, free)
        for _ in range(20):  # the API, which says when a key counts, needs descriptors
            resident.press("1")
            await deferLater(reactor, 0.1)
        shortage.end()
        await here.authorise(visitor, resident)
        outcome = (await here.until_ended(visitor))["outcome"]
        opened = [True] if outcome == "authorised" else []
        assert [line["opened"] for line in await here.until_audited(len(opened)) if line["opened"]] == opened
        asked = len(gate.asked)
        await visitor.ended
        await deferToThread(here.server.stop)
        await deferToThread(here.server.start)
        again = await here.visitor()
        again.press("#101#")
        await here.until_state(again, "ringing")
        assert (len(gate.asked), len(gate.opened)) == (asked, len(opened))
