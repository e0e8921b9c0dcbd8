"""A bot that accepts a WebSocket and listens, in a thread: for tests that have no reactor of their own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request

#: Seconds after which a thread looks whether it is to end.
LOOK_SECONDS = 0.2


@contextmanager
def silent_bot(port: int) -> Iterator[None]:
    """Accept bots' connections on a port and read what they are sent; say nothing."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(LOOK_SECONDS)
        thread = threading.Thread(target=_accept, args=(listener, ended))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(10)


def _accept(listener: socket.socket, ended: threading.Event) -> None:
    while not ended.is_set():
        with suppress(TimeoutError):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(LOOK_SECONDS)
                _listen(connection, ended)


def _listen(connection: socket.socket, ended: threading.Event) -> None:
    wire = WSConnection(ConnectionType.SERVER)
    while not ended.is_set():
        try:
            data = connection.recv(65_536)
        except TimeoutError:
            continue
        except OSError:
            return
        if not data:
            return
        wire.receive_data(data)
        for event in wire.events():
            if isinstance(event, Request):
                connection.sendall(wire.send(AcceptConnection()))
