"""How many machines so many calls need: arithmetic on measured figures, and a simulation of a node that is lost.

python -m bench.scale_model                                    # 1,000 to 100,000 calls of each kind
python -m bench.scale_model --calls 20000 --kind visit --cores 16
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt


@dataclass(frozen=True)
class Kind:
    """What a call of one kind costs a node: measured on one processor, see docs/scale.md.

    ``processor`` is the share of a processor that one call takes, ``setup`` the seconds of processor time to begin
    or resume it, ``memory`` kB, ``rows`` what it writes to PostgreSQL in its life.
    """

    name: str
    legs: int
    processor: float
    setup: float
    memory: float
    rows: float


#: 800 calls to the app echo, 200 visits to porteiro with both legs, 200 calls to a bot by the app twilio.
KINDS = {
    kind.name: kind
    for kind in (
        Kind("echo", legs=1, processor=50 * 15.8e-6, setup=0.19e-3, memory=3.7, rows=2),
        Kind("visit", legs=2, processor=0.73 / 200, setup=0.6e-3, memory=174, rows=12),
        Kind("bot", legs=1, processor=50 * 108e-6, setup=1.0e-3, memory=90, rows=4),
    )
}

#: Processor time of HAProxy for a leg: a frame there and one back, 50 times a second, at saturation.
HAPROXY_PER_LEG = 50 * 20e-6
#: Bytes of HAProxy's memory for an entry of a stick table with binary keys of 16 bytes and one peer.
ENTRY = 211
#: Rows a second that one PostgreSQL writes from one session in statements of 20 rows, with synchronous commits.
POSTGRES_ROWS = 30_000
#: One statement of a node each 50 ms at most, and its heartbeat each second.
HEARTBEATS = 1.0


@dataclass(frozen=True)
class Fleet:
    """What is asked for: ``calls`` at a time of ``seconds`` each, on machines of ``cores`` used up to ``use``.

    ``expire`` is how long a stick table keeps an unused entry, in seconds.
    """

    kind: Kind
    calls: int
    seconds: float = 90.0
    cores: int = 8
    use: float = 0.6
    expire: float = 3 * 3600.0


@dataclass(frozen=True)
class Plan:
    """What that needs, and how far the parts are from their limits."""

    nodes: int
    calls_per_node: int
    pairs: int
    new_calls: float
    rows: float
    postgres_use: float
    entries: float
    table_mb: float
    node_mb: float


def plan(fleet: Fleet) -> Plan:
    """Return the machines for a fleet: one node more than the calls need, and each HAProxy twice.

    A node is planned for the greatest number of calls it has in practice: calls begin at random, so that their
    number varies by its square root (three times that is allowed for).
    """
    kind = fleet.kind
    room = int(fleet.cores * fleet.use / kind.processor)
    usual = int((sqrt(9 + 4 * room) - 3) ** 2 / 4)  # usual + 3 * sqrt(usual) = room
    if usual < 1:
        raise ValueError(f"a machine with {fleet.cores} cores has no room for a call of the kind {kind.name}")
    nodes = ceil(fleet.calls / usual) + 1
    new_calls = fleet.calls / fleet.seconds
    rows = new_calls * kind.rows + nodes * HEARTBEATS
    entries = new_calls * (fleet.seconds + fleet.expire)
    return Plan(
        nodes=nodes,
        calls_per_node=ceil(fleet.calls / nodes),
        pairs=ceil(fleet.calls * kind.legs * HAPROXY_PER_LEG / (fleet.cores * fleet.use)),
        new_calls=new_calls,
        rows=rows,
        postgres_use=rows / POSTGRES_ROWS,
        entries=entries,
        table_mb=entries * ENTRY / 1e6,
        node_mb=80 * fleet.cores + fleet.calls / nodes * kind.memory / 1e3,
    )


def seconds_until_back(fleet: Fleet, *, seed: int = 1, redial: float = 0.12, turn: float = 0.02) -> list[float]:
    """Simulate the loss of one node; return when each of its callers has its call again, in seconds, sorted.

    Callers dial again within ``redial`` seconds. The others take them in the processor time that their own calls
    and new ones leave, one ``turn`` after the other.
    """
    found = plan(fleet)
    if found.nodes < 2:
        raise ValueError("there is no other node")
    dice = random.Random(seed)
    kind, others = fleet.kind, found.nodes - 1
    arrivals = sorted((dice.uniform(0, redial), dice.randrange(others)) for _ in range(found.calls_per_node))
    # What a node does meanwhile: the frames of its calls, and new calls at the usual rate.
    busy = found.calls_per_node * kind.processor + found.new_calls / others * kind.setup
    queues = [0] * others
    waiting: list[list[float]] = [[] for _ in range(others)]
    back: list[float] = []
    now, place = 0.0, 0
    while len(back) < found.calls_per_node:
        now += turn
        while place < len(arrivals) and arrivals[place][0] <= now:
            waiting[arrivals[place][1]].append(arrivals[place][0])
            place += 1
        for node in range(others):
            spare = max(fleet.cores - busy - queues[node] * kind.processor, 0.02 * fleet.cores) * turn
            taken = min(len(waiting[node]), max(1, int(spare / kind.setup)))
            del waiting[node][:taken]
            queues[node] += taken
            back += [now] * taken
    return back


HEAD = (
    "kind", "calls", "nodes", "calls each", "MB each", "HAProxy pairs", "new calls/s", "rows/s",
    "of PostgreSQL", "table entries", "table MB", "last caller back, s",
)  # fmt: skip


def line(fleet: Fleet) -> tuple[str, ...]:
    """Return a row of the table."""
    found = plan(fleet)
    return (
        fleet.kind.name,
        f"{fleet.calls:,}",
        str(found.nodes),
        f"{found.calls_per_node:,}",
        f"{found.node_mb:,.0f}",
        str(found.pairs),
        f"{found.new_calls:,.0f}",
        f"{found.rows:,.0f}",
        f"{found.postgres_use:.0%}",
        f"{found.entries:,.0f}",
        f"{found.table_mb:,.0f}",
        f"{seconds_until_back(fleet)[-1]:.2f}",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale_model", description=__doc__)
    parser.add_argument("--calls", type=int, nargs="+", default=[1_000, 3_000, 10_000, 30_000, 100_000])
    parser.add_argument("--kind", choices=sorted(KINDS), nargs="+", default=list(KINDS))
    parser.add_argument("--seconds", type=float, default=90.0, help="how long a call lasts (90)")
    parser.add_argument("--cores", type=int, default=8, help="of a machine, WORKERS=N (8)")
    parser.add_argument("--use", type=float, default=0.6, help="of a machine's processors at most (0.6)")
    parser.add_argument(
        "--expire", type=float, default=3 * 3600.0, help="of a stick table's entry, seconds (10800)"
    )
    given = parser.parse_args(arguments)
    rows = [HEAD, ("---",) + ("--:",) * (len(HEAD) - 1)]
    for name in given.kind:
        for calls in given.calls:
            rows.append(line(Fleet(KINDS[name], calls, given.seconds, given.cores, given.use, given.expire)))
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
