"""Return calls through the real server by a webhook and by ARI, from the HTTP request to one outcome."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.server import NOT_DONE_YET

from tests.support.fake_ami import SECRET, USER, FakeAMIServer
from tests.support.fake_web_servers import http_server
from tests.support.loopback_server import LOOPBACK, reactor, until
from tests.support.ports import free_ports
from tests.support.visits import Visit, visit

HOOK_SECRET, PASSWORD = "what the two have agreed on", "a password of the tests"


def sign(body: bytes) -> str:
    """Computed as in the documentation, without code of this project."""
    now = str(int(time.time()))
    return f"t={now},v1={hmac.new(HOOK_SECRET.encode(), f'{now}.'.encode() + body, sha256).hexdigest()}"


class Dialler:
    """A program that places calls when it is asked; it refuses what is not signed as it should be."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.wrong: list[str] = []
        self.silent = False

    def answer(self, request: Any, body: bytes) -> tuple[int, bytes] | int:
        given = dict(part.split("=") for part in request.getHeader("X-Audiosocket-Signature").split(","))
        right = hmac.new(HOOK_SECRET.encode(), f"{given['t']}.".encode() + body, sha256).hexdigest()
        if not hmac.compare_digest(given["v1"], right) or abs(time.time() - int(given["t"])) > 300:
            self.wrong.append(request.getHeader("X-Audiosocket-Signature"))
            return 403, b""
        self.asked.append(json.loads(body))
        return NOT_DONE_YET if self.silent else (202, b"")

    async def until_asked(self, count: int) -> dict[str, Any]:
        await until(lambda: len(self.asked) == count)
        return self.asked[-1]


@asynccontextmanager
async def dialled_visit(directory: Path, **settings: str) -> AsyncIterator[tuple[Visit, Dialler]]:
    dialler = Dialler()
    given = {"WEBHOOK_SECRET": HOOK_SECRET, **settings}
    async with http_server(dialler.answer) as url, visit(directory, WEBHOOK_URL=f"{url}/ring", **given) as here:
        yield here, dialler


async def report(here: Visit, attempt_id: str, **fields: str) -> int:
    return (await here.request(f"/api/attempts/{attempt_id}", fields))[0]


@pytest.mark.deadline(60)
async def test_a_visit_by_webhook_from_busy_to_the_residents_leg(tmp_path: Path) -> None:
    async with dialled_visit(tmp_path, RETURN_CALLER_ID="Gate") as (here, dialler):
        assert (await here.wait_for_backend("connecting"))["kind"] == "webhook"
        assert (await here.call_resident("101", "102"))[0] == 202
        first = await dialler.until_asked(1)
        call_id = str(here.visitor.call_id)
        assert first == {
            "action": "place",
            "attempt_id": first["attempt_id"],
            "call_id": call_id,
            "number": "101",
            "exten": "1001",
            "ring_seconds": 5,
            "caller_id": "Gate",
            "variables": {"AUDIOSOCKET_CALL_ID": call_id},
            "timestamp": first["timestamp"],
        }
        assert await report(here, first["attempt_id"], end="gone fishing") == 400
        assert await report(here, "another", end="busy") == 404
        assert await report(here, first["attempt_id"], end="busy", reason="in a call") == 200
        second = await dialler.until_asked(2)
        assert second["number"] == "102"
        assert await report(here, first["attempt_id"], end="answered") == 404  # that one is over
        assert await report(here, second["attempt_id"], end="answered") == 200
        assert (await here.wait_for_return("answered"))[1] == ("102", "answered", "")
        resident = await here.connect_resident()
        assert await here.wait_for_return("connected") == [("101", "busy", "in a call"), ("102", "answered", "")]
        assert await here.wait_for_backend("up") == {"kind": "webhook", "state": "up", "reason": ""}
        await here.hang_up_all(resident)
        assert (await here.call_json())["outcome"] == "caller_hangup"
        assert dialler.wrong == []
        assert [asked["action"] for asked in dialler.asked] == ["place", "place"]


@pytest.mark.deadline(60)
async def test_the_residents_leg_counts_where_a_webhook_never_reports(tmp_path: Path) -> None:
    async with dialled_visit(tmp_path, RETURN_RING_SECONDS="1") as (here, dialler):
        assert (await here.call_resident("101"))[0] == 202
        await dialler.until_asked(1)
        resident = await here.connect_resident()
        assert await here.wait_for_return("connected") == [("101", "answered", "")]
        await resident.until_heard(120 * 320)  # longer than the ring time and the time for its report
        assert [asked["action"] for asked in dialler.asked] == ["place"]
        await here.hang_up_all(resident)


@pytest.mark.deadline(60)
async def test_a_webhooks_call_is_not_answered_or_the_visitor_leaves(tmp_path: Path) -> None:
    async with dialled_visit(tmp_path, RETURN_RING_SECONDS="1") as (here, dialler):
        assert (await here.call_resident("101"))[0] == 202
        assert [attempt[:2] for attempt in await here.wait_for_return("failed")] == [("101", "no_answer")]
        cancel = await dialler.until_asked(2)
        assert (cancel["action"], cancel["attempt_id"]) == ("cancel", dialler.asked[0]["attempt_id"])
        assert (await here.call_resident("102"))[0] == 202
        placed = await dialler.until_asked(3)
        await here.hang_up_all()
        cancel = await dialler.until_asked(4)
        assert (cancel["action"], cancel["attempt_id"]) == ("cancel", placed["attempt_id"])
        assert (await here.call_json())["return"]["state"] == "cancelled"


@pytest.mark.deadline(60)
async def test_a_webhook_that_refuses_or_is_down_and_up_again(tmp_path: Path) -> None:
    async with dialled_visit(tmp_path, WEBHOOK_SECRET="mistyped") as (here, dialler):
        assert (await here.call_resident("101"))[0] == 202
        ((_, end, reason),) = await here.wait_for_return("failed")
        assert (end, "403" in reason) == ("refused", True)
        assert len(dialler.wrong) == 1
    (port,) = free_ports(1)
    away = {"WEBHOOK_URL": f"http://{LOOPBACK}:{port}/ring", "WEBHOOK_SECRET": HOOK_SECRET}
    async with visit(tmp_path / "away", **away) as here:
        for _ in range(2):  # that it failed once must not keep the next one from being tried
            assert (await here.call_resident("101"))[0] == 202
            ((_, end, reason),) = await here.wait_for_return("failed")
            assert (end, "the webhook is not available" in reason) == ("failed", True)
        assert (await here.wait_for_backend("failing"))["kind"] == "webhook"


@pytest.mark.deadline(60)
async def test_a_report_needs_the_token_or_a_signature(tmp_path: Path) -> None:
    async with dialled_visit(tmp_path, API_TOKEN="the-token-of-the-api") as (here, dialler):
        assert (await here.call_resident("101", "102", "103"))[0] == 202
        first = await dialler.until_asked(1)

        def post(attempt_id: str, body: bytes, signature: str) -> int:
            url = f"http://{LOOPBACK}:{here.server.api_port}/api/attempts/{attempt_id}"
            try:
                with urlopen(Request(url, body, {"X-Audiosocket-Signature": signature}), timeout=15) as answer:
                    return int(answer.status)
            except OSError as error:
                return int(getattr(error, "code", 0))

        old = b'{"end": "busy"}'
        body = json.dumps({"attempt_id": first["attempt_id"], "end": "busy"}).encode()
        assert await deferToThread(post, first["attempt_id"], body, "") == 401
        assert await deferToThread(post, first["attempt_id"], old, sign(old)) == 401
        assert await deferToThread(post, first["attempt_id"], b'{"end": "answered"}', sign(body)) == 401
        assert await deferToThread(post, first["attempt_id"], body, sign(body)) == 200
        second = await dialler.until_asked(2)
        assert await deferToThread(post, second["attempt_id"], body, sign(body)) == 401
        assert await report(here, second["attempt_id"], end="refused") == 200
        assert (await dialler.until_asked(3))["number"] == "103"


class Pbx:
    """An Asterisk with ARI and telephones by hand: ``states`` of its channels, by their ids."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.placed: list[dict[str, Any]] = []
        self.password = PASSWORD
        self.ended: list[str] = []
        self.looks = 0

    def answer(self, request: Any, body: bytes) -> tuple[int, bytes]:
        if (request.getUser(), request.getPassword()) != (b"door", self.password.encode()):
            return 401, b'{"message":"Authentication required"}'
        path = request.path.decode()
        if path == "/ari/asterisk/ping":
            return 200, b"{}"
        if request.method == b"POST" and path == "/ari/channels":
            self.placed.append(json.loads(body))
            self.states[self.placed[-1]["channelId"]] = "Ringing"
            return 200, b"{}"
        channel_id = path.removeprefix("/ari/channels/")
        if channel_id not in self.states:
            return 404, b'{"message":"Channel not found"}'
        if request.method == b"DELETE":
            self.ended.append(channel_id)
            del self.states[channel_id]
            return 204, b""
        self.looks += 1
        return 200, json.dumps({"id": channel_id, "state": self.states[channel_id]}).encode()

    async def until_placed(self, count: int) -> str:
        """The id of the last channel, once there are so many."""
        await until(lambda: len(self.placed) == count)
        return str(self.placed[-1]["channelId"])


@asynccontextmanager
async def ari_visit(directory: Path, pbx: Pbx, **settings: str) -> AsyncIterator[Visit]:
    given = {"ARI_USER": "door", "ARI_PASSWORD": PASSWORD, **settings}
    async with http_server(pbx.answer) as url, visit(directory, ARI_URL=url, **given) as here:
        yield here


@pytest.mark.deadline(60)
async def test_a_visit_by_ari_from_declined_to_the_residents_leg(tmp_path: Path) -> None:
    pbx = Pbx()
    async with ari_visit(tmp_path, pbx, RETURN_CHANNEL="PJSIP/{number}@trunk") as here:
        shown = await here.wait_for_backend("up")  # this one has no events
        assert (shown["kind"], "events do not arrive" in shown["reason"]) == ("ari", True)
        assert (await here.call_resident("101", "102"))[0] == 202
        first = await pbx.until_placed(1)
        placed = pbx.placed[0]
        assert (placed["endpoint"], placed["context"]) == ("PJSIP/101@trunk", "audiosocket-return")
        assert (placed["extension"], placed["timeout"]) == ("1001", 6)
        assert placed["variables"] == {"AUDIOSOCKET_CALL_ID": str(here.visitor.call_id)}
        await until(lambda: pbx.looks > 1)  # it is seen ringing
        del pbx.states[first]
        second = await pbx.until_placed(2)
        pbx.states[second] = "Up"
        await here.wait_for_return("answered")
        resident = await here.connect_resident()
        assert [attempt[1] for attempt in await here.wait_for_return("connected")] == ["refused", "answered"]
        assert (await report(here, "1", end="busy")) == 404  # no webhook was asked
        await here.hang_up_all(resident)
        assert pbx.ended == []


@pytest.mark.deadline(60)
async def test_an_ari_call_is_not_answered_and_the_visitor_leaves(tmp_path: Path) -> None:
    pbx = Pbx()
    async with ari_visit(tmp_path, pbx, RETURN_RING_SECONDS="1") as here:
        await here.wait_for_backend("up")
        assert (await here.call_resident("101"))[0] == 202
        first = await pbx.until_placed(1)
        assert [attempt[:2] for attempt in await here.wait_for_return("failed")] == [("101", "no_answer")]
        await until(lambda: pbx.ended == [first])
        assert (await here.call_resident("102"))[0] == 202
        second = await pbx.until_placed(2)
        await here.hang_up_all()
        await until(lambda: pbx.ended == [first, second])
        assert (await here.call_json())["return"]["state"] == "cancelled"


@pytest.mark.deadline(60)
async def test_ari_with_a_wrong_password_is_reported_and_ami_still_identifies_callers(tmp_path: Path) -> None:
    asterisk, pbx = FakeAMIServer(), Pbx()
    port = reactor.listenTCP(0, asterisk, interface=LOOPBACK)
    ami = {"AMI_HOST": LOOPBACK, "AMI_PORT": str(port.getHost().port), "AMI_USER": USER, "AMI_SECRET": SECRET}
    try:
        async with ari_visit(tmp_path, pbx, RETURN_BACKEND="ari", **{**ami, "ARI_PASSWORD": "mistyped"}) as here:
            shown = await here.wait_for_backend("down")
            assert (shown["kind"], "password" in shown["reason"]) == ("ari", True)
            status, answer = await here.call_resident("101", "102")
            assert (status, answer["call"]["return"]["state"]) == (202, "failed")
            ((_, end, reason),) = await here.wait_for_return("failed")
            assert (end, "refuses the user or the password" in reason) == ("failed", True)
            await until(lambda: bool(asterisk.actions_named("CoreShowChannels")))
            assert (await here.wait_for_backend("down"))["ami"] == {"state": "up", "reason": ""}
            assert asterisk.actions_named("Originate") == []
    finally:
        await port.stopListening()


@pytest.mark.deadline(60)
async def test_the_next_return_call_reaches_an_asterisk_that_is_up_again(tmp_path: Path) -> None:
    """AMI: its delays grow to ten seconds, but a return call does not wait for them."""
    (port,) = free_ports(1)
    ami = {"AMI_HOST": LOOPBACK, "AMI_PORT": str(port), "AMI_USER": USER, "AMI_SECRET": SECRET}
    async with visit(tmp_path, **ami) as here:
        await here.wait_for_backend("down")
        assert (await here.call_resident("101"))[0] == 202
        ((_, end, reason),) = await here.wait_for_return("failed")
        assert (end, f"AMI at {LOOPBACK}:{port} is not available: connection refused" in reason) == (
            "failed",
            True,
        )
        asterisk = FakeAMIServer()
        listening = reactor.listenTCP(port, asterisk, interface=LOOPBACK)
        while (await here.call_resident("101"))[1]["call"]["return"]["state"] == "failed":
            await deferLater(reactor, 0.2)
        await until(lambda: len(asterisk.actions_named("Originate")) == 1)
        await here.hang_up_all()
        await until(lambda: bool(asterisk.actions_named("Hangup")))
    await listening.stopListening()


@pytest.mark.deadline(60)
async def test_an_ami_account_without_events_does_not_hang_up_a_resident_who_has_joined(tmp_path: Path) -> None:
    asterisk = FakeAMIServer()
    port = reactor.listenTCP(0, asterisk, interface=LOOPBACK)
    ami = {"AMI_HOST": LOOPBACK, "AMI_PORT": str(port.getHost().port), "AMI_USER": USER, "AMI_SECRET": SECRET}
    try:
        async with visit(tmp_path, RETURN_RING_SECONDS="1", **ami) as here:
            await here.wait_for_backend("up")
            assert (await here.call_resident("101"))[0] == 202
            await until(lambda: len(asterisk.actions_named("Originate")) == 1)
            resident = await here.connect_resident()
            assert await here.wait_for_return("connected") == [("101", "answered", "")]
            await resident.until_heard(350 * 320)  # longer than the ring time and all that is waited after it
            assert asterisk.actions_named("Hangup") == []
            await here.hang_up_all(resident)
    finally:
        await port.stopListening()


@pytest.mark.deadline(60)
@pytest.mark.parametrize("silent", [False, True])
async def test_a_stopping_server_stops_the_ringing_and_waits_for_no_unanswered_request(
    tmp_path: Path, silent: bool
) -> None:
    async with dialled_visit(tmp_path) as (here, dialler):
        assert (await here.call_resident("101"))[0] == 202
        placed = await dialler.until_asked(1)
        await here.wait_for_backend("up")
        dialler.silent = silent
        assert await deferToThread(here.server.stop) == 0
        cancel = await dialler.until_asked(2)
        assert (cancel["action"], cancel["attempt_id"]) == ("cancel", placed["attempt_id"])
        assert ("may still ring" in here.server.log()) is silent
