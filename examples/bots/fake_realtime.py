"""A server that behaves like OpenAI Realtime as far as a telephone call needs it, to try the app without a key.

    pip install websockets
    python examples/bots/fake_realtime.py [PORT]

It answers each pause of the caller, and a greeting that is asked for, with two seconds of a tone, and stops when
the caller speaks. G.711 at 8 kHz only.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

import websockets

#: Two seconds of 440 Hz, u-law: the codes of +-8,031, with silence between half waves.
TONE = bytes((0x8F, 0xFF, 0x0F, 0xFF)[int(n * 440 * 4 / 8000) % 4] for n in range(16_000))
#: Codes of samples that are louder than about -40 dBFS.
LOUD = {code for code in range(256) if (~code >> 4) & 7 >= 3}
QUIET_FRAMES = 25


class Conversation:
    """One connection."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.speaking = False
        self.quiet = 0
        self.items = 0

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, "event_id": f"event_{id(fields):x}", **fields}))

    async def respond(self) -> None:
        """Say the tone, all at once, as a model does that is faster than speech."""
        self.items += 1
        item = {"response_id": f"resp_{self.items}", "item_id": f"item_{self.items}"}
        item |= {"output_index": 0, "content_index": 0}
        await self.send("response.created", response={"id": item["response_id"]})
        for at in range(0, len(TONE), 1600):
            delta = base64.b64encode(TONE[at : at + 1600]).decode()
            await self.send("response.output_audio.delta", delta=delta, **item)
        await self.send("response.output_audio.done", **item)
        await self.send("response.output_audio_transcript.done", transcript="(a tone)", **item)
        await self.send("response.done", response={"id": item["response_id"], "status": "completed"})

    async def hear(self, payload: bytes) -> None:
        """Notice when the caller begins and stops to speak, by the level."""
        loud = sum(code in LOUD for code in payload) > len(payload) // 3
        self.quiet = 0 if loud else self.quiet + 1
        if loud and not self.speaking:
            self.speaking = True
            await self.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="item_caller")
        elif self.speaking and self.quiet >= QUIET_FRAMES:
            self.speaking = False
            await self.send("input_audio_buffer.speech_stopped", audio_end_ms=0, item_id="item_caller")
            await self.respond()

    async def run(self) -> None:
        await self.send("session.created", session={"type": "realtime"})
        async for text in self.socket:
            message = json.loads(text)
            kind = message["type"]
            if kind == "session.update":
                audio = {"format": {"type": "audio/pcmu"}}
                await self.send(
                    "session.updated", session={"type": "realtime", "audio": {"input": audio, "output": audio}}
                )
            elif kind == "input_audio_buffer.append":
                await self.hear(base64.b64decode(message["audio"]))
            elif kind == "response.create":
                await self.respond()
            elif kind == "conversation.item.truncate":
                print("the caller heard", message["audio_end_ms"], "ms of", message["item_id"], flush=True)


async def talk(socket: Any) -> None:
    """Serve one call."""
    await Conversation(socket).run()


async def main() -> None:
    """Serve until interrupted."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8766
    async with websockets.serve(talk, "127.0.0.1", port):
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
