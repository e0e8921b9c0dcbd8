"""The telephone of the browser: a WebSocket on one side, a call to an extension's own port on the other.

Binary messages are PCM (16 bit, little-endian, mono) both ways. Text messages are JSON objects with one key; from
the browser ``{"press": "5"}``, ``{"hangup": true}``, ``{"rate": 48000}`` before audio of another rate than that of
the call, and ``{"state": true}``, which asks for the state; to it ``{"rate": 8000}`` before audio of another rate,
``{"state": "connected", "call_id": …}`` and ``{"state": "ended", "reason": …}``, and ``{"error": …}``.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import UUID

from twisted.internet.defer import Deferred

from admin.websocket import INVALID_DATA, NORMAL, UNSUPPORTED_DATA, ServerWebSocket
from audiosocket.errors import AudioSocketError

#: Rates of AudioSocket that a browser may send, in Hz.
RATES = (8000, 12000, 16000, 24000, 32000, 44100, 48000)
MAX_DIGITS = 32


class PhoneObserver(Protocol):
    """What a `PhoneCall` calls."""

    def heard(self, rate: int, pcm: bytes) -> None:
        """Take one frame of the extension's audio, ``rate`` in Hz."""

    def ended(self, reason: str) -> None:
        """Take the end of the call; ``reason`` is for people."""


class PhoneCall(Protocol):
    """A call to a port of this server, as Asterisk would place it."""

    @property
    def call_id(self) -> object:
        """The UUID of the call."""

    def connect(self) -> Awaitable[None]:
        """Connect; raise `AudioSocketError` where that fails."""

    def say(self, pcm: bytes) -> None:
        """Say PCM at the rate of the call, or at that of `set_rate`."""

    def set_rate(self, rate: int) -> None:
        """Convert what is said from now on, which is at ``rate`` Hz."""

    def press(self, digits: str) -> None:
        """Press keys; raise `AudioSocketError` for one that no telephone has."""

    def hang_up(self) -> None:
        """Hang up; `PhoneObserver.ended` follows."""


class Dial(Protocol):
    """Returns a `PhoneCall` that is not connected yet."""

    def __call__(
        self, host: str, port: int, rate: int, observer: PhoneObserver, call_id: UUID | None = None
    ) -> PhoneCall:
        """Return a call to ``host`` and ``port`` with audio of ``rate`` Hz; without ``call_id`` a new one."""


class Phone:
    """One telephone: passes what the browser says to the call, and what is heard to the browser.

    ``on_end`` receives the reason of the end, once; not when the browser has closed the connection before.
    """

    def __init__(self, socket: ServerWebSocket, on_end: Callable[[str], object] = lambda reason: None) -> None:
        self._socket = socket
        self._on_end = on_end
        self._state: dict[str, object] = {"state": "connecting"}
        self._call: PhoneCall | None = None
        self._rate = 0
        self._over = False

    def start(self, call: PhoneCall, early: bytes) -> None:
        """Open the WebSocket and connect the call; ``early`` is what came right behind the handshake."""
        self._call = call
        self._socket.start(self, early)
        self.connect(call)

    def connect(self, call: PhoneCall) -> None:
        """Connect the call on a WebSocket that is open."""
        if self._over:
            self._on_end("the browser has closed the connection")
            return
        self._call = call
        Deferred.fromCoroutine(self._connect(call))

    async def _connect(self, call: PhoneCall) -> None:
        self._tell(self._state)
        try:
            await call.connect()
        except AudioSocketError as error:
            self.ended(str(error))
        else:
            self._state = {"state": "connected", "call_id": str(call.call_id)}
            self._tell(self._state)

    # From the browser.

    def bytes_received(self, data: bytes) -> None:
        """Say PCM."""
        if len(data) % 2:
            self._socket.close(INVALID_DATA, "Audio has two bytes for each sample.")
        elif self._call is not None and not self._over:
            self._call.say(data)

    def text_received(self, text: str) -> None:
        """Press keys, hang up, change the rate, or tell the state."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._socket.close(UNSUPPORTED_DATA, "A text message is a JSON object.")
            return
        digits, rate = message.get("press"), message.get("rate")
        if "state" in message or self._call is None:
            self._tell(self._state)
        elif message.get("hangup") is True:
            self._call.hang_up()
        elif rate is not None:
            self._change_rate(self._call, rate)
        elif isinstance(digits, str) and 0 < len(digits) <= MAX_DIGITS:
            try:
                self._call.press(digits)
            except AudioSocketError as error:
                self._tell({"error": str(error)})
        else:
            self._tell({"error": 'Send {"press": "5"}, {"rate": 16000} or {"hangup": true}.'})

    def closed(self) -> None:
        """Hang up: the tab was closed, its connection is lost, or its token is no longer valid."""
        self._over = True
        if self._call is not None:
            self._call.hang_up()

    def _change_rate(self, call: PhoneCall, rate: object) -> None:
        """Take audio of another rate; audio at one that cannot be used would be noise."""
        if isinstance(rate, int) and rate in RATES:
            call.set_rate(rate)
        else:
            self._socket.close(UNSUPPORTED_DATA, f"rate is not one of {', '.join(map(str, RATES))}.")

    # From the call.

    def heard(self, rate: int, pcm: bytes) -> None:
        """Pass a frame on, its rate first where that has changed."""
        if rate != self._rate:
            self._rate = rate
            self._tell({"rate": rate})
        self._socket.send_bytes(pcm)

    def ended(self, reason: str) -> None:
        """Tell the browser why the call has ended, and close."""
        if not self._over:
            self._over = True
            self._tell({"state": "ended", "reason": reason})
            self._socket.close(NORMAL)
            self._on_end(reason)

    def _tell(self, message: dict[str, object]) -> None:
        self._socket.send_text(json.dumps(message))
