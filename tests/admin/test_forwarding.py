"""Requests about calls of other nodes, over HTTP in memory; the other nodes are a double."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from audiosocket.control_interface import NODE_HEADER, CallSelection, NodeAnswer, PassedRequest, fleet_status
from audiosocket.errors import NodeTimeout, NodeUnavailable, SourceUnavailable
from audiosocket.json_shapes import CommandJSON, FleetCallPageJSON, FleetStatusJSON, NodeJSON
from tests.support.admin_client import CALL, AdminClient, FakeControl, dial, listening, request_bytes
from tests.support.logged_failures import LoggedFailures
from tests.support.reactor import reactor

ELSEWHERE = UUID("5e0a7f0e-7a43-4a2b-9a0e-6f2d7c1b8d30")
#: As `AdminClient` takes the name.
HEADER = NODE_HEADER.replace("-", "_")
BOT = {"Authorization": f"Bearer token-of-{ELSEWHERE}"}


class FakePeers:
    """The fleet of the node n1, and another node, which has the call `ELSEWHERE` and answers as ``answers``."""

    def __init__(self) -> None:
        self.asked: list[tuple[PassedRequest, UUID | None]] = []
        self.pages: list[CallSelection] = []
        self.waiting: Deferred[None] | None = None
        self.answers: NodeAnswer | Exception | None = NodeAnswer("n2", 202, b'{"status": "success"}\n')

    @property
    def peers(self) -> FakePeers:
        return self

    def to_json(self) -> FleetStatusJSON:
        return {**fleet_status(None), "node": "n1"}

    async def nodes(self) -> list[NodeJSON]:
        return []

    async def command(self, action: str, node: str | None, argument: str, asked_by: str) -> CommandJSON:
        return {"id": 1, "results": [], "missing": []}

    async def page(self, selection: CallSelection) -> FleetCallPageJSON:
        self.pages.append(selection)
        return {"total": 0, "calls": [], "next_cursor": None, "missing_nodes": ["n3"]}

    async def pass_on(self, request: PassedRequest, call_id: UUID | None) -> NodeAnswer | None:
        self.asked.append((request, call_id))
        if self.waiting is not None:
            await self.waiting
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers


@pytest.fixture
def fleet() -> FakePeers:
    return FakePeers()


@pytest.fixture
def web(fleet: FakePeers) -> AdminClient:
    control = FakeControl()
    control.fleet = fleet
    return AdminClient(control=control, token="x" * 20)


def ask(web: AdminClient, method: str, path: str, body: object = b"", **headers: str) -> Any:
    return web.request(method, path, body, **{"Authorization": "Bearer " + "x" * 20, **headers})


@pytest.mark.parametrize(
    ("method", "path", "body", "call_id"),
    [
        ("GET", f"/api/calls/{ELSEWHERE}", b"", ELSEWHERE),
        ("POST", f"/api/calls/{ELSEWHERE}/return", {"number": "101"}, ELSEWHERE),
        ("DELETE", f"/api/calls/{ELSEWHERE}/return", b"", ELSEWHERE),
        ("POST", "/api/hangup", {"call_id": str(ELSEWHERE)}, ELSEWHERE),
    ],
)
def test_a_request_for_a_call_of_another_node_is_passed_on_as_it_is(
    web: AdminClient, fleet: FakePeers, method: str, path: str, body: object, call_id: UUID | None
) -> None:
    answer = ask(web, method, path, body)
    assert (answer.status, answer.json()) == (202, {"status": "success"})
    ((passed, asked_for),) = fleet.asked
    assert (passed.method, passed.path, asked_for) == (method, path, call_id)


def test_what_this_node_has_is_not_passed_on(web: AdminClient, fleet: FakePeers) -> None:
    assert ask(web, "POST", "/api/hangup", {"call_id": str(CALL)}).status == 200
    assert fleet.asked == []


def test_what_another_node_passes_on_is_not_passed_on_again(web: AdminClient, fleet: FakePeers) -> None:
    answer = ask(web, "POST", "/api/hangup", {"call_id": str(ELSEWHERE)}, **{HEADER: "n1"})
    assert (answer.status, fleet.asked) == (404, [])


def test_what_is_meant_for_a_third_node_is_refused_and_not_passed_on(web: AdminClient, fleet: FakePeers) -> None:
    answer = ask(web, "POST", "/api/hangup", {"call_id": str(ELSEWHERE)}, **{HEADER: "n2"})
    assert (answer.status, fleet.asked) == (421, [])


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", f"/api/calls/{ELSEWHERE}"), ("POST", f"/api/calls/{ELSEWHERE}/return"), ("POST", "/api/hangup")],
)
def test_nothing_is_passed_on_without_the_token(
    web: AdminClient, fleet: FakePeers, method: str, path: str
) -> None:
    answer = ask(web, method, path, {"call_id": str(ELSEWHERE)}, Authorization="Bearer wrong")
    assert (answer.status, fleet.asked) == (401, [])


def test_a_bot_may_not_use_the_token_of_its_node_at_another(web: AdminClient, fleet: FakePeers) -> None:
    answer = ask(web, "POST", f"/api/calls/{ELSEWHERE}/return", {"number": "101"}, **BOT)
    assert (answer.status, fleet.asked) == (404, [])


@pytest.mark.parametrize(
    ("answers", "status", "word"),
    [
        (None, 404, ""),
        (NodeTimeout("node n2 did not answer in time"), 504, "node n2 did not answer in time"),
        (NodeUnavailable("node n2 cannot be asked: no connection: x"), 502, "node n2 cannot be asked"),
        (SourceUnavailable("not connected yet"), 503, ""),
    ],
)
def test_a_call_that_no_node_has_or_answers_for_is_an_error(
    web: AdminClient, fleet: FakePeers, answers: Exception | None, status: int, word: str
) -> None:
    fleet.answers = answers
    answer = ask(web, "POST", "/api/hangup", {"call_id": str(ELSEWHERE)})
    assert answer.status == status
    assert word in answer.json()["message"]


async def test_a_client_that_disconnects_ends_what_is_asked_of_another_node(
    fleet: FakePeers, logged_failures: LoggedFailures
) -> None:
    control = FakeControl()
    control.fleet = fleet
    given_up: list[None] = []
    fleet.waiting = Deferred(lambda _: given_up.append(None))
    async with listening(control) as port:
        with dial(port) as client:
            client.sendall(request_bytes("GET", f"/api/calls/{ELSEWHERE}"))
            while not fleet.asked:
                await deferLater(reactor, 0.005)
        while not given_up:
            await deferLater(reactor, 0.005)
    assert logged_failures.flush() == []


def test_a_list_of_all_nodes_says_which_did_not_answer(web: AdminClient, fleet: FakePeers) -> None:
    answer = ask(web, "GET", "/api/calls?fleet=true&state=ended&limit=7")
    assert answer.json()["missing_nodes"] == ["n3"]
    assert fleet.pages == [CallSelection("ended", limit=7)]
    assert "missing_nodes" not in ask(web, "GET", "/api/calls?fleet=false").json()


def test_a_list_for_another_node_is_refused(web: AdminClient) -> None:
    assert ask(web, "GET", "/api/calls?state=live", **{HEADER: "n2"}).status == 421
    assert ask(web, "GET", "/api/calls?state=live", **{HEADER: "n1"}).status == 200


def test_a_node_does_not_ask_all_nodes_for_another_one(web: AdminClient, fleet: FakePeers) -> None:
    answer = ask(web, "GET", "/api/calls?fleet=true", **{HEADER: "n1"})
    assert (answer.status, answer.json()["field"], fleet.pages) == (422, "fleet", [])


def test_without_a_fleet_there_is_no_list_of_all_nodes() -> None:
    assert AdminClient().request("GET", "/api/calls?fleet=true").json()["field"] == "fleet"
