"""A voice bot that returns what it hears: a WebSocket server without any library, as cheap as Python allows.

    python bot_peer.py PORT twilio|asterisk_ws|dying

It is the same peer for all bridges that are compared, so only what it does not cost matters. ``dying``
speaks the dialect of Twilio and dies at random: some connections before the upgrade, most within two seconds.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import json
import random
import sys
from collections.abc import Callable

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: Of the connections of a bot that dies, and of the messages of those that live.
EARLY_DEATHS, DEATH_PER_MESSAGE = 0.1, 0.02
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes) -> bytes:
    """Return an unmasked frame."""
    length = len(payload)
    head = bytes([0x80 | opcode])
    if length < 126:
        return head + bytes([length]) + payload
    return head + b"\x7e" + length.to_bytes(2, "big") + payload


def unmasked(payload: bytes, mask: bytes) -> bytes:
    """Return the payload of a client's frame."""
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(payload, "little") ^ key).to_bytes(size, "little")


class Connection(asyncio.Protocol):
    """One call; ``answer`` makes the returned message of a received one, or nothing.

    A plain GET is answered with the number of messages returned so far, over all connections.
    """

    returned = 0

    def __init__(self, make_answer: Callable[[], Callable[[int, bytes], bytes]]) -> None:
        self._make_answer = make_answer
        self._buffer = b""
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            if not self._upgraded:
                self._upgrade()
            out = []
            while self._upgraded and (message := self._next()) is not None:
                out.append(self._reply(*message))
        except Died:
            self._transport.abort()
            return
        self._transport.write(b"".join(out))

    def _upgrade(self) -> None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if b"sec-websocket-key" not in head.lower():
            body = str(Connection.returned).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            self._transport.close()
            return
        lines = dict(
            line.lower().split(b": ", 1)[:1] + line.split(b": ", 1)[1:] for line in head.split(b"\r\n")[1:]
        )
        self._answer = self._make_answer()
        accept = base64.b64encode(hashlib.sha1(lines[b"sec-websocket-key"].strip() + _GUID).digest())
        protocol = lines.get(b"sec-websocket-protocol")
        chosen = b"Sec-WebSocket-Protocol: " + protocol + b"\r\n" if protocol else b""
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + chosen
            + b"Sec-WebSocket-Accept: "
            + accept
            + b"\r\n\r\n"
        )
        self._buffer, self._upgraded = rest, True

    def _next(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 6:
            return None
        length, at = buffer[1] & 0x7F, 2
        if length == 126:
            length, at = int.from_bytes(buffer[2:4], "big"), 4
        if len(buffer) < at + 4 + length:
            return None
        mask, payload = buffer[at : at + 4], buffer[at + 4 : at + 4 + length]
        self._buffer = buffer[at + 4 + length :]
        return buffer[0] & 0x0F, unmasked(payload, mask)

    def _reply(self, opcode: int, payload: bytes) -> bytes:
        if opcode == _PING:
            return frame(_PONG, payload)
        if opcode == _CLOSE:
            self._transport.close()
            return frame(_CLOSE, payload)
        answer = self._answer(opcode, payload)
        Connection.returned += bool(answer)
        return answer


def twilio() -> Callable[[int, bytes], bytes]:
    """Return the answers of one Twilio stream."""
    sid = [""]

    def answer(opcode: int, payload: bytes) -> bytes:
        message = json.loads(payload)
        if message["event"] == "start":
            sid[0] = message["streamSid"]
        if message["event"] != "media":
            return b""
        media = message["media"]["payload"]
        text = f'{{"event":"media","streamSid":"{sid[0]}","media":{{"payload":"{media}"}}}}'
        return frame(_TEXT, text.encode())

    return answer


class Died(Exception):
    """The end of a bot that dies; its connection is reset."""


def dying() -> Callable[[int, bytes], bytes]:
    """Return the answers of a Twilio stream that dies at random: at a message on average 1 s after its start."""
    if random.random() < EARLY_DEATHS:
        raise Died
    answer = twilio()

    def answer_or_die(opcode: int, payload: bytes) -> bytes:
        if random.random() < DEATH_PER_MESSAGE:
            raise Died
        return answer(opcode, payload)

    return answer_or_die


def asterisk_ws() -> Callable[[int, bytes], bytes]:
    """Return the answers of one chan_websocket connection."""
    return lambda opcode, payload: frame(_BINARY, payload) if opcode == _BINARY else b""


async def main(port: int, dialect: str) -> None:
    """Serve until killed."""
    answers = {"twilio": twilio, "asterisk_ws": asterisk_ws, "dying": dying}[dialect]
    gc.disable()  # a collection would be counted as the bridge's delay
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(answers), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
