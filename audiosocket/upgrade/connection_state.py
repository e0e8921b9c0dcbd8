"""An open connection as a value and a socket, for the process that goes on with it.

Nothing is read, written or closed here: until the next process has taken over, the connection can go on as it is.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.tcp import Server

from audiosocket.calls.protocol.connection import CLOSE_SECONDS, AudioSocketProtocol
from audiosocket.calls.protocol.factory import AudioSocketFactory
from audiosocket.calls.protocol.interfaces import LegEnd
from audiosocket.transport.clock import MediaClock


def save(connection: AudioSocketProtocol) -> tuple[dict[str, Any], socket.socket] | None:
    """Return the state of a connection and its socket; None when it is closed.

    ``first`` is what came before the UUID was complete, or before it was known where its call is; ``rest`` an
    unfinished message; ``unsent`` what the kernel has not taken yet.
    """
    transport: Any = connection.transport
    skt: socket.socket | None = getattr(transport, "_socket", None) or getattr(transport, "socket", None)
    if connection._lost is not None or skt is None or skt.fileno() < 0:
        return None
    where = transport.getPeer()
    more = (where.flowInfo, where.scopeID) if hasattr(where, "flowInfo") else ()
    return {
        "peer": [where.host, where.port, *more],
        "name": connection.peer,
        "proxied": connection._handshake.proxied,
        "behind_proxy": connection._handshake.behind_proxy,
        "first": connection._handshake.unanswered,
        "rest": connection._parser.rest,
        "unsent": _unsent(transport),
        "ending": connection.finished,
        "rate": connection._rate,
        "ignored": connection._ignored,
    }, skt


def _unsent(transport: Any) -> bytes:
    """Return what a transport has queued: one of ours, or Twisted's."""
    if hasattr(transport, "_queue"):
        return bytes(transport._queue or b"")
    return bytes(transport.dataBuffer[transport.offset :]) + b"".join(transport._tempDataBuffer)


class AdoptedConnections:
    """Makes connections of another process those of this one."""

    def __init__(self, clock: MediaClock, reactor: IReactorFDSet) -> None:
        self._clock = clock
        self._reactor = reactor

    def open(
        self, factory: AudioSocketFactory, skt: socket.socket, saved: Mapping[str, Any]
    ) -> AudioSocketProtocol:
        """Return the connection of ``skt``, which it owns from now on; nothing is read before the next turn.

        Raises OSError for a socket that cannot be used any more, and closes it.
        """
        skt.setblocking(False)
        protocol = AudioSocketProtocol(factory, self._clock, str(saved["name"]))
        protocol._handshake.proxied = bool(saved["proxied"])
        make: Any = factory.transport or Server
        transport = make(skt, protocol, tuple(saved["peer"]), None, 0, self._reactor)
        try:
            protocol.makeConnection(transport)
        except OSError:
            transport.abortConnection()
            raise
        protocol._handshake.behind_proxy = bool(saved["behind_proxy"])
        protocol._rate, protocol._ignored = int(saved["rate"]), bool(saved["ignored"])
        if saved["unsent"]:
            transport.write(saved["unsent"])
        return protocol

    def go_on(
        self, connection: AudioSocketProtocol, saved: Mapping[str, Any], leg: LegEnd[AudioSocketProtocol] | None
    ) -> None:
        """Let a connection go on with its ``leg``, without one if its UUID is not complete, or with its end."""
        if saved["ending"]:
            self._end(connection)
        elif leg is None:
            if saved["first"]:
                connection.dataReceived(saved["first"])
        else:
            self._clock.cancel_timeout(connection)
            connection.factory.observer.identified(connection)
            connection._leg, connection._frames_received = leg, leg.frames_received
            connection._parser._identified, connection._parser.rest = True, saved["rest"]
            if saved["rest"]:
                connection._wait()

    def _end(self, connection: AudioSocketProtocol) -> None:
        """Wait for the FIN of a peer that was sent its hangup frame."""
        connection.factory.observer.identified(connection)
        connection.finished = True
        transport: Any = connection.transport
        transport.unregisterProducer()
        transport.loseWriteConnection()
        self._clock.set_timeout(connection, CLOSE_SECONDS, transport.abortConnection)


def leg_of(connection: AudioSocketProtocol) -> LegEnd[AudioSocketProtocol] | None:
    """Return the leg that a connection has, None before its UUID."""
    return connection._leg
