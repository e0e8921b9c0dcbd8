"""R8, R16 and R17: a process that is killed, stands still, or is asked to stop."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack, suppress
from functools import partial
from uuid import UUID

from audiosocket.wire import HANGUP_FRAME, audio_frame, uuid_frame
from bench.reliability.live_calls import CALLS, ECHO, api, calls_beside, closed_port, connect, within
from bench.reliability.promise import Count, Trial
from bench.servers import Server, ours, started

STOP_SECONDS = 10.0
STILL_SECONDS = 1.0


def killed_and_started_again(trial: Trial) -> Count:
    """After ``kill -9`` every call whose UUID comes again goes on, and is no new one."""
    count = Count()
    for _ in range(trial.times(2, 50)):
        ids = [UUID(int=trial.random.getrandbits(128), version=4) for _ in range(CALLS)]
        with ours(ECHO, core=None) as server:
            with ExitStack() as held:
                peers = [held.enter_context(_call(server, call_id)) for call_id in ids]
                for peer in peers:
                    count.add(_heard(peer), "no audio before the kill")
                os.kill(server.pid, signal.SIGKILL)
                within(STOP_SECONDS, partial(closed_port, server.ports[0]))
            with started(server, ECHO) as again, ExitStack() as held:
                peers = [held.enter_context(_call(again, call_id)) for call_id in ids]
                for peer, call_id in zip(peers, ids, strict=True):
                    count.add(_heard(peer) and _resumed(again, call_id), f"{call_id} did not resume")
    return count


def stands_still(trial: Trial) -> Count:
    """A process that stood still says so, and drops no call."""
    count = Count()
    with ours(ECHO, core=None) as server, calls_beside(server, count):
        for _ in range(trial.times(2, 20)):
            os.kill(server.pid, signal.SIGSTOP)
            within(STILL_SECONDS, lambda: False)
            os.kill(server.pid, signal.SIGCONT)
            reactor = api(server, "/api/status")[1]["reactor"]
            seen = reactor["lag_ms_worst_10s"] >= 900 or reactor["stood_still_times"] > 0
            count.add(seen, f"lag_ms_worst_10s is {reactor['lag_ms_worst_10s']}")
    return count


def stops_gracefully(trial: Trial) -> Count:
    """At SIGTERM every leg gets a hangup frame before its connection is closed."""
    count = Count()
    for _ in range(trial.times(1, 20)):
        ids = [UUID(int=trial.random.getrandbits(128), version=4) for _ in range(CALLS)]
        with ours({**ECHO, "DRAIN_SECONDS": "0"}, core=None) as server, ExitStack() as held:
            peers = [held.enter_context(_call(server, call_id)) for call_id in ids]
            for peer in peers:
                count.add(_heard(peer), "no audio before the stop")
            os.kill(server.pid, signal.SIGTERM)
            for peer in peers:
                count.add(_rest(peer).endswith(HANGUP_FRAME), "no hangup frame before the end")
    return count


def _call(server: Server, call_id: UUID) -> socket.socket:
    peer = connect(server.ports[0])
    peer.sendall(uuid_frame(call_id) + audio_frame(8_000, bytes(320)))
    return peer


def _heard(peer: socket.socket) -> bool:
    with suppress(OSError):
        return bool(peer.recv(323))
    return False


def _rest(peer: socket.socket) -> bytes:
    """Return all that comes until the server has closed its side, then close ours."""
    data = b""
    with suppress(OSError):
        while more := peer.recv(65_536):
            data += more
    peer.close()
    return data


def _resumed(server: Server, call_id: UUID) -> bool:
    status, answer = api(server, f"/api/calls/{call_id}")
    return status == 200 and any(leg["resumes"] for leg in answer["call"]["legs"])
