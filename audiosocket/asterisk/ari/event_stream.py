"""The events of Asterisk's REST interface, received on a WebSocket."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from audiosocket.asterisk.ari.channel_events import is_of_use
from audiosocket.outbound.http_client import RequestFailed
from audiosocket.outbound.secret import Secret, current
from audiosocket.outbound.websocket import WebSocketClient
from audiosocket.outbound.websocket_interface import WebSocketFailed, WebSocketLimits

#: Seconds for a connection with its handshake, between two of our pings, and for the answer to one.
CONNECT_SECONDS = 5.0
PING_SECONDS = 10.0
#: Longer events are skipped: a variable of a channel may hold a whole web page.
MAX_EVENT_CHARACTERS = 65_536
#: Longer messages close the connection, which is then made again.
MAX_MESSAGE_BYTES = 1_048_576
#: Seconds between our close frame and the end of a connection that Asterisk does not close.
CLOSE_SECONDS = 1.0

_LIMITS = WebSocketLimits(
    connect_seconds=CONNECT_SECONDS,
    message_bytes=MAX_MESSAGE_BYTES,
    ping_seconds=PING_SECONDS,
    pong_seconds=PING_SECONDS,
    close_seconds=CLOSE_SECONDS,
)


class ARIEventStream:
    """The connection for events, made by `connect` whenever there is none; ``received`` is given each event,
    ``lost`` is called when a connection has ended that this side did not close.

    ``url`` (http or https) names the Stasis application that events are sent to; ``endpoint`` finds its server;
    ``authorization`` is the header of that name.
    """

    def __init__(
        self,
        endpoint: Callable[[str], IStreamClientEndpoint],
        url: str,
        authorization: Secret,
        clock: IReactorTime,
        received: Callable[[dict[str, Any]], None],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._endpoint = endpoint
        self._url = f"ws{url.removeprefix('http')}"
        self._authorization = authorization
        self._clock = clock
        self._received = received
        self._lost = lost
        self._client: WebSocketClient | None = None

    @property
    def up(self) -> bool:
        """Whether events are received now."""
        return self._client is not None and self._client.is_open

    async def connect(self) -> None:
        """Make the connection and wait until ARI accepts it; raises `RequestFailed`."""
        headers = {"Authorization": await current(self._authorization)}
        endpoint = self._endpoint(self._url)
        self._client = WebSocketClient(self._url, self, endpoint, self._clock, headers=headers, limits=_LIMITS)
        try:
            await self._client.connect()
        except WebSocketFailed as problem:
            raise RequestFailed(f"no connection for events: {problem}") from None

    async def close(self) -> None:
        """Close the connection and wait for its end, at most `CLOSE_SECONDS`."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def opened(self) -> None:
        """See `WebSocketObserver`."""

    def message(self, message: str | bytes) -> None:
        """See `WebSocketObserver`: pass an event on, skip what is none or of no use."""
        try:
            wanted = isinstance(message, str) and len(message) <= MAX_EVENT_CHARACTERS and is_of_use(message)
            event = json.loads(message) if wanted else None
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict):
            self._received(event)

    def closed(self, code: int, reason: str) -> None:
        """See `WebSocketObserver`: the end of this connection is the first news of an Asterisk that has died."""
        if self._client is not None:
            self._lost()
