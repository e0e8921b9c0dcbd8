"""Return calls that ring in clients of the API, on a real server: who joins, who is refused, several workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audiosocket.media.pcm import level, tone
from audiosocket.outbound.endpoints import Endpoints
from audiosocket.outbound.websocket import WebSocketClient
from tests.support.loopback_server import reactor, until
from tests.support.server_process import ServerProcess
from tests.support.visits import visit

pytestmark = pytest.mark.deadline(60)


class Phone:
    """A resident's telephone at the API; ``messages`` are the texts it got, ``heard`` is audio."""

    def __init__(self, server: ServerProcess, query: str = "") -> None:
        url = f"ws://127.0.0.1:{server.api_port}/api/phone?ring=true{query}"
        self.client = WebSocketClient(url, self, Endpoints(reactor).for_url(url), reactor)
        self.messages: list[Any] = []
        self.heard = b""
        self.over = False

    def opened(self) -> None:
        pass

    def message(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.heard += message
        else:
            self.messages.append(json.loads(message))

    def closed(self, code: int, reason: str) -> None:
        self.over = True

    def tell(self, **message: object) -> None:
        self.client.send(json.dumps(message))

    @property
    def states(self) -> list[str]:
        return [message["state"] for message in self.messages if "state" in message]

    async def until_state(self, state: str) -> None:
        await until(lambda: state in self.states)


async def waiting(server: ServerProcess, query: str = "") -> Phone:
    """Return a telephone that waits."""
    phone = Phone(server, query)
    await phone.client.connect()
    await phone.until_state("waiting")
    return phone


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_telephone_that_answers_is_the_resident_of_the_call(tmp_path: Path, workers: str) -> None:
    async with visit(tmp_path, RETURN_BACKEND="browser", WORKERS=workers, RETURN_RING_SECONDS="30") as here:
        phone, other = await waiting(here.server), await waiting(here.server, "&number=102")
        await here.call_resident("101")
        await phone.until_state("ringing")
        ringing = phone.messages[-1]
        assert (ringing["call_id"], ringing["number"]) == (str(here.visitor.call_id), "101")
        phone.tell(answer=True)
        await phone.until_state("connected")
        attempts = await here.wait_for_return("connected")
        assert [(number, end) for number, end, _ in attempts] == [("101", "answered")]
        phone.tell(rate=16_000)
        say = tone(16_000, 400, 20, -20)
        await until(_saying(phone, say))
        call = await here.call_json()
        assert [leg["role"] for leg in call["legs"]] == ["visitor", "resident"]
        phone.tell(hangup=True)
        await until(lambda: phone.over)
        assert phone.states == ["waiting", "ringing", "connecting", "connected", "ended"]
        assert other.states == ["waiting"]
        await other.client.close()


def _saying(phone: Phone, pcm: bytes) -> Callable[[], bool]:
    """Say ``pcm`` until the resident's app has echoed it."""

    def heard() -> bool:
        phone.client.send(pcm)
        return len(phone.heard) >= 640 and level(phone.heard[-640:]) > -30

    return heard


async def test_a_rejected_one_is_refused_and_the_next_number_rings(tmp_path: Path) -> None:
    async with visit(tmp_path, RETURN_BACKEND="browser", RETURN_RING_SECONDS="30") as here:
        phone = await waiting(here.server)
        await here.call_resident("101", "102")
        await phone.until_state("ringing")
        phone.tell(reject=True)
        await until(lambda: phone.states == ["waiting", "ringing", "waiting", "ringing"])
        assert phone.messages[-1]["number"] == "102"
        assert (await here.request(f"{here.path}/return", method="DELETE"))[0] == 200
        await until(lambda: phone.messages[-1] == {"state": "waiting", "reason": "cancelled"})
        shown = (await here.call_json())["return"]
        assert [attempt["end"] for attempt in shown["attempts"]] == ["refused", "cancelled"]
        await phone.client.close()


async def test_without_a_telephone_nobody_answers(tmp_path: Path) -> None:
    async with visit(tmp_path, RETURN_BACKEND="browser", RETURN_RING_SECONDS="5") as here:
        shown = await here.wait_for_backend("up")
        assert shown["kind"] == "browser"
        await here.call_resident("101")
        ((number, end, reason),) = await here.wait_for_return("failed")
        assert (number, end) == ("101", "no_answer")
        assert "operator page" in reason
