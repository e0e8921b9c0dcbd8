"""Two servers of one fleet and a real PostgreSQL: nodes, commands, changes of the table, a frozen database."""

from __future__ import annotations

import io
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from audiosocket.cli.__main__ import run
from audiosocket.wire import uuid_frame
from tests.support.fleet import ADDRESSES, Nodes, create_tables, is_accepted, is_up, two_nodes
from tests.support.ports import free_ports
from tests.support.postgres import PostgresServer
from tests.support.server_process import ServerProcess, wait_until

pytestmark = [pytest.mark.fleet, pytest.mark.slow]

SECONDS = 30
ADD_ROW = "insert into extension_ia values (default, %s, '9', '0.0.0.0', %s, 7, null) returning 1"


@pytest.fixture
def ports() -> list[int]:
    return free_ports(2)


@pytest.fixture
def nodes(
    tmp_path: Path,
    postgres: PostgresServer,
    database_name: str,
    database_settings: Mapping[str, str],
    ports: list[int],
) -> Iterator[Nodes]:
    create_tables(postgres, database_name)
    postgres.execute(database_name, ADD_ROW, ("1000", str(ports[0])))
    with two_nodes(tmp_path, lambda address: database_settings) as servers:
        yield servers


def states(server: ServerProcess) -> dict[str, str]:
    """Return the state of each node, as one of them says; none while it does not answer."""
    status, answer = server.request("/api/fleet")
    return {each["name"]: each["state"] for each in answer["nodes"]} if status == 200 else {}


def until_ready(nodes: Nodes) -> None:
    ready = dict.fromkeys(nodes, "ready")
    for server in nodes.values():
        assert wait_until(lambda server=server: states(server) == ready, SECONDS), states(server)  # type: ignore[misc]


def command(server: ServerProcess, **body: Any) -> dict[str, tuple[bool, str]]:
    """Give a command and return what each node answered."""
    answer = server.api("/api/fleet/commands", body)["command"]
    return {each["node"]: (each["done"], each["message"]) for each in answer["results"]}


def typed(server: ServerProcess, *arguments: str) -> tuple[int, list[str]]:
    """Run ``audiosocket fleet`` for a node; return exit status and lines."""
    out = io.StringIO()
    token = server.settings.get("API_TOKEN", "")
    status = run(["fleet", *arguments], {"API_PORT": str(server.api_port), "API_TOKEN": token}, out)
    return status, out.getvalue().splitlines()


def test_any_node_shows_and_commands_all(
    nodes: Nodes, ports: list[int], postgres: PostgresServer, database_name: str
) -> None:
    until_ready(nodes)
    first, second = nodes.values()
    shown = first.api("/api/fleet")["nodes"]
    assert len({each["generation"] for each in shown}) == 1
    # Without a word of the fleet: what PostgreSQL notifies is applied by every node.
    postgres.execute(database_name, ADD_ROW, ("1002", str(ports[1])))
    for server in nodes.values():
        assert wait_until(lambda server=server: len(server.api("/api/extensions")["extensions"]) == 2, SECONDS)  # type: ignore[misc]
    assert command(first, action="drain").keys() == nodes.keys()
    assert wait_until(lambda: set(states(second).values()) == {"draining"}, SECONDS)
    assert command(second, action="undrain", node="n1") == {"n1": (True, "takes new calls")}
    assert wait_until(lambda: states(second) == {"n1": "ready", "n2": "draining"}, SECONDS)
    assert command(second, action="undrain")["n2"] == (True, "takes new calls")
    assert command(second, action="refresh", node="n1") == {"n1": (True, "refreshed")}
    status, lines = typed(first, "nodes")
    assert (status, lines[0].split()) == (0, ["NODE", "STATE", "VERSION", "CALLS", "SEEN", "EXTENSIONS"])
    assert [line.split()[0] for line in lines[1:3]] == ["n1", "n2"]
    assert lines[-1] == "2 nodes, 2 of them alive; * answered."
    assert typed(first, "drain", "--node", "n2") == (0, ["done    n2: drains"])
    assert typed(first, "undrain", "--node", "n2") == (0, ["done    n2: takes new calls"])
    call_id = uuid4()
    assert typed(first, "hang-up", str(call_id))[0] == 1
    with socket.create_connection((ADDRESSES["n2"], ports[0]), SECONDS) as line:
        line.sendall(uuid_frame(call_id))
        assert is_accepted(line)
        hung_up = command(first, action="hang_up", call_id=str(call_id))
        assert hung_up["n2"] == (True, "hung up")
        assert hung_up["n1"][0] is False
        assert wait_until(lambda: not is_up(line), SECONDS)
    assert first.request("/api/fleet/commands", {"action": "drain", "node": "n3"})[0] == 422


def test_a_node_that_is_killed_is_gone_and_one_that_stops_says_so(nodes: Nodes) -> None:
    until_ready(nodes)
    first, second = nodes.values()
    second.stop(signal.SIGKILL)
    assert wait_until(lambda: states(first) == {"n1": "ready", "n2": "gone"}, SECONDS)
    second.start()
    assert wait_until(lambda: states(first) == {"n1": "ready", "n2": "ready"}, SECONDS)
    second.stop()
    assert wait_until(lambda: states(first) == {"n1": "ready", "n2": "gone"}, SECONDS)


def test_with_the_database_frozen_every_node_goes_on_alone(
    nodes: Nodes, ports: list[int], postgres: PostgresServer
) -> None:
    until_ready(nodes)
    first = nodes["n1"]
    with socket.create_connection((ADDRESSES["n1"], ports[0]), SECONDS) as line:
        line.sendall(uuid_frame(uuid4()))
        assert is_accepted(line)
        postgres.freeze()
        assert first.request("/api/fleet")[0] == 503
        with socket.create_connection((ADDRESSES["n2"], ports[0]), SECONDS) as other:
            other.sendall(uuid_frame(uuid4()))
            assert is_accepted(other)
            assert wait_until(lambda: first.api("/api/status")["fleet"]["database"]["state"] == "down", SECONDS), (
                first.api("/api/status")["fleet"]
            )
            assert is_up(line)
            assert is_up(other)
        postgres.thaw()
        until_ready(nodes)
        assert is_up(line)
    assert first.api("/api/status")["fleet"]["database"]["dropped_total"] == 0
