"""Opening the WebSocket of a leg: time-outs and retries while the caller waits."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from audiosocket.bots.parameters import BotParameters
from audiosocket.interfaces import AppContext, WebSocket
from audiosocket.outbound.websocket_interface import (
    WebSocketFailed,
    WebSocketLimits,
    WebSocketObserver,
    WebSocketRefused,
)

RETRY_EVERY_SECONDS = 0.25
#: A bot's message may have so many bytes.
MAX_MESSAGE_BYTES = 1_000_000
#: A ping every 10 s, and 20 s for its answer: 30 s without a sign of life end the connection.
PING_SECONDS, PONG_SECONDS = 10.0, 20.0
#: Statuses after which another attempt may succeed.
_TRANSIENT = frozenset({408, 425, 429, *range(500, 600)})


class Attempts:
    """Connects to one URL until it succeeds, is refused for good, or the time is over."""

    def __init__(
        self,
        bot: BotParameters,
        url: str,
        headers: dict[str, str],
        context: AppContext,
        observer: WebSocketObserver,
        seconds: Callable[[], float],
    ) -> None:
        self._bot = bot
        self._url = url
        self._headers = headers
        self._context = context
        self._observer = observer
        self._seconds = seconds
        #: Attempts made so far.
        self.count = 0
        self.socket: WebSocket | None = None
        self._pause: Deferred[None] | None = None
        self._cancelled = False

    async def run(self) -> WebSocket:
        """Return the open connection; raises `WebSocketFailed` with the reason of the last attempt."""
        give_up = self._seconds() + self._bot.retry_seconds
        while True:
            self.count += 1
            try:
                return await self._once()
            except WebSocketFailed as problem:
                refused = isinstance(problem, WebSocketRefused) and problem.status not in _TRANSIENT
                if refused or self._cancelled or self._seconds() >= give_up:
                    raise
            await self._wait()

    def cancel(self) -> None:
        """Make no further attempt, and drop the one under way."""
        self._cancelled = True
        if self._pause is not None:
            self._pause.cancel()
        if self.socket is not None and not self.socket.is_open:
            self.socket.abort("the call is over")

    async def _once(self) -> WebSocket:
        if self._context.open_websocket is None:
            raise WebSocketFailed("this server makes no WebSocket connections")
        limits = WebSocketLimits(
            connect_seconds=self._bot.connect_seconds,
            message_bytes=MAX_MESSAGE_BYTES,
            ping_seconds=PING_SECONDS,
            pong_seconds=PONG_SECONDS,
        )
        self.socket = made = self._context.open_websocket(
            self._url,
            self._observer,
            headers=self._headers,
            subprotocols=[self._bot.subprotocol] if self._bot.subprotocol else [],
            ca_file=self._bot.ca_file,
            limits=limits,
        )
        await made.connect()
        return made

    async def _wait(self) -> None:
        pause: Deferred[None] = Deferred()
        self._pause = pause
        timer = self._context.call_later(RETRY_EVERY_SECONDS, pause.callback, None)
        try:
            await pause
        finally:
            self._pause = None
            if timer.active():
                timer.cancel()
