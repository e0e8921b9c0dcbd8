"""Connections to other programs, which the server makes for apps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from audiosocket.outbound.websocket_interface import WebSocketLimits, WebSocketObserver


class WebSocket(Protocol):
    """A connection that was made by `OpenWebSocket`: `outbound.websocket.WebSocketClient`."""

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait because the peer reads too slowly."""

    def connect(self) -> Deferred[None]:
        """Open the connection; fails with `WebSocketFailed`, cancelling drops it."""

    def send(self, message: str | bytes) -> int:
        """Send a text or binary message; raises `WebSocketClosed`."""

    def close(self, code: int = 1000, reason: str = "") -> Deferred[None]:
        """Send what is queued and a close frame; fires at the end of the connection."""

    def abort(self, reason: str = "") -> None:
        """Drop the connection at once."""


class OpenWebSocket(Protocol):
    """Makes a WebSocket connection that is not open yet; raises `InvalidSetting`."""

    def __call__(
        self,
        url: str,
        observer: WebSocketObserver,
        *,
        headers: Mapping[str, str],
        subprotocols: Sequence[str],
        ca_file: str,
        limits: WebSocketLimits,
    ) -> WebSocket:
        """Return the connection; ``observer`` is told what happens to it."""
