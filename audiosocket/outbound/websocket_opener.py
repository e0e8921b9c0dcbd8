"""What apps open their WebSockets with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.interfaces import IReactorTime

from audiosocket.outbound.endpoints import Endpoints
from audiosocket.outbound.websocket import WebSocketClient
from audiosocket.outbound.websocket_interface import WebSocketLimits, WebSocketObserver


class WebSocketOpener:
    """Makes WebSocket clients that share one resolver and TLS settings; implements `interfaces.OpenWebSocket`."""

    def __init__(self, endpoints: Endpoints, clock: IReactorTime) -> None:
        self._endpoints = endpoints
        self._clock = clock

    def __call__(
        self,
        url: str,
        observer: WebSocketObserver,
        *,
        headers: Mapping[str, str],
        subprotocols: Sequence[str],
        ca_file: str,
        limits: WebSocketLimits,
    ) -> WebSocketClient:
        """Return a client that is not connected yet; raises `InvalidSetting`."""
        endpoint = self._endpoints.for_url(url, ca_file)
        return WebSocketClient(
            url, observer, endpoint, self._clock, headers=headers, subprotocols=subprotocols, limits=limits
        )
