"""A simple AudioSocket server on asyncio's streams, for comparison.

    python asyncio_echo.py PORT [speak]

One task per call. It returns every audio frame; with ``speak`` it sends numbered frames instead (``speech.py``),
each at its own deadline, so that a late frame does not delay the following ones.
"""

from __future__ import annotations

import asyncio
import sys

HANGUP, AUDIO = 0x00, 0x10
FRAME_SECONDS = 0.02
SPEECH_FRAMES = 500
SPOKEN = [b"\x10\x01\x40" + b"Spch" + number.to_bytes(4, "little") + bytes(312) for number in range(SPEECH_FRAMES)]


async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, echo: bool) -> None:
    """Read messages until the call ends; with ``echo`` return the audio."""
    while True:
        header = await reader.readexactly(3)
        length = int.from_bytes(header[1:], "big")
        payload = await reader.readexactly(length)
        if header[0] == HANGUP:
            return
        if header[0] == AUDIO and echo:
            writer.write(header + payload)
            await writer.drain()


async def speak(writer: asyncio.StreamWriter) -> None:
    """Send a numbered frame every 20 ms."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    number = 0
    while True:
        writer.write(SPOKEN[number % SPEECH_FRAMES])
        await writer.drain()
        number += 1
        due += FRAME_SECONDS
        await asyncio.sleep(due - loop.time())


async def serve(port: int, *, speaking: bool) -> None:
    """Answer calls until the process is stopped."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        voice = asyncio.create_task(speak(writer)) if speaking else None
        try:
            await listen(reader, writer, echo=not speaking)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            if voice is not None:
                voice.cancel()
                await asyncio.gather(voice, return_exceptions=True)
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), speaking="speak" in sys.argv[2:]))
