"""Ports for tests, reserved on this machine, so that test processes side by side never choose the same one."""

from __future__ import annotations

import random
import socket
from collections import deque

#: Below the range from which the kernel takes the ports of outgoing connections: a caller that dials a dead server
#: again and again would sooner or later get the server's own port and be connected to itself.
_PORTS = range(12_000, 32_000)
#: RTP ports come in blocks, away from the single datagram ports.
_RTP_PORTS = range(4_000, 12_000)
_dice = random.SystemRandom()  # not the seeded generator that pytest plugins and Hypothesis reset
#: Reservations: names of Unix sockets that the kernel frees with the process. The oldest are given up, as their
#: ports are open or no longer needed, and descriptors are few.
_reserved: deque[socket.socket] = deque()
_KEPT = 300


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """Return a port that is free on every address."""
    return _block(_PORTS, 1, kind)


def free_ports(count: int) -> list[int]:
    """Return ``count`` TCP ports that are free on every address; up to ten are consecutive."""
    found: list[int] = []
    while len(found) < count:
        block = min(count - len(found), 10)
        first = _block(_PORTS, block, socket.SOCK_STREAM)
        found += range(first, first + block)
    return found


def free_rtp_ports(count: int) -> int:
    """Return the first, even one, of ``count`` consecutive free UDP ports."""
    return _block(_RTP_PORTS, count, socket.SOCK_DGRAM)


def _block(among: range, count: int, kind: int) -> int:
    for _ in range(1_000):
        first = _dice.randrange(among.start, among.stop - count) & ~1
        ports = range(first, first + count)
        if all(_can_bind(port, kind) for port in ports) and _reserve(ports, kind):
            return first
    raise RuntimeError(f"no {count} free ports from {among.start} to {among.stop}")


def _can_bind(port: int, kind: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def _reserve(ports: range, kind: int) -> bool:
    """Reserve ports in tens, which keeps the descriptors of a large block few."""
    taken: list[socket.socket] = []
    try:
        for tens in range(ports.start // 10, (ports.stop - 1) // 10 + 1):
            taken.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            taken[-1].bind(f"\0audiosocket-tests-{int(kind)}-{tens}")
    except OSError:
        for each in taken:
            each.close()
        return False
    _reserved.extend(taken)
    while len(_reserved) > _KEPT:
        _reserved.popleft().close()
    return True
