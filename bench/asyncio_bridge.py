"""A bare bridge between AudioSocket and a bot on asyncio's streams and the library websockets, for comparison.

    python asyncio_bridge.py BOT_PORT twilio|asterisk_ws PORT

What one writes in an afternoon: two tasks per call, frames passed on as they come; no clock, no silence, no marks.
"""

from __future__ import annotations

import asyncio
import audioop
import base64
import json
import sys

import websockets

HANGUP, AUDIO = 0x00, 0x10


async def to_bot(
    reader: asyncio.StreamReader, socket: websockets.ClientConnection, dialect: str, sid: str
) -> None:
    """Pass the caller's frames on."""
    chunk = 0
    while True:
        header = await reader.readexactly(3)
        payload = await reader.readexactly(int.from_bytes(header[1:], "big"))
        if header[0] == HANGUP:
            return
        if header[0] != AUDIO:
            continue
        if dialect == "asterisk_ws":
            await socket.send(payload)
            continue
        chunk += 1
        media = {
            "track": "inbound",
            "chunk": str(chunk),
            "timestamp": str(chunk * 20),
            "payload": base64.b64encode(audioop.lin2ulaw(payload, 2)).decode(),
        }
        message = {"event": "media", "sequenceNumber": str(chunk + 1), "media": media, "streamSid": sid}
        await socket.send(json.dumps(message))


async def to_caller(writer: asyncio.StreamWriter, socket: websockets.ClientConnection) -> None:
    """Pass the bot's audio on."""
    async for message in socket:
        if isinstance(message, bytes):
            pcm = message
        else:
            found = json.loads(message)
            if found["event"] != "media":
                continue
            pcm = audioop.ulaw2lin(base64.b64decode(found["media"]["payload"]), 2)
        for at in range(0, len(pcm), 320):
            piece = pcm[at : at + 320]
            writer.write(bytes([AUDIO]) + len(piece).to_bytes(2, "big") + piece)
        await writer.drain()


async def bridge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bot_port: int, dialect: str) -> None:
    """Serve one call."""
    await reader.readexactly(19)  # the UUID frame
    sid = "MZ" + "0" * 32
    async with websockets.connect(f"ws://127.0.0.1:{bot_port}/", compression=None, max_queue=None) as socket:
        if dialect == "twilio":
            await socket.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
            await socket.send(json.dumps({"event": "start", "streamSid": sid, "start": {"streamSid": sid}}))
        else:
            await socket.send(json.dumps({"event": "MEDIA_START", "format": "slin"}))
        tasks = [
            asyncio.create_task(to_bot(reader, socket, dialect, sid)),
            asyncio.create_task(to_caller(writer, socket)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
    writer.close()


async def main(port: int, bot_port: int, dialect: str) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(
        lambda reader, writer: bridge(reader, writer, bot_port, dialect), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[3]), int(sys.argv[1]), sys.argv[2]))
