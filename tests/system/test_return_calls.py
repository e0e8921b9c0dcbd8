"""Return calls of the real server: requested over HTTP, placed over AMI, joined by the resident's leg."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from twisted.internet.threads import deferToThread

from audiosocket.client.caller import Caller
from audiosocket.outbound.webhook_signature import SIGNATURE_HEADER, signature
from tests.support import visits
from tests.support.fake_ami import SECRET, USER, FakeAMIServer
from tests.support.loopback_server import LOOPBACK, reactor, reactor_turns, until
from tests.support.server_process import ServerProcess, install_example_app
from tests.support.visits import Visit


class AmiVisit(Visit):
    """A visit with a fake Asterisk beside the server."""

    def __init__(self, server: ServerProcess, visitor: Caller, asterisk: FakeAMIServer) -> None:
        super().__init__(server, visitor)
        self.asterisk = asterisk

    async def originated(self, count: int = 1) -> Any:
        await until(lambda: len(self.asterisk.actions_named("Originate")) == count)
        return self.asterisk.actions_named("Originate")[-1]


@asynccontextmanager
async def visit(directory: Path, **settings: str) -> AsyncIterator[AmiVisit]:
    asterisk = FakeAMIServer()
    port = reactor.listenTCP(0, asterisk, interface=LOOPBACK)
    given = {
        "AMI_HOST": LOOPBACK, "AMI_PORT": str(port.getHost().port), "AMI_USER": USER, "AMI_SECRET": SECRET,
        "RETURN_CALLER_ID": "Gate", "RETURN_RING_SECONDS": "25", **settings,
    }  # fmt: skip
    try:
        async with visits.visit(directory, **given) as here:
            yield AmiVisit(here.server, here.visitor, asterisk)
    finally:
        await port.stopListening()
    assert asterisk.violations == []


@pytest.mark.deadline(60)
async def test_with_workers_the_first_report_of_a_webhook_is_verified_by_the_key_in_its_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "key").write_text("the key of the webhook\n")
    settings = {
        "WORKERS": "2", "API_TOKEN": "a token of the api", "RETURN_BACKEND": "webhook",
        "WEBHOOK_URL": f"http://{LOOPBACK}:9/", "WEBHOOK_SECRET_FILE": "key",
    }  # fmt: skip
    with ServerProcess(tmp_path, settings) as server:
        body = json.dumps({"attempt_id": "7", "end": "busy"}).encode()
        statuses = []
        for key in ("the key of the webhook", "another key"):
            headers = {
                "Content-Type": "application/json",
                SIGNATURE_HEADER: signature(key, int(time.time()), body),
            }
            report = Request(f"http://{LOOPBACK}:{server.api_port}/api/attempts/7", body, headers)
            with pytest.raises(HTTPError) as answer:
                await deferToThread(urlopen, report, timeout=15)
            statuses.append(answer.value.code)
            answer.value.close()
    assert statuses == [404, 401]  # there is no such attempt; not signed


@pytest.mark.deadline(60)
async def test_a_whole_visit(tmp_path: Path) -> None:
    async with visit(tmp_path) as here:
        await until(lambda: any(connection.logged_in for connection in here.asterisk.connections))
        early = Caller(reactor, here.visitor.call_id)
        await early.dial(LOOPBACK, here.server.resident)
        await early.ended  # nobody has called a resident yet
        assert (await here.request(f"{here.path}/return", {"number": "1/2"}))[0] == 422
        status, answer = await here.request(f"{here.path}/return", {"numbers": ["101", "102"]})
        assert (status, answer["status"], answer["call"]["return"]["state"]) == (202, "success", "ringing")
        assert (await here.request(f"{here.path}/return", {"number": "103"}))[0] == 409
        first = await here.originated()
        assert (first["Channel"], first["Exten"], first["Context"]) == ("PJSIP/101", "1001", "audiosocket-return")
        assert (first["CallerID"], first["Timeout"]) == ("Gate", "25000")
        assert f"AUDIOSOCKET_CALL_ID={here.visitor.call_id}" in first.values_of("Variable")
        here.asterisk.event("OriginateResponse", Response="Failure", Uniqueid=first["ChannelId"], Reason="5")
        here.asterisk.event("Hangup", Uniqueid=first["ChannelId"], Cause="17")
        second = await here.originated(2)
        assert second["Channel"] == "PJSIP/102"
        here.asterisk.event("OriginateResponse", Response="Success", Uniqueid=second["ChannelId"], Reason="4")
        resident = await here.connect_resident()
        call = await here.call_json()
        assert call["return"]["state"] == "connected"
        assert [(a["number"], a["end"]) for a in call["return"]["attempts"]] == [
            ("101", "busy"),
            ("102", "answered"),
        ]
        assert {leg["role"]: leg["state"] for leg in call["legs"]} == {"visitor": "live", "resident": "live"}
        assert call["caller"] is None  # the fake Asterisk has reported no channel
        assert (await here.request("/api/status"))[1]["return_backend"] == {
            "kind": "ami",
            "state": "up",
            "reason": "",
        }
        resident.hang_up()
        here.visitor.hang_up()
        await resident.ended
        await here.visitor.ended
        assert (await here.request(f"{here.path}/return", {"number": "103"}))[0] == 404
        assert SECRET not in here.server.log()


@pytest.mark.deadline(60)
async def test_the_ringing_stops_when_the_visitor_hangs_up(tmp_path: Path) -> None:
    async with visit(tmp_path) as here:
        await until(lambda: any(connection.logged_in for connection in here.asterisk.connections))
        assert (await here.request(f"{here.path}/return", {"number": "101"}))[0] == 202
        originated = await here.originated()
        here.visitor.hang_up()
        await until(lambda: bool(here.asterisk.actions_named("Hangup")))
        assert here.asterisk.actions_named("Hangup")[0]["Channel"] == originated["ChannelId"]
        call = await here.call_json()
        assert (call["state"], call["return"]["state"]) == ("ended", "cancelled")


@pytest.mark.deadline(60)
async def test_a_wrong_secret_ends_the_attempt_immediately(tmp_path: Path) -> None:
    async with visit(tmp_path, AMI_SECRET="mistyped") as here:
        while (await here.request("/api/status"))[1]["return_backend"]["state"] == "connecting":
            await reactor_turns()
        assert (await here.request(f"{here.path}/return", {"number": "1&2"}))[0] == 422
        status, answer = await here.request(f"{here.path}/return", {"numbers": ["101", "102"]})
        assert status == 202
        placed = answer["call"]["return"]
        (attempt,) = placed["attempts"]
        assert (placed["state"], attempt["end"]) == ("failed", "failed")
        assert re.match(r"AMI at 127\.0\.0\.1:\d+ is not available: login refused", attempt["reason"])
        assert placed["reason"] == attempt["reason"] + "; 1 number was not tried"
        assert "mistyped" not in str(answer)
        backend = (await here.request("/api/status"))[1]["return_backend"]
        assert (backend["kind"], backend["state"]) == ("ami", "down")
        here.visitor.hang_up()
        await here.visitor.ended
        end = (await here.call_json())["timeline"][-1]
        assert (end["event"], end["return"]["attempts"]) == ("call.ended", [{**attempt, "number": "**01"}])


VOICE = b"\x21\x43" * 160


@pytest.mark.deadline(60)
async def test_an_app_calls_the_resident_and_bridges_the_legs(tmp_path: Path) -> None:
    install_example_app(tmp_path, "concierge")
    apps = {"VISITOR_APP": "concierge", "RESIDENT_APP": "concierge", "CONCIERGE_NUMBERS": "101,102"}
    async with visit(tmp_path, **apps) as here:
        await until(lambda: any(connection.logged_in for connection in here.asterisk.connections))
        here.visitor.press("1")
        first = await here.originated()
        assert first["Channel"] == "PJSIP/101"
        here.asterisk.event("OriginateResponse", Response="Failure", Uniqueid=first["ChannelId"], Reason="5")
        here.asterisk.event("Hangup", Uniqueid=first["ChannelId"], Cause="17")
        second = await here.originated(2)
        assert second["Channel"] == "PJSIP/102"
        resident = await here.connect_resident()
        resident.say(VOICE * 5)
        await here.visitor.until(lambda: VOICE in here.visitor.heard)
        here.visitor.say(VOICE[::-1] * 5)
        await resident.until(lambda: VOICE[::-1] in resident.heard)
        resident.hang_up()
        await resident.ended
        assert (await here.visitor.ended).ended_by == "server"
        call = await here.call_json()
        tried = [(attempt["number"], attempt["end"]) for attempt in call["return"]["attempts"]]
        assert tried == [("101", "busy"), ("102", "answered")]
        assert call["timeline"][-1]["event"] == "call.ended"
        ended = call["timeline"][-1]["return"]["attempts"]
        assert [(one["number"], one["end"]) for one in ended] == [("**01", "busy"), ("**02", "answered")]
        assert "Traceback" not in here.server.log()


@pytest.mark.deadline(60)
async def test_a_resident_who_answers_after_a_kill_joins_the_call(tmp_path: Path) -> None:
    async with visit(tmp_path) as here:
        await until(lambda: any(connection.logged_in for connection in here.asterisk.connections))
        assert (await here.request(f"{here.path}/return", {"number": "101"}))[0] == 202
        rung = await here.originated()
        await deferToThread(here.server.stop, signal.SIGKILL)
        await here.visitor.ended
        await deferToThread(here.server.start)
        resident = await here.connect_resident()  # even before the visitor is back
        visitor = Caller(reactor, here.visitor.call_id)
        await visitor.dial(LOOPBACK, here.server.visitor)
        await visitor.until_heard(640)
        call = await here.call_json()
        assert call["return"]["state"] == "connected"
        assert [(a["number"], a["end"]) for a in call["return"]["attempts"]] == [("101", "answered")]
        resident.hang_up()
        await resident.ended
        second = Caller(reactor, here.visitor.call_id)
        await second.dial(LOOPBACK, here.server.resident)
        assert ((await second.ended).ended_by, len(second.heard)) == ("server", 0), "once"
        visitor.hang_up()
        await visitor.ended
        hung_up = [action["Channel"] for action in here.asterisk.actions_named("Hangup")]
        assert rung["ChannelId"] not in hung_up


@pytest.mark.deadline(60)
async def test_a_resident_of_a_visitor_who_left_during_a_kill_is_not_kept_waiting(tmp_path: Path) -> None:
    async with visit(tmp_path, RESUME_SECONDS="600") as here:
        await until(lambda: any(connection.logged_in for connection in here.asterisk.connections))
        channel = {"Channel": "PJSIP/gate-1", "Uniqueid": "1.1", "CallerIDNum": "5511", "CallerIDName": "Porta"}
        here.asterisk.event("Newchannel", **channel, Exten="1000")
        data = f"{here.visitor.call_id},{LOOPBACK}:{here.server.visitor}"
        here.asterisk.event("Newexten", **channel, Exten="s", Application="AudioSocket", AppData=data)
        while (await here.call_json())["caller"] is None:
            await reactor_turns()
        assert (await here.request(f"{here.path}/return", {"number": "101"}))[0] == 202
        await here.originated()
        await deferToThread(here.server.stop, signal.SIGKILL)
        await here.visitor.ended  # and Asterisk has no such channel any more
        here.asterisk.replies["CoreShowChannels"] = lambda ami, action: None
        await deferToThread(here.server.start)
        resident = await here.connect_resident()
        del here.asterisk.replies["CoreShowChannels"]  # the list was late; the next login brings another one
        for connection in here.asterisk.connections:
            connection.transport.loseConnection()
        assert (await resident.ended).ended_by == "server"
        call = await here.call_json()
        assert (call["state"], call["outcome"]) == ("ended", "caller_hangup")


@pytest.mark.deadline(60)
async def test_the_next_number_is_called_after_a_kill(tmp_path: Path) -> None:
    async with visit(tmp_path, RETURN_RING_SECONDS="2", RETURN_WINDOW_SECONDS="1") as here:
        await until(lambda: any(connection.logged_in for connection in here.asterisk.connections))
        assert (await here.request(f"{here.path}/return", {"numbers": ["101", "102"]}))[0] == 202
        await here.originated()
        await deferToThread(here.server.stop, signal.SIGKILL)
        await here.visitor.ended
        await deferToThread(here.server.start)
        visitor = Caller(reactor, here.visitor.call_id)
        await visitor.dial(LOOPBACK, here.server.visitor)
        assert (await here.originated(2))["Channel"] == "PJSIP/102"
        call = await here.call_json()
        assert [(a["number"], a["end"]) for a in call["return"]["attempts"]] == [
            ("101", "failed"),
            ("102", None),
        ]
        visitor.hang_up()
        await visitor.ended
        assert (await here.call_json())["return"]["state"] == "cancelled"


@pytest.mark.deadline(60)
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_caller_is_shown_by_the_api_and_reported_to_the_app(tmp_path: Path, workers: str) -> None:
    install_example_app(tmp_path, "concierge")
    async with visit(tmp_path, WORKERS=workers, VISITOR_APP="concierge", RESIDENT_APP="concierge") as here:
        await until(lambda: sum(connection.logged_in for connection in here.asterisk.connections) == int(workers))
        channel = {"Channel": "PJSIP/gate-1", "Uniqueid": "1.1", "CallerIDNum": "5511", "CallerIDName": "Porta"}
        here.asterisk.event("Newchannel", **channel, Exten="1000")
        data = f"{here.visitor.call_id},{LOOPBACK}:{here.server.visitor}"
        here.asterisk.event("Newexten", **channel, Exten="s", Application="AudioSocket", AppData=data)
        wanted = {"channel": "PJSIP/gate-1", "number": "5511", "name": "Porta", "dialled": "1000"}
        while (call := await here.call_json())["caller"] != wanted:
            await reactor_turns()
        (noted,) = (event for event in call["timeline"] if event["event"] == "app.note")
        assert (noted["caller"], noted["dialled"]) == ("5511", "1000")
        here.visitor.hang_up()
        await here.visitor.ended
        (listed,) = (await here.request("/api/calls"))[1]["calls"]
        assert listed["caller"] == wanted
