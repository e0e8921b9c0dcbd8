"""Peers that flood, and the calls beside them: with several processes, and on extensions with a bot.

How late the neighbours' frames are is measured by ``python -m bench --rows neighbours``; here none may be lost.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from audiosocket.wire import audio_frame, digit_frame, uuid_frame
from tests.support.loopback_server import LOOPBACK
from tests.support.numbered_calls import call_ids
from tests.support.ports import free_ports
from tests.support.server_calls import call
from tests.support.server_process import ROOT, ServerProcess
from tests.support.twilio_bot import TwilioBot
from tests.support.websocket_server import WebSocketServer, websocket_server

pytestmark = [pytest.mark.slow]

PATTERNS = {
    "one sample": audio_frame(8_000, b"\x11\x22") * 10_000,
    "digits": digit_frame("5") * 10_000,
    "changing rates": (audio_frame(8_000, b"\x11\x22") + audio_frame(16_000, b"\x11\x22")) * 5_000,
}
#: Each pattern is sent until the server has ended so many of its connections.
ENDED = 2
APPS = """
[extension."2000"]
visitor = "twilio"
[extension."2000".twilio]
url = "ws://127.0.0.1:{port}/"
fallback = "silence"
"""


def flood(port: int, pattern: bytes, stop: Event) -> None:
    """Send a pattern, on a new connection after each that the server ends, until it has ended some."""
    ids = call_ids()
    for _ in range(ENDED):
        with socket.create_connection((LOOPBACK, port), timeout=5) as peer:
            peer.sendall(uuid_frame(next(ids)))
            while not stop.is_set() and _goes_on(peer, pattern):
                pass


def _goes_on(peer: socket.socket, pattern: bytes) -> bool:
    """Send as much as the server takes, and drop what it sends; return false when it has ended the connection."""
    readable, writable, _ = select.select([peer], [peer], [], 1)
    try:
        if readable and not peer.recv(1 << 16):
            return False
        return not writable or peer.send(pattern, socket.MSG_DONTWAIT) > 0
    except BlockingIOError:
        return True
    except OSError:
        return False


@contextmanager
def neighbours(port: int, count: int = 10) -> Iterator[subprocess.Popen[str]]:
    """Hold calls whose every frame is numbered."""
    command = [sys.executable, "-m", "tests.support.numbered_calls", str(count), str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as made:
        assert made.stdout is not None
        try:
            assert made.stdout.readline() == "up\n"
            yield made
        finally:
            made.kill()


def report_of(calls: subprocess.Popen[str]) -> dict[str, Any]:
    report, _ = calls.communicate(timeout=60)
    return dict(json.loads(report))


def all_floods(port: int, stop: Event) -> None:
    """Send all patterns at the same time."""
    threads = [Thread(target=flood, args=(port, pattern, stop)) for pattern in PATTERNS.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def answer_all(bots: WebSocketServer) -> None:
    """Accept the connections of all further calls."""
    while True:
        await TwilioBot.answer(bots)


@pytest.mark.deadline(120)
async def test_floods_at_two_workers_lose_no_frame_of_other_calls(tmp_path: Path) -> None:
    stop = Event()
    with ServerProcess(tmp_path, {"WORKERS": "2"}, app="echo") as server, neighbours(server.visitor) as calls:
        try:
            await deferToThread(all_floods, server.visitor, stop)
        finally:
            stop.set()
        report = await deferToThread(report_of, calls)
        assert (report["dropped_calls"], report["lost"], report["wrong"]) == (0, 0, 0), report
        assert report["sent"] > 0
        status = await deferToThread(server.api, "/api/status")
        assert status["traffic"]["protocol_errors"]["flood"] == ENDED * len(PATTERNS)
        assert [worker["restarts"] for worker in status["workers"]] == [0, 0]
        assert "Traceback" not in server.log()


@pytest.mark.deadline(120)
@pytest.mark.parametrize("workers", [1, 2])
async def test_floods_at_a_bot_lose_no_frame_of_other_calls_and_its_other_calls_go_on(
    tmp_path: Path, workers: int
) -> None:
    plain, plain_return, with_bot, bot_return = free_ports(4)
    rows = [
        {"id": 1, "ramal_ia": "1000", "porta_ia": plain, "porta_retorno": plain_return},
        {"id": 2, "ramal_ia": "2000", "porta_ia": with_bot, "porta_retorno": bot_return},
    ]
    stop = Event()
    async with websocket_server() as bots:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "apps.toml").write_text(APPS.replace("{port}", str(bots.port)))
        with (
            ServerProcess(tmp_path, {"WORKERS": str(workers)}, rows=rows, app="echo") as server,
            neighbours(plain) as calls,
        ):
            caller = await call(with_bot)
            bot = await TwilioBot.answer(bots)
            others = Deferred.fromCoroutine(answer_all(bots))
            try:
                await deferToThread(all_floods, with_bot, stop)
            finally:
                stop.set()
                others.addErrback(lambda why: why.trap(CancelledError))
                others.cancel()
            report = await deferToThread(report_of, calls)
            assert (report["dropped_calls"], report["lost"], report["wrong"]) == (0, 0, 0), report
            bot.play(b"\x00\x10" * 800)
            await caller.until_heard(lambda pcm: any(pcm[-3_200:]))
            caller.hang_up()
            await caller.ended
            assert "Traceback" not in server.log()
