"""One peer that sends a pattern as fast as the server takes it.

Arguments: a port, the name of a pattern, the number of connections, and for how many seconds. A connection that
the server ends is opened again with a new UUID.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
import sys
import time
import uuid

from audiosocket.wire import audio_frame, digit_frame, uuid_frame

#: Sent again and again: whole messages, about 64 kB.
PATTERNS = {
    "changing rates": b"".join(
        audio_frame(rate, b"\x11\x22") for rate in itertools.islice(itertools.cycle((8_000, 16_000)), 13_104)
    ),
    "one sample": audio_frame(8_000, b"\x11\x22") * 13_104,
    "digits": digit_frame("5") * 16_384,
    "large frames": audio_frame(8_000, b"\x11\x22" * 32_000),
    "ordinary frames": audio_frame(8_000, b"\x11\x22" * 160) * 202,
}


def flood(port: int, kind: str, connections: int, seconds: float) -> int:
    """Flood until ``seconds`` have passed; return how many connections the server has ended."""
    pattern, ends, ended = memoryview(PATTERNS[kind]), time.monotonic() + seconds, 0
    unsent = dict.fromkeys((_connect(port) for _ in range(connections)), pattern)
    while time.monotonic() < ends:
        writable = select.select([], list(unsent), [], 0.1)[1]
        for peer in writable:
            try:
                peer.recv(1 << 20)
            except BlockingIOError:
                pass
            except OSError:
                ended += 1
                unsent.pop(peer)
                peer.close()
                unsent[_connect(port)] = pattern
                continue
            try:
                rest = unsent[peer][peer.send(unsent[peer]) :]
                unsent[peer] = rest or pattern
            except OSError:
                continue
    for peer in unsent:
        peer.close()
    return ended


def _stand_back() -> None:
    """Be no real-time process, when those that are measured are: it would take their turns.

    Linux stops all real-time processes of a processor for 50 ms a second while they need all of it (sched(7)).
    """
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _connect(port: int) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port))
    peer.sendall(uuid_frame(uuid.uuid4()))
    peer.setblocking(False)
    return peer


if __name__ == "__main__":
    _stand_back()
    print(flood(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
