"""R12 to R14 and R21: peers that send anything, nothing, or connect without end, and clients of the API."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress
from threading import Thread
from uuid import UUID

from audiosocket.wire import audio_frame, uuid_frame
from bench.reliability.live_calls import ECHO, api, calls_beside, connect
from bench.reliability.promise import Count, Trial
from bench.servers import Server, ours

#: The time-out of the UUID and a busy machine, in seconds.
HANDSHAKE_SECONDS = 8.0
#: What a dashboard and its neighbours may ask, in requests a second.
REQUESTS_PER_SECOND = 100


def malformed_input(trial: Trial) -> Count:
    """Random bytes, cut and impossible messages: the server ends or ignores them, and nobody else is hurt."""
    count = Count()
    with ours(ECHO, core=None) as server, calls_beside(server, count):
        for _ in range(trial.times(300, 100_000)):
            with suppress(OSError), connect(server.ports[0]) as peer:
                peer.sendall(_stream(trial))
        count.add("Traceback" not in _log(server), "a traceback in the log")
        count.tried += trial.times(300, 100_000) - 1
    return count


def slow_handshakes(trial: Trial) -> Count:
    """Connections that send no whole UUID are closed in time."""
    count = Count()
    with ours(ECHO, core=None) as server, calls_beside(server, count), ExitStack() as held:
        peers = [held.enter_context(connect(server.ports[0])) for _ in range(trial.times(50, 1_000))]
        for peer in peers:
            peer.sendall(uuid_frame(UUID(int=1))[: trial.random.randint(0, 18)])
        give_up = time.monotonic() + HANDSHAKE_SECONDS
        for peer in peers:
            count.add(_closed(peer, give_up), "a connection without a UUID was left open")
    return count


def connection_flood(trial: Trial) -> Count:
    """After many connections a call still begins at once."""
    count = Count()
    with ours(ECHO, core=None) as server, calls_beside(server, count):
        for _ in range(trial.times(1_000, 10_000)):
            with suppress(OSError):
                connect(server.ports[0]).close()
        count.add(_answered(server), "no audio after the flood")
        count.tried += trial.times(1_000, 10_000) - 1
    return count


def requests_hurt_no_audio(trial: Trial) -> Count:
    """A hundred requests a second are all answered, and cost no frame; how late frames are is not judged."""
    count = Count()
    paths = ("/api/status", "/api/calls", "/api/problems", "/api/extensions", "/healthz", "/readyz", "/metrics")
    with ours(ECHO, extensions=50, core=None) as server, calls_beside(server, count):
        begin = time.monotonic()
        for number in range(REQUESTS_PER_SECOND * trial.times(4, 60)):
            time.sleep(max(0.0, begin + number / REQUESTS_PER_SECOND - time.monotonic()))
            asking = Thread(target=_ask, args=(server, paths[number % len(paths)], count))
            asking.start()
        asking.join()
    return count


def _ask(server: Server, path: str, count: Count) -> None:
    try:
        with socket.create_connection(("127.0.0.1", server.api), timeout=10) as asking:
            asking.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            status = asking.recv(12)[9:12].decode()
            while asking.recv(65_536):
                pass
    except OSError as error:
        status = str(error)
    # 503: without a database its table cannot be listed, and a reactor that was late says so.
    count.add(status in {"200", "503"}, f"{path}: {status}")


def _stream(trial: Trial) -> bytes:
    identity, audio = (
        uuid_frame(UUID(int=trial.random.getrandbits(128), version=4)),
        audio_frame(8_000, bytes(320)),
    )
    whole = trial.random.choice(
        [
            trial.random.randbytes(trial.random.randint(1, 2_000)),
            identity + trial.random.randbytes(trial.random.randint(1, 2_000)),
            identity + identity,
            audio + identity,
            b"\x01\x00\x0f" + bytes(15),
            identity + b"\x10\xff\xff",
            identity + audio * 5 + b"\x77\x00\x00",
        ]
    )
    return whole[: trial.random.randint(1, len(whole))]


def _closed(peer: socket.socket, give_up: float) -> bool:
    peer.settimeout(max(0.01, give_up - time.monotonic()))
    try:
        while peer.recv(4_096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def _answered(server: Server) -> bool:
    """Return whether a new call hears something."""
    with suppress(OSError), connect(server.ports[0]) as peer:
        peer.settimeout(2)
        peer.sendall(uuid_frame(UUID(int=time.monotonic_ns(), version=4)) + audio_frame(8_000, bytes(320)))
        return bool(peer.recv(3)) and api(server, "/healthz")[0] == 200
    return False


def _log(server: Server) -> str:
    return (server.directory / "logs" / "audiosocket.log").read_text(errors="replace")
