"""The server's events over HTTP, from one process and from several."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import UUID, uuid4

import pytest
from twisted.internet.threads import deferToThread
from twisted.web.http import Request

from audiosocket.outbound.webhook_signature import is_signed
from tests.support.fake_web_servers import http_server
from tests.support.loopback_server import until
from tests.support.server_calls import all_up, hang_up
from tests.support.server_process import ServerProcess


class Follower(threading.Thread):
    """Reads the events of a server in a thread of its own, until the server closes the connection."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(daemon=True)
        self.events: list[dict[str, Any]] = []
        self._stream = urlopen(f"http://127.0.0.1:{server.api_port}/api/events", timeout=30)

    def run(self) -> None:
        for line in self._stream:
            if line.startswith(b"data: "):
                self.events.append(json.loads(line[6:]))

    def names(self) -> list[str]:
        """The names of the events so far."""
        return [each["event"] for each in self.events]


@pytest.mark.deadline(60)
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_call_is_followed_by_its_events(tmp_path: Path, workers: str) -> None:
    with ServerProcess(tmp_path, {"WORKERS": workers}) as server:
        follower = Follower(server)
        follower.start()
        call = str(uuid4())
        await hang_up(await all_up(server.visitor, [UUID(call)]))
        await until(lambda: "call.ended" in follower.names())
        await deferToThread(server.api, "/api/restart", {"ramal": "1000"})
        await until(lambda: "api.changed" in follower.names())
    about = [each["event"] for each in follower.events if each.get("call_id") == call]
    assert about[:2] == ["call.started", "leg.joined"]
    assert about[-1] == "call.ended"
    ids = [each["id"] for each in follower.events]
    assert ids == sorted(set(ids))


SECRET = "not-a-secret"


@pytest.mark.deadline(60)
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_webhook_gets_the_events_of_all_processes(tmp_path: Path, workers: str) -> None:
    """The program fails once, and is asked again; the last events are those of the stop."""
    received: list[dict[str, Any]] = []
    wrong = list[bytes]()
    failures = [503]

    def answer(request: Request, body: bytes) -> tuple[int, bytes]:
        header = request.getHeader("X-Audiosocket-Signature") or ""
        if not is_signed(SECRET, header, body, time.time()):
            wrong.append(body)
        if failures:
            return failures.pop(), b""
        received.extend(json.loads(body)["events"])
        return 200, b""

    (tmp_path / "key").write_text(f"{SECRET}\n")
    async with http_server(answer) as url:
        settings = {
            "WORKERS": workers,
            "EVENTS_WEBHOOK_URL": url,
            "EVENTS_WEBHOOK_SECRET_FILE": str(tmp_path / "key"),
        }
        server = ServerProcess(tmp_path, settings)
        await deferToThread(server.__enter__)
        try:
            call = str(uuid4())
            await hang_up(await all_up(server.visitor, [UUID(call)]))
            await until(lambda: any(each["event"] == "call.ended" for each in received))
            while True:  # the program has its answer before the server
                state = (await deferToThread(server.api, "/api/status"))["events_webhook"]
                if state["state"] == "up":
                    break
            assert state["dropped_total"] == 0
        finally:
            await deferToThread(server.__exit__, None, None, None)
    assert wrong == []
    about = [each["event"] for each in received if each.get("call_id") == call]
    assert (about[0], about[-1]) == ("call.started", "call.ended")
    ids = [each["id"] for each in received]
    assert ids == sorted(set(ids))
