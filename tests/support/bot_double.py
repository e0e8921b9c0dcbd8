"""A voice bot without a network: what a session connects to, and what it was sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from audiosocket.outbound.websocket_interface import (
    NORMAL_CLOSURE,
    WebSocketFailed,
    WebSocketLimits,
    WebSocketObserver,
)


@dataclass
class Opened:
    """How one connection was asked for."""

    url: str
    headers: Mapping[str, str]
    subprotocols: Sequence[str]
    ca_file: str
    limits: WebSocketLimits


class FakeSocket:
    """One connection; the bot's side is `say` and `close_from_bot`."""

    def __init__(self, observer: WebSocketObserver, bot: FakeBot) -> None:
        self.observer = observer
        self.is_open = False
        self.queued_bytes = 0
        self.sent: list[str | bytes] = []
        self.closed_with: int | None = None
        self._bot = bot
        self._connecting: Deferred[None] | None = None

    def connect(self) -> Deferred[None]:
        problem = self._bot.problem() if self._bot.problem is not None else None
        if problem is not None:
            return fail(problem)
        if self._bot.slow:
            self._connecting = Deferred(lambda _: None)
            return self._connecting
        self._open()
        return succeed(None)

    def accept(self) -> None:
        """The bot answers a handshake that it kept waiting."""
        connecting, self._connecting = self._connecting, None
        assert connecting is not None
        self._open()
        connecting.callback(None)

    def _open(self) -> None:
        self.is_open = True
        self.observer.opened()

    def send(self, message: str | bytes) -> int:
        assert self.is_open, "sent on a closed connection"
        self.sent.append(message)
        return self.queued_bytes

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> Deferred[None]:
        self.is_open = False
        self.closed_with = code
        return succeed(None)

    def abort(self, reason: str = "") -> None:
        self.is_open = False
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.errback(WebSocketFailed(reason))

    # what the bot does

    def say(self, message: str | bytes | Mapping[str, Any]) -> None:
        """The bot sends a message."""
        self.observer.message(message if isinstance(message, str | bytes) else json.dumps(message))

    def close_from_bot(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """The bot closes the connection."""
        self.is_open = False
        self.observer.closed(code, reason)

    def texts(self, *events: str) -> list[dict[str, Any]]:
        """The JSON messages it was sent, of these events or types only."""
        found = [json.loads(one) for one in self.sent if isinstance(one, str)]
        return [one for one in found if not events or one.get("event", one.get("type")) in events]


class FakeBot:
    """Opens `FakeSocket`s; ``problem`` is what an attempt fails with, if anything."""

    def __init__(self) -> None:
        self.sockets: list[FakeSocket] = []
        self.opened: list[Opened] = []
        self.problem: Callable[[], Exception | None] | None = None
        self.slow = False

    def __call__(
        self,
        url: str,
        observer: WebSocketObserver,
        *,
        headers: Mapping[str, str],
        subprotocols: Sequence[str],
        ca_file: str,
        limits: WebSocketLimits,
    ) -> FakeSocket:
        self.opened.append(Opened(url, headers, subprotocols, ca_file, limits))
        self.sockets.append(FakeSocket(observer, self))
        return self.sockets[-1]

    @property
    def socket(self) -> FakeSocket:
        """The latest connection."""
        return self.sockets[-1]
