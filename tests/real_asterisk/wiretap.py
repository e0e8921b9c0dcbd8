"""The times of the server's frames: every segment on loopback, with the kernel's time stamp.

Nothing stands between the server and Asterisk, and a reader that is slow measures no less exactly. Root only.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

_ETH_P_IP = 0x0800
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 263, 6, 23
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 26, 33, 35
_SNAP = 128  # bytes of a packet that are looked at: IP and TCP headers
_AT_ONCE = 1000

FRAME_MS = 20.0
LATE_MS = 40.0
#: A server that is further behind than this need not send what is missing: its schedule begins anew (ms).
_FORGIVEN_MS = 100.0


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]


def _only_from(port: int) -> bytes:
    """A BPF program for TCP from one port; offsets are those of an IPv4 packet."""
    steps = [
        (0x30, 0, 0, 9),  # protocol
        (0x15, 0, 4, socket.IPPROTO_TCP),
        (0xB1, 0, 0, 0),  # length of the IP header
        (0x48, 0, 0, 0),  # source port
        (0x15, 0, 1, port),
        (0x06, 0, 0, _SNAP),
        (0x06, 0, 0, 0),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


class Wiretap:
    """Records frames of ``frame_bytes`` (header included) from a local TCP port, by the port they go to.

    ``times`` are milliseconds of the kernel's clock; ``lost`` are packets that the kernel could not keep for us.
    """

    def __init__(self, reactor: Any, port: int, frame_bytes: int) -> None:
        self.times: dict[int, list[float]] = {}
        self.lost = 0
        self._reactor = reactor
        self._frame_bytes = frame_bytes
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        program = ctypes.create_string_buffer(_only_from(port))
        given = _Filter(7, ctypes.cast(program, ctypes.c_void_p))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(given))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._socket.setblocking(False)
        self._socket.bind(("lo", _ETH_P_IP))
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "wiretap"

    def connectionLost(self, reason: object) -> None:
        self.stop()

    def doRead(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                packet, ancillary, _, _ = self._socket.recvmsg(_SNAP, 64)
            except BlockingIOError:
                return
            self._note(packet, ancillary)

    def _note(self, packet: bytes, ancillary: Sequence[tuple[int, int, bytes]]) -> None:
        head = (packet[0] & 0x0F) * 4
        to = struct.unpack_from(">H", packet, head + 2)[0]
        payload = struct.unpack_from(">H", packet, 2)[0] - head - (packet[head + 12] >> 4) * 4
        seconds, nanoseconds = next(
            struct.unpack("@ll", data) for _, kind, data in ancillary if kind == _SO_TIMESTAMPNS
        )
        frames = payload // self._frame_bytes  # a hangup frame is shorter
        self.times.setdefault(to, []).extend([seconds * 1e3 + nanoseconds / 1e6] * frames)

    def stop(self) -> None:
        """Stop recording."""
        if self._socket.fileno() < 0:
            return
        self._reactor.removeReader(self)
        self.doRead()
        _, self.lost = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self._socket.close()


@dataclass
class Lateness:
    """Statistics of recorded frames: gaps within a call, and the lateness of each by its own call's schedule.

    In milliseconds.
    """

    gaps: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    #: When each of them came.
    when: list[float] = field(default_factory=list)

    def add(self, times: Sequence[float]) -> None:
        """Add the times of one call's frames, in ms."""
        due = times[0]
        for before, now in pairwise(times):
            due = max(due + FRAME_MS, now - _FORGIVEN_MS)
            self.gaps.append(now - before)
            self.late.append(now - due)
            self.when.append(now)

    def slices(self, ms: float) -> list[list[float]]:
        """Return ``late`` in slices of ``ms``: a disturbance from outside is in some of them only."""
        began = min(self.when)
        found: list[list[float]] = [[] for _ in range(int((max(self.when) - began) / ms) + 1)]
        for when, late in zip(self.when, self.late, strict=True):
            found[int((when - began) / ms)].append(late)
        return found


def share(values: Sequence[float], limit: float) -> float:
    """Return the percentage of the values above the limit."""
    return 100 * sum(value > limit for value in values) / max(1, len(values))


def at(values: Sequence[float], per_cent: float) -> float:
    """Return the percentile of the values."""
    return sorted(values)[min(len(values) - 1, int(len(values) * per_cent / 100))]
