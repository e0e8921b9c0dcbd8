"""The nodes of a fleet as JSON."""

from __future__ import annotations

from typing import TypedDict

from audiosocket.json_shapes.connections import FleetDatabaseJSON


class NodeJSON(TypedDict):
    """A node: "starting", "ready", "draining", "stopping" or "gone"; the heartbeat's age by PostgreSQL's clock."""

    name: str
    url: str
    version: str
    generation: str
    calls: int
    state: str
    seen_seconds_ago: float


class CommandResultJSON(TypedDict):
    """What became of a command on one node."""

    node: str
    done: bool
    message: str


class CommandJSON(TypedDict):
    """A command, what the nodes answered within 2 s, and which did not."""

    id: int
    results: list[CommandResultJSON]
    missing: list[str]


class FleetStatusJSON(TypedDict):
    """The part of the status that is about the fleet; ``database`` is None and ``node`` empty without FLEET.

    ``url`` is where the other nodes ask this one; ``url_is_local``: no other machine reaches it. ``nodes`` has the
    number of nodes by state, at most some 5 s old; it is empty while PostgreSQL is away.
    """

    node: str
    url: str
    url_is_local: bool
    name_shared: bool
    nodes: dict[str, int]
    database: FleetDatabaseJSON | None
