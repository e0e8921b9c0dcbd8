"""A bot of the Twilio dialect that a test directs, over a real WebSocket."""

from __future__ import annotations

import base64
import json
from typing import Any

from wsproto import events as ws

from audiosocket.media.pcm import slin_to_ulaw
from tests.support.websocket_server import ServerConnection, WebSocketServer


class TwilioBot:
    """One stream. ``parameters`` are the ``customParameters`` that it was given."""

    def __init__(self, connection: ServerConnection, start: dict[str, Any]) -> None:
        self._connection = connection
        self._sid: str = start["streamSid"]
        self._commands = 0
        self.parameters: dict[str, str] = start["start"]["customParameters"]

    @classmethod
    async def answer(cls, server: WebSocketServer) -> TwilioBot:
        """Take the next connection, and read its first two messages."""
        connection = await server.connection()
        await connection.accept()
        first, second = [json.loads((await connection.next()).data) for _ in range(2)]
        assert (first["event"], second["event"]) == ("connected", "start")
        return cls(connection, second)

    async def next(self, event: str) -> dict[str, Any]:
        """Return the next message of this kind; those of other kinds before it are dropped."""
        while True:
            got = await self._connection.next()
            assert isinstance(got, ws.TextMessage), f"{got} instead of {event}"
            message: dict[str, Any] = json.loads(got.data)
            if message["event"] == event:
                return message

    def send(self, event: str, **fields: Any) -> None:
        """Send a message."""
        message = {"event": event, "streamSid": self._sid, **fields}
        self._connection.send(ws.TextMessage(json.dumps(message)))

    def play(self, pcm: bytes) -> None:
        """Say audio of 8 kHz, in one message."""
        self.send("media", media={"payload": base64.b64encode(slin_to_ulaw(pcm)).decode()})

    async def command(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Send a command; return what it was answered."""
        self._commands += 1
        self.send("x-command", id=str(self._commands), command=name, **arguments)
        answer = await self.next("x-result")
        assert answer["id"] == str(self._commands)
        return answer
