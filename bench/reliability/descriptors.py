"""R15: file descriptors that run out while calls are set up, while they last and while they end."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from uuid import UUID

from audiosocket.wire import audio_frame, uuid_frame
from bench.reliability.live_calls import CALLS, api, calls_beside, connect, within
from bench.reliability.promise import Count, Trial
from bench.servers import Server, ours

#: So many descriptors are free, from none on.
MOST_FREE = 12
#: Calls that are set up, that end and that come while descriptors are short, each.
PEERS = 4
SHORT_SECONDS = 0.3
#: New calls are answered so soon after there are descriptors again.
BACK_SECONDS = 1.0
#: Until what is over is gone, on a busy machine.
GONE_SECONDS = 8.0
FRAME = audio_frame(8_000, bytes(320))


def descriptors_run_out(trial: Trial) -> Count:
    """Established calls go on, none is left without an owner, and all is well within a second of relief."""
    count, slowest = Count(), 0.0
    settings = {"VISITOR_APP": "echo+record", "RECORD_DIR": "recordings"}
    with ours(settings, core=None) as server, calls_beside(server, count):
        for free in range(MOST_FREE + 1):
            for _ in range(trial.times(1, 20)):
                took = _shortage(server, trial, free)
                slowest = max(slowest, took)
                count.add(took <= BACK_SECONDS, f"{free} free: a new call was answered after {took:.1f} s")
                count.add(within(GONE_SECONDS, lambda: _live(server) == CALLS), f"{free} free: calls left over")
        count.add(within(GONE_SECONDS, lambda: _records(server)), "nothing is recorded after that")
    count.notes += f"a new call was answered {slowest * 1000:.0f} ms after relief at most"
    return count


def _shortage(server: Server, trial: Trial, free: int) -> float:
    """Leave the server so many descriptors for a while; return how long after it a new call was answered."""
    port = server.ports[0]
    with ExitStack() as held:
        starting = [held.enter_context(connect(port)) for _ in range(PEERS)]
        ending = [_call(port, trial) for _ in range(PEERS)]
        with _free_descriptors(server.pid, free):
            for peer in starting:
                peer.sendall(_identity(trial))
            for peer in ending:
                peer.close()
            for _ in range(PEERS):
                held.enter_context(connect(port)).sendall(_identity(trial))
            time.sleep(SHORT_SECONDS)
        relieved = time.monotonic()
        with suppress(OSError):
            _call(port, trial).close()
        return time.monotonic() - relieved


@contextmanager
def _free_descriptors(pid: int, free: int) -> Iterator[None]:
    """Lower the limit so that so many numbers below it are free."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    number = 0
    while free:
        free -= number not in taken
        number += 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def _identity(trial: Trial) -> bytes:
    return uuid_frame(UUID(int=trial.random.getrandbits(128), version=4)) + FRAME


def _call(port: int, trial: Trial) -> socket.socket:
    """Return a new call that has heard something."""
    peer = connect(port)
    peer.sendall(_identity(trial))
    peer.recv(3)
    return peer


def _live(server: Server) -> int:
    return int(api(server, "/api/status")[1]["live_calls"])


def _records(server: Server) -> bool:
    """Return whether a new call is recorded."""
    call_id = UUID(int=time.monotonic_ns(), version=4)
    with connect(server.ports[0]) as peer:
        peer.sendall(uuid_frame(call_id) + FRAME)
        return within(2.0, (server.directory / "recordings" / f"{call_id}.wav").exists)
