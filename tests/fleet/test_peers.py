"""What a node asks of the others, which are web servers in memory; the table of nodes is in a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import psycopg2.extensions
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from audiosocket import schema
from audiosocket.control_interface import NODE_HEADER, CallControl, CallSelection, NodeAnswer, PassedRequest
from audiosocket.errors import InvalidSetting, NodeTimeout, NodeUnavailable, SourceUnavailable
from audiosocket.fleet import node_table
from audiosocket.fleet.page_order import as_page, place_before, place_of
from audiosocket.fleet.peers import PAGE_SECONDS, PASSED_SECONDS, Peers
from audiosocket.json_shapes import CallJSON, CallPageJSON, FleetCallPageJSON
from audiosocket.outbound.http_client import Answer, RequestFailed
from tests.support.fake_web_servers import FakeHTTPClient, SentRequest
from tests.support.fleet_table import TableSession, run
from tests.support.logged_events import LoggedEvents
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer

TOKEN = "a-token-of-the-tests"
CALL = UUID(int=7)
REQUEST = PassedRequest("POST", f"/api/calls/{CALL}/return", b'{"number": "101"}', "pt-BR")
DONE = Answer(202, b'{"status": "success"}\n')
NOT_THERE = Answer(404, b'{"status": "error"}\n')

Reply = Callable[[SentRequest], Answer | Exception | None]


def call(number: int) -> CallJSON:
    place = {
        "state": "live",
        "started_at": f"2026-11-27T10:00:{number:02d}.000Z",
        "call_id": str(UUID(int=number)),
    }
    return cast("CallJSON", place)


def page_of(numbers: range, selection: CallSelection) -> CallPageJSON:
    calls = sorted(map(call, numbers), key=place_of, reverse=True)
    if selection.cursor:
        calls = [each for each in calls if place_of(each) < place_before(selection.cursor)]
    return as_page(len(numbers), calls[: selection.limit + 1], selection.limit)


class OwnCalls:
    """The calls of the node that asks."""

    def __init__(self, numbers: range) -> None:
        self._numbers = numbers

    def page(self, selection: CallSelection) -> CallPageJSON:
        return page_of(self._numbers, selection)


class World:
    """The node n1 with the calls 0, 3, …, 57; n2 and n3 answer as ``replies`` says, by default with the others."""

    def __init__(self, connection: psycopg2.extensions.connection) -> None:
        self.connection = connection
        self.clock = Clock()
        self.database = TableSession(connection, self.clock)
        self.client = FakeHTTPClient(self.clock, self._answer)
        self.replies: dict[str, Reply] = {
            "n2": self.page_with(range(1, 60, 3)),
            "n3": self.page_with(range(2, 60, 3)),
        }
        for name, state in (("n1", "ready"), ("n2", "ready"), ("n3", "draining"), ("n4", "gone")):
            run(
                connection,
                "insert into audiosocket_nodes "
                "(name, life, place, url, version, generation, calls, state, seen_at) "
                # of the future: it is not gone however long the test takes
                "values (%s, '', '', %s, '', '', 0, %s, now() + interval '1 hour')",
                (name, f"http://{name}:8082", state),
            )
        self.peers = self.made(TOKEN)

    def made(self, token: Any) -> Peers:
        own = cast("CallControl", OwnCalls(range(0, 60, 3)))
        return Peers("n1", self.client, token, self.database, own, self.clock)

    def owned_by(self, node: str) -> None:
        run(
            self.connection,
            "insert into audiosocket_calls (call_id, owner, epoch, extension_id, port, record) "
            "values (%s, %s, 1, 1, 1, '')",
            (str(CALL), node),
        )

    def asked(self) -> list[str]:
        return [urlsplit(request.url).hostname or "" for request in self.client.requests]

    def page(self, limit: int = 100) -> FleetCallPageJSON:
        return cast("FleetCallPageJSON", self.result(self.peers.page(CallSelection(limit=limit))))

    def pass_on(self) -> NodeAnswer | None:
        return cast("NodeAnswer | None", self.result(self.peers.pass_on(REQUEST, CALL)))

    def result(self, asking: Any) -> Any:
        """Return the result, with as much time passing as it needs."""
        results: list[Any] = []
        waiting: Deferred[Any] = Deferred.fromCoroutine(asking)
        waiting.addBoth(results.append)
        while not results:
            assert self.clock.seconds() < 60, "it waits for ever"
            self.client.pass_time(1 / 32)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def page_with(self, numbers: range, seconds: float = 0.0) -> Reply:
        def reply(request: SentRequest) -> Answer | None:
            if request.seconds < seconds:
                return None
            query = parse_qs(urlsplit(request.url).query)
            selection = CallSelection(limit=int(query["limit"][0]), cursor=query.get("cursor", [""])[0])
            self.clock.advance(seconds)
            return Answer(200, json.dumps(page_of(numbers, selection)).encode())

        return reply

    def _answer(self, request: SentRequest) -> Answer | Exception | None:
        return self.replies[urlsplit(request.url).hostname or ""](request)


@pytest.fixture
def world(postgres: PostgresServer, database_name: str) -> Iterator[World]:
    connection = postgres.connect(database_name, ROLE, ROLE_PASSWORD)
    run(connection, schema.sql(fleet=True))
    yield World(connection)
    connection.close()


async def ensured(waiting: Awaitable[Any]) -> Any:
    return await waiting


def numbers(page: FleetCallPageJSON) -> list[int]:
    return [UUID(each["call_id"]).int for each in page["calls"]]


def test_a_page_has_the_calls_of_all_nodes_that_are_not_gone_in_order(world: World) -> None:
    page = world.page(limit=50)
    assert (numbers(page), page["total"], page["missing_nodes"]) == (list(range(59, 9, -1)), 60, [])
    assert [each["node"] for each in page["calls"][:3]] == ["n3", "n2", "n1"]
    rest = world.result(world.peers.page(CallSelection(limit=50, cursor=page["next_cursor"] or "")))
    assert (numbers(rest), rest["next_cursor"]) == (list(range(9, -1, -1)), None)
    assert set(world.asked()) == {"n2", "n3"}


def test_each_node_is_asked_by_name_with_the_token_as_it_is_now(world: World) -> None:
    tokens = iter(("first", "second"))

    async def token() -> str:
        return next(tokens)

    world.peers = world.made(token)
    world.replies = {"n2": lambda _: DONE, "n3": lambda _: DONE}
    world.owned_by("n3")
    for expected in ("first", "second"):
        assert world.pass_on() == NodeAnswer("n3", 202, DONE.body)
        sent = world.client.requests.pop()
        assert (sent.method, sent.url, sent.body) == ("POST", f"http://n3:8082{REQUEST.path}", REQUEST.body)
        assert sent.headers == {
            "Accept-Language": "pt-BR",
            "Content-Type": "application/json",
            NODE_HEADER: "n3",
            "Authorization": f"Bearer {expected}",
        }
        assert world.client.requests == []


@pytest.mark.parametrize(
    "reply",
    [
        None,
        RequestFailed("no connection: refused"),
        Answer(401, b'{"message": "token"}'),
        Answer(421, b'{"message": "node"}'),
        Answer(503, b'{"message": "busy"}'),
        Answer(200, b"<html>"),
        Answer(200, b'{"total": 1, "calls": [{"state": 1}], "next_cursor": null}'),
        Answer(200, b'{"total": "1", "calls": [], "next_cursor": null}'),
        Answer(200, b'{"total": 1, "calls": [], "next_cursor": 5}'),
        Answer(200, b"[" * 100_000),
    ],
    ids=["frozen", "refused", "token", "another node", "busy", "web page", "calls", "total", "cursor", "nested"],
)
def test_a_node_that_gives_no_page_costs_only_its_part_and_is_named_without_the_token(
    world: World, reply: Answer | Exception | None
) -> None:
    world.replies["n2"] = lambda _: reply
    with LoggedEvents() as log:
        for _ in range(2):
            page = world.page()
            assert (len(page["calls"]), page["total"], page["missing_nodes"]) == (40, 40, ["n2"])
    said = [str(event) for event in log if "n2" in str(event.get("trouble"))]
    assert len(said) == 1
    assert TOKEN not in str(log)


def test_a_node_that_is_slow_at_each_of_many_requests_is_left_out_after_the_time_of_one_page(world: World) -> None:
    world.replies["n2"] = world.page_with(range(1_000, 5_000), seconds=PAGE_SECONDS * 0.4)
    page = world.page(limit=1_000)
    assert page["missing_nodes"] == ["n2"]
    assert world.asked().count("n2") == 3
    assert world.clock.seconds() < PAGE_SECONDS + 0.1


def test_a_call_whose_owner_is_known_is_asked_for_there_alone(world: World) -> None:
    world.replies = {"n2": lambda _: DONE}
    world.owned_by("n2")
    assert world.pass_on() == NodeAnswer("n2", 202, DONE.body)
    assert world.asked() == ["n2"]


def test_a_call_that_the_table_says_is_here_is_asked_of_nobody(world: World) -> None:
    world.owned_by("n1")
    assert world.pass_on() is None
    assert world.asked() == []


def test_what_has_no_known_owner_is_asked_of_all_and_the_first_that_has_it_answers(world: World) -> None:
    world.replies = {"n2": lambda _: NOT_THERE, "n3": lambda _: DONE}
    assert world.pass_on() == NodeAnswer("n3", 202, DONE.body)
    world.replies["n3"] = lambda _: NOT_THERE
    assert world.pass_on() is None


def test_a_node_that_does_not_answer_delays_nothing_that_another_one_has(world: World) -> None:
    world.replies = {"n2": lambda _: None, "n3": lambda _: DONE}
    assert world.pass_on() == NodeAnswer("n3", 202, DONE.body)
    assert world.clock.seconds() == 0


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (None, NodeTimeout),
        (RequestFailed("no connection: refused"), NodeUnavailable),
        (Answer(403, b'{"message": "scope"}'), NodeUnavailable),
        (Answer(200, b"<html>"), NodeUnavailable),
    ],
    ids=["frozen", "refused", "scope", "web page"],
)
def test_a_call_may_be_on_a_node_that_does_not_answer(
    world: World, reply: Answer | Exception | None, error: type[Exception]
) -> None:
    world.replies = {"n2": lambda _: reply, "n3": lambda _: NOT_THERE}
    with pytest.raises(error, match="node n2") as raised:
        world.pass_on()
    assert TOKEN not in str(raised.value)
    assert world.clock.seconds() <= PASSED_SECONDS


def test_while_postgresql_is_frozen_the_nodes_that_it_named_last_are_asked(world: World) -> None:
    world.database.is_up = False
    with pytest.raises(SourceUnavailable):
        world.page()
    world.database.is_up = True
    world.page()
    world.client.requests.clear()
    world.database.freeze()
    assert len(world.page()["calls"]) == 60
    world.replies = {"n2": lambda _: NOT_THERE, "n3": lambda _: DONE}
    assert world.pass_on() == NodeAnswer("n3", 202, DONE.body)
    assert world.clock.seconds() <= 3.1


def test_the_nodes_that_a_heartbeat_has_found_can_be_asked_while_postgresql_is_away(world: World) -> None:
    world.peers.learn(node_table.nodes_json(world.result(ensured(world.database.ask(node_table.NODES)))))
    world.database.is_up = False
    assert len(world.page()["calls"]) == 60


def test_a_token_that_cannot_be_read_is_said_by_the_name_of_its_setting(world: World) -> None:
    async def token() -> str:
        raise InvalidSetting("API_TOKEN_FILE was not read")

    world.peers = world.made(token)
    world.owned_by("n2")
    with pytest.raises(NodeUnavailable, match="node n2 cannot be asked: API_TOKEN_FILE"):
        world.pass_on()
    assert world.asked() == []
