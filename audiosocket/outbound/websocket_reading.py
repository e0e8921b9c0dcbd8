"""How much of what a WebSocket's peer sends is handled at a time, and messages that come in several frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from wsproto import events as ws

#: Bytes that are handled in one turn of the reactor: a few messages with 20 ms of audio, or 100 short ones.
BYTES_PER_TURN = 4_096
#: And messages, pings and pongs not among them: some 2 ms of work, also for messages without content.
MESSAGES_PER_TURN = 64


class Unread:
    """What was read from ``transport`` and not handled yet; reading pauses while there is any.

    ``handle`` is called with bytes and with how many messages to handle at most, 0 for all. It returns whether
    it has left some, which it handles when it is called again; None when the connection is over.
    """

    def __init__(
        self, transport: IPushProducer, clock: IReactorTime, handle: Callable[[bytes, int], bool | None]
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._handle = handle
        self._data = bytearray()
        #: Whether `_handle` has left messages.
        self._left = False
        self._next_turn: IDelayedCall | None = None

    def __bool__(self) -> bool:
        return self._next_turn is not None or bool(self._data)

    def take(self, data: bytes) -> None:
        """Handle what was read, or some of it now and the rest in later turns."""
        if self:
            self._data += data
        elif len(data) > BYTES_PER_TURN:
            self._data += data
            self._transport.pauseProducing()
            self._handle_some()
        elif self._handle(data, MESSAGES_PER_TURN):
            self._left = True
            self._transport.pauseProducing()
            self._next_turn = self._clock.callLater(0, self._handle_some)

    def finish(self) -> None:
        """Handle all that is left, as the connection is lost."""
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
        rest, self._data = bytes(self._data), bytearray()
        if rest or self._left:
            self._left = False
            self._handle(rest, 0)

    def _handle_some(self) -> None:
        """Handle some of what was read, and go on in the reactor's next turn: others have theirs in between."""
        self._next_turn = None
        data = b""
        if not self._left:
            data = bytes(self._data[:BYTES_PER_TURN])
            del self._data[:BYTES_PER_TURN]
        left = self._handle(data, MESSAGES_PER_TURN)
        self._left = bool(left)
        if left is None:  # the transport is closing
            self._data.clear()
        elif left or self._data:
            self._next_turn = self._clock.callLater(0, self._handle_some)
        else:
            self._transport.resumeProducing()


class Fragments:
    """Puts messages together that come in several frames, of ``most`` bytes at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: list[str | bytes] = []
        self._bytes = 0

    @property
    def too_long(self) -> bool:
        """Whether the message has more bytes than it may."""
        return self._bytes > self._most

    def add(self, part: ws.TextMessage | ws.BytesMessage) -> str | bytes | None:
        """Return the message that ends with ``part``; None if it goes on, or is too long."""
        data = part.data
        self._bytes += len(data) if not isinstance(data, str) or data.isascii() else len(data.encode())
        if self.too_long:
            return None
        if data:  # any number of empty frames must not fill the memory
            self._parts.append(data if isinstance(data, str) else bytes(data))
        if not part.message_finished:
            return None
        empty: Any = "" if isinstance(data, str) else b""  # all parts are of the same kind
        message: str | bytes = empty.join(self._parts)
        self._parts, self._bytes = [], 0
        return message
