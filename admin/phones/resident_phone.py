"""One telephone of a resident in a browser: it waits, rings, and becomes a call when it is answered.

Text messages to the browser: ``{"state": "waiting"}``, after ringing with its ``reason``, and
``{"state": "ringing", "call_id": …, "number": …, "extension": …, "caller": …, "ring_seconds": …}``; from it
``{"answer": true}`` and ``{"reject": true}``. From the answer on it is the telephone of ``phone.py``.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred

from admin.phones.phone import Phone, PhoneCall
from admin.phones.resident_phones import ResidentPhones, Ring
from admin.responses import HTTPError
from admin.websocket import UNSUPPORTED_DATA, ServerWebSocket
from audiosocket.errors import AudioSocketError

#: Returns a call to the return port of what rings, which the telephone observes.
PlaceCall = Callable[[Ring, Phone], Awaitable[PhoneCall]]


class ResidentPhone:
    """Implements `resident_phones.Telephone`; ``place`` makes its call when it is answered."""

    def __init__(self, socket: ServerWebSocket, phones: ResidentPhones, number: str, place: PlaceCall) -> None:
        self.number = number
        self._socket = socket
        self._phones = phones
        self._place = place
        self._state: dict[str, object] = {"state": "waiting"}
        self._over = False

    def start(self, early: bytes) -> None:
        """Open the WebSocket and wait; ``early`` is what came right behind the handshake."""
        self._socket.start(self, early)
        self._tell(self._state)
        if not self._over:
            self._phones.add(self)

    def ring(self, ring: Ring) -> None:
        """Tell the browser to ring."""
        self._state = {
            "state": "ringing",
            "call_id": str(ring.call_id),
            "number": ring.number,
            "extension": ring.extension,
            "caller": ring.caller,
            "ring_seconds": ring.seconds,
        }
        self._tell(self._state)

    def stop(self, reason: str) -> None:
        """Tell the browser to ring no more."""
        self._state = {"state": "waiting", "reason": reason}
        self._tell(self._state)

    # from the browser

    def bytes_received(self, data: bytes) -> None:
        """Drop audio: there is no call yet."""

    def text_received(self, text: str) -> None:
        """Answer or reject."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._socket.close(UNSUPPORTED_DATA, "A text message is a JSON object.")
        elif message.get("answer") is True:
            ring = self._phones.answer(self)
            if ring is None:
                self._tell({"error": "Nothing rings any more."})
            else:
                Deferred.fromCoroutine(self._answer(ring))
        elif message.get("reject") is True or message.get("hangup") is True:
            self._phones.reject(self)
        elif "state" in message:
            self._tell(self._state)
        else:
            self._tell({"error": 'Send {"answer": true} or {"reject": true}.'})

    def closed(self) -> None:
        """Wait no more: the tab was closed, its connection is lost, or its token is no longer valid."""
        self._over = True
        self._phones.discard(self)

    async def _answer(self, ring: Ring) -> None:
        # Reported also when the call was connected: then the attempt has ended, and nothing happens.
        phone = Phone(self._socket, lambda reason: self._phones.report(ring.attempt_id, "failed", reason))
        self._socket.hand_over(phone)
        try:
            call = await self._place(ring, phone)
        except (HTTPError, AudioSocketError) as error:
            phone.ended(str(error))
        else:
            phone.connect(call)

    def _tell(self, message: dict[str, object]) -> None:
        self._socket.send_text(json.dumps(message))
