"""Two servers of one fleet: each shows the calls of both, and passes on what is wanted of a call of the other."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import UUID, uuid4

import pytest

from audiosocket.control_interface import NODE_HEADER
from audiosocket.wire import uuid_frame
from tests.support.fleet import ADDRESSES, Nodes, create_tables, is_accepted, is_up, two_nodes
from tests.support.ports import free_ports
from tests.support.postgres import PostgresServer
from tests.support.server_process import ServerProcess, wait_until

pytestmark = [pytest.mark.fleet, pytest.mark.slow]

SECONDS = 30
TOKEN = "a-token-of-the-tests"
ROW = "insert into extension_ia values (default, '1000', '1001', '0.0.0.0', %s, 7, %s)"


@pytest.fixture
def ports() -> list[int]:
    return free_ports(3)


@pytest.fixture
def nodes(
    tmp_path: Path,
    postgres: PostgresServer,
    database_name: str,
    database_settings: Mapping[str, str],
    ports: list[int],
) -> Iterator[Nodes]:
    create_tables(postgres, database_name)
    postgres.execute(database_name, ROW, (str(ports[0]), str(ports[1])))
    shared = {**database_settings, "API_PORT": str(ports[2]), "API_TOKEN": TOKEN}
    with two_nodes(tmp_path, lambda address: {**shared, "API_HOST": address}) as servers:
        for server in servers.values():
            assert wait_until(lambda server=server: len(others(server)) == 2, SECONDS)  # type: ignore[misc]
        yield servers


def others(server: ServerProcess) -> list[Any]:
    status, answer = server.request("/api/fleet")
    return [each for each in answer["nodes"] if each["state"] == "ready"] if status == 200 else []


def dialled(stack: ExitStack, node: str, port: int) -> tuple[str, socket.socket]:
    """Return the UUID of a new call on a node, and its connection."""
    call_id = str(uuid4())
    line = stack.enter_context(socket.create_connection((ADDRESSES[node], port), SECONDS))
    line.sendall(uuid_frame(UUID(call_id)))
    assert is_accepted(line)
    return call_id, line


def places(answer: dict[str, Any]) -> dict[str, str]:
    return {call["call_id"]: call["node"] for call in answer["calls"]}


def asked_alone(server: ServerProcess, node: str, path: str) -> int:
    """Return the status of a request that comes from another node and is for ``node``."""
    address = f"http://{server.settings['API_HOST']}:{server.api_port}{path}"
    try:
        with urlopen(Request(address, headers={"Authorization": f"Bearer {TOKEN}", NODE_HEADER: node})) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            json.load(error)
            return error.code


def test_any_node_shows_the_calls_of_all_and_passes_on_what_is_wanted_of_them(
    nodes: Nodes, ports: list[int]
) -> None:
    first, second = nodes.values()
    with ExitStack() as stack:
        here, near = dialled(stack, "n1", ports[0])
        there, far = dialled(stack, "n2", ports[0])
        for server in nodes.values():
            answer = server.api("/api/calls?fleet=true&state=live")
            assert places(answer) == {here: "n1", there: "n2"}
            assert answer["missing_nodes"] == []
            assert answer["total"] == 2
        page = first.api("/api/calls?fleet=true&limit=1")
        rest = first.api(f"/api/calls?fleet=true&limit=1&cursor={page['next_cursor']}")
        assert {**places(page), **places(rest)} == {here: "n1", there: "n2"}
        assert rest["next_cursor"] is None
        assert [call["call_id"] for call in first.api("/api/calls")["calls"]] == [here]

        assert first.api(f"/api/calls/{there}")["call"]["timeline"]
        passed_on = first.request(f"/api/calls/{there}/return", {"number": "101"})
        assert passed_on == second.request(f"/api/calls/{there}/return", {"number": "101"})
        assert passed_on[0] == 503  # no backend is configured
        assert first.request(f"/api/calls/{uuid4()}")[0] == 404
        assert first.request("/api/attempts/none", {"end": "busy"})[0] == 404
        # What another node passes on is not passed on again, nor answered for a third one.
        assert asked_alone(first, "n1", f"/api/calls/{there}") == 404
        assert asked_alone(first, "n2", "/api/calls?state=live") == 421
        assert "nodeUrlLocal" in {problem["key"] for problem in first.api("/api/problems")["problems"]}

        assert first.request("/api/hangup", {"call_id": there})[0] == 200
        assert wait_until(lambda: not is_up(far), SECONDS)
        assert is_up(near)
        assert first.api(f"/api/calls/{there}")["call"]["state"] == "ended"
        assert wait_until(lambda: f"call {there} visitor on node n2" in first.log(), SECONDS)


def test_a_node_that_does_not_answer_is_named(nodes: Nodes, ports: list[int]) -> None:
    first, second = nodes.values()
    assert second.process is not None
    with ExitStack() as stack:
        here, _ = dialled(stack, "n1", ports[0])
        there, _ = dialled(stack, "n2", ports[0])
        assert wait_until(lambda: first.request(f"/api/calls/{there}")[0] == 200, SECONDS)
        second.process.send_signal(signal.SIGSTOP)
        try:
            answer = first.api("/api/calls?fleet=true")
            assert places(answer) == {here: "n1"}
            # On a machine so busy that its heartbeat is too old by now it is not asked any more.
            assert answer["missing_nodes"] == ["n2"] or len(others(first)) == 1
        finally:
            second.process.send_signal(signal.SIGCONT)
        assert wait_until(lambda: not first.api("/api/calls?fleet=true")["missing_nodes"], SECONDS)
