"""A bot for the app `twilio` in 40 lines: says a tone, then repeats what the caller says, in Twilio's messages.

pip install websockets
python examples/bots/echo_bot.py
"""

import asyncio
import base64
import json
import math
import sys

import websockets

BEEP = bytes(0x8F if math.sin(n / 4) > 0 else 0x0F for n in range(2400))  # 300 ms of a square wave, u-law


async def talk(socket):
    async def say(payload, name):
        media = {"payload": base64.b64encode(payload).decode()}
        await socket.send(json.dumps({"event": "media", "streamSid": sid, "media": media}))
        await socket.send(json.dumps({"event": "mark", "streamSid": sid, "mark": {"name": name}}))

    sid, heard, talking = None, b"", True
    async for text in socket:
        message = json.loads(text)
        if message["event"] == "start":
            sid = message["start"]["streamSid"]
            print("a call:", message["start"]["customParameters"])
            await say(BEEP, "beep")
        elif message["event"] == "media" and not talking:
            heard += base64.b64decode(message["media"]["payload"])
            if len(heard) >= 3 * 8000:  # three seconds
                heard, talking = b"", not await say(heard, "said")
        elif message["event"] == "mark":  # the caller has heard all of it
            talking = False
        elif message["event"] == "dtmf":
            await socket.send(json.dumps({"event": "clear", "streamSid": sid}))  # barge-in
            if message["dtmf"]["digit"] == "#":
                return  # closes with 1000: the call ends


async def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8765
    async with websockets.serve(talk, "127.0.0.1", port):
        await asyncio.Future()


asyncio.run(main())
