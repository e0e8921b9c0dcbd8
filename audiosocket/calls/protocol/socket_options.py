"""The options of a connection's socket: how much the kernel holds for a peer, and for how long."""

from __future__ import annotations

import socket
import sys

#: Audio that the kernel may hold for a peer that does not read, in bytes.
SEND_BUFFER_BYTES = 65_536
#: Age of unacknowledged data at which the kernel gives the connection up, in milliseconds.
USER_TIMEOUT_MS = 30_000


def prepare(listening: socket.socket) -> bool:
    """Set the options of all connections on the socket that will accept them, which Linux copies to each.

    Returns false elsewhere: each connection has to be given its own.
    """
    if sys.platform != "linux":
        return False
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    set_limits(listening)
    return True


def set_limits(handle: socket.socket) -> None:
    """Limit what the kernel holds, and for how long."""
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
