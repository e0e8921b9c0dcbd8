"""What users of a `WebSocketClient` see besides the client: errors, limits, and the observer they write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from audiosocket.errors import AudioSocketError

NORMAL_CLOSURE = 1000
#: Not sent: the connection ended without a close frame.
ABNORMAL_CLOSURE = 1006
MESSAGE_TOO_BIG = 1009


class WebSocketFailed(AudioSocketError):
    """The connection could not be opened; the text names the peer and says why."""


class WebSocketRefused(WebSocketFailed):
    """The peer answered the handshake with an HTTP ``status`` other than 101."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class WebSocketClosed(AudioSocketError):
    """A message was to be sent on a connection that is not open."""


class WebSocketObserver(Protocol):
    """What a `WebSocketClient` reports to its user."""

    def opened(self) -> None:
        """Take notice that the handshake is complete and messages can be sent."""

    def message(self, message: str | bytes) -> None:
        """Take a whole text (str) or binary (bytes) message."""

    def closed(self, code: int, reason: str) -> None:
        """Take notice of the end of a connection that was open; nothing is reported after it.

        ``code`` and ``reason`` are those of the first close frame, from either side, a peer's reason as it was
        sent. Without a close frame the code is `ABNORMAL_CLOSURE`, and ``reason`` says what happened.
        """


@dataclass(frozen=True)
class WebSocketLimits:
    """Sizes in bytes, times in seconds.

    ``connect_seconds`` covers name lookup, TCP, TLS and handshake. A ping is sent ``ping_seconds`` after the
    previous answer (0: never), and the connection is dropped when its pong does not come within ``pong_seconds``.
    ``close_seconds`` is what the peer has to complete the closing handshake.
    """

    connect_seconds: float = 5.0
    handshake_bytes: int = 16_384
    message_bytes: int = 1_048_576
    ping_seconds: float = 10.0
    pong_seconds: float = 10.0
    close_seconds: float = 1.0
