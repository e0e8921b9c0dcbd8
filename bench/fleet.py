"""``python -m bench.fleet [CALLS]``: three nodes with one PostgreSQL behind a HAProxy, for docs/fleet.md.

One node is killed under live calls: when is each caller back, as callers see it? PostgreSQL is frozen: are frames
later than without? Nodes, HAProxy, PostgreSQL and callers share this machine, so all figures are upper bounds.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from audiosocket import schema
from audiosocket.wire import HANGUP_FRAME, audio_frame, uuid_frame
from tests.support.fleet import Fleet, add_row
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer

NODES = 3
FREEZE_SECONDS = 20.0
#: The pause of a caller before it dials again, in seconds.
REDIAL_SECONDS = 0.1
FRAME = audio_frame(8000, bytes(320))
DATABASE = "fleet"


class Caller:
    """A caller who sends a frame every 20 ms, and dials again with the same UUID when it is cut off."""

    def __init__(self, address: tuple[str, int], selector: selectors.BaseSelector) -> None:
        self.call_id = uuid4()
        self._address = address
        self._selector = selector
        self._line: socket.socket | None = None
        self._head = b""
        self._dial_at = 0.0
        #: When the latest audio came, by a steady clock; when the connection was cut off, 0 for never.
        self.heard = self.cut = 0.0
        self.goodbyes = self.dialled = 0

    def turn(self, now: float) -> None:
        """Send a frame, or dial."""
        if self._line is None:
            if now >= self._dial_at:
                self._dial(now)
            return
        try:
            self._line.send(FRAME)
        except BlockingIOError:
            pass
        except OSError:
            self._cut_off(now)

    def receive(self, now: float) -> None:
        """Take what has come."""
        assert self._line is not None
        try:
            data = self._line.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._cut_off(now)
        elif data == HANGUP_FRAME:
            self.goodbyes += 1
        else:
            self.heard = now

    def close(self) -> None:
        """Hang up."""
        if self._line is not None:
            self._selector.unregister(self._line)
            self._line.close()
            self._line = None

    def _dial(self, now: float) -> None:
        line = socket.socket()
        line.setblocking(False)
        line.connect_ex(self._address)  # the balancer is on this machine: connected at once
        self.dialled += 1
        try:
            line.send(uuid_frame(self.call_id))
        except OSError:
            line.close()
            self._dial_at = now + REDIAL_SECONDS
            return
        self._line = line
        self._selector.register(line, selectors.EVENT_READ, self)

    def _cut_off(self, now: float) -> None:
        self.close()
        self.cut = self.cut or now
        self._dial_at = now + REDIAL_SECONDS


class Callers:
    """All callers, in this thread."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self.all = [Caller(address, self._selector) for _ in range(count)]
        self._next = time.monotonic()

    def run(self, seconds: float) -> None:
        """Let them call for so long."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if now >= self._next:
                self._next = max(self._next + 0.02, now)
                for caller in self.all:
                    caller.turn(now)
            for key, _ in self._selector.select(max(0.0, min(self._next, end) - time.monotonic())):
                key.data.receive(time.monotonic())

    def close(self) -> None:
        """Hang up."""
        for caller in self.all:
            caller.close()


@contextmanager
def running(directory: Path, postgres: PostgresServer) -> Iterator[Fleet]:
    """Give a running fleet that serves one row."""
    postgres.execute("postgres", f"create database {DATABASE} owner {ROLE}")
    connection = postgres.connect(DATABASE, ROLE, ROLE_PASSWORD)
    with connection.cursor() as cursor:
        cursor.execute(schema.sql() + schema.sql(fleet=True))
    connection.close()
    settings: Mapping[str, str] = {
        "DB_HOST": postgres.host,
        "DB_PORT": str(postgres.port),
        "DB_NAME": DATABASE,
        "DB_USER": ROLE,
        "DB_PASSWORD": ROLE_PASSWORD,
        "FLEET": "true",
    }
    fleet = Fleet(directory, settings, NODES)
    add_row(postgres, DATABASE, fleet)
    with fleet:
        yield fleet


def frames(fleet: Fleet) -> tuple[int, int]:
    """Return how many frames all nodes have sent, and how many of these were late."""
    traffic = [node.api("/api/status")["traffic"] for node in fleet.nodes.values()]
    return sum(sum(each["frames_out"].values()) for each in traffic), sum(each["frames_late"] for each in traffic)


def late(fleet: Fleet, callers: Callers, seconds: float) -> str:
    """Return what was sent within so long, and how much of it was late."""
    before = frames(fleet)
    callers.run(seconds)
    after = frames(fleet)
    sent, were_late = after[0] - before[0], after[1] - before[1]
    return f"{were_late} of {sent} frames late ({1000 * were_late / max(1, sent):.2f} per 1,000)"


def measure(calls: int) -> None:
    """Run everything and print it."""
    postgres = PostgresServer()
    with tempfile.TemporaryDirectory() as directory, running(Path(directory), postgres) as fleet:
        callers = Callers(("127.0.0.1", fleet.visitor), calls)
        print(f"{calls} calls, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        callers.run(5)
        for label in ("PostgreSQL up", "PostgreSQL frozen", "PostgreSQL up again"):
            if label.endswith("frozen"):
                postgres.freeze()
            print(f"{label}, {FREEZE_SECONDS:g} s: {late(fleet, callers, FREEZE_SECONDS)}")
            if label.endswith("frozen"):
                postgres.thaw()
                callers.run(3)
        kill(fleet, callers)
        callers.close()
    postgres.close()


def kill(fleet: Fleet, callers: Callers) -> None:
    """Kill the node with most calls, and print when its callers are back."""
    shown = {name: fleet.callers(name) for name in fleet.nodes}
    name = max(shown, key=lambda each: len(shown[each]))
    started = {
        one["call_id"]: one["started_at"] for one in fleet.nodes[name].api("/api/calls?limit=1000")["calls"]
    }
    disturbed_before = {caller.call_id: caller.dialled for caller in callers.all}
    fleet.nodes[name].stop(signal.SIGKILL)
    killed = time.monotonic()
    back: dict[str, float] = {}
    while time.monotonic() < killed + 20:
        callers.run(0.02)
        for caller in callers.all:
            key = str(caller.call_id)
            if key in shown[name] and key not in back and caller.cut and caller.heard > caller.cut:
                back[key] = caller.heard - killed
        if len(back) == len(shown[name]):
            break
    others = [one for one in callers.all if str(one.call_id) not in shown[name]]
    disturbed = sum(one.dialled > disturbed_before[one.call_id] or one.goodbyes for one in others)
    now = {
        one["call_id"]: one["started_at"]
        for each in fleet.nodes
        if each != name
        for one in fleet.nodes[each].api("/api/calls?limit=1000")["calls"]
    }
    same = sum(now.get(key) == started[key] for key in shown[name])
    times = sorted(back.values())
    if times:
        print(
            f"killed: {len(times)} of {len(shown[name])} callers back, half after {times[len(times) // 2]:.2f} s, "
            f"all after {times[-1]:.2f} s; {same} the same calls; {disturbed} of {len(others)} others disturbed"
        )


if __name__ == "__main__":
    measure(int(sys.argv[1]) if sys.argv[1:] else 60)
