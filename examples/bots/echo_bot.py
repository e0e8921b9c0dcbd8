"""A bot for the app twilio: beeps, and repeats what it hears. pip install websockets; python echo_bot.py [PORT]"""

import asyncio
import base64
import json
import sys

import websockets

BEEP = bytes(0x8F if n // 9 % 2 else 0x0F for n in range(2400))  # 300 ms of a square wave, u-law


async def talk(socket):
    async def send(event, **fields):
        await socket.send(json.dumps({"event": event, "streamSid": sid, **fields}))

    async def say(audio):
        await send("media", media={"payload": base64.b64encode(audio).decode()})
        await send("mark", mark={"name": "said"})  # comes back when the caller has heard all of it

    sid, heard, talking = None, b"", True
    async for text in socket:
        message = json.loads(text)
        if message["event"] == "start":
            sid = message["streamSid"]
            await say(BEEP)
        elif message["event"] == "mark":
            talking = False
        elif message["event"] == "media" and not talking:
            heard += base64.b64decode(message["media"]["payload"])
            if len(heard) >= 3 * 8000:  # three seconds
                await say(heard)
                heard, talking = b"", True
        elif message["event"] == "dtmf":
            await send("clear")  # barge-in
            if message["dtmf"]["digit"] == "#":
                return  # closes with 1000: the call ends


async def main():
    async with websockets.serve(talk, "127.0.0.1", int([*sys.argv, "8765"][1])):
        await asyncio.Future()


asyncio.run(main())
