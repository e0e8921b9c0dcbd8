"""Every message of ``openai_realtime``, held against the types of OpenAI's own package."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from audiosocket.bots.commands import TOOLS, tool_schema
from audiosocket.bots.events import Reply
from audiosocket.bots.openai_realtime import PCM, PCMU, RealtimeConfig, RealtimeConversation

HERE = Path(__file__).parent
EXAMPLES = Path(__file__).parents[2] / "examples" / "bots"
FULL = RealtimeConfig(
    instructions="You are a door-keeper.",
    voice="marin",
    language="pt",
    transcription_model="gpt-4o-mini-transcribe",
    greeting="Greet the visitor.",
    tools=tuple(tool_schema(name) for name in TOOLS),
    noise_reduction="near_field",
)
AGREED = json.dumps({"type": "session.updated", "session": {"type": "realtime"}})


def everything_sent() -> list[str]:
    """Each kind of message that we send, in each form that it has."""
    sent = []
    for config in (FULL, RealtimeConfig(format=PCMU), RealtimeConfig(format=PCM, greeting=True)):
        one = RealtimeConversation(config)
        sent += one.opening()
        sent += [event.message for event in one.receive(AGREED) if isinstance(event, Reply)]
        sent.append(one.audio(bytes(160)))
        one.receive('{"type":"response.done","response":{}}')
        sent += one.digit("5")
        one.receive('{"type":"response.done","response":{}}')
        sent += one.truncated("item_1", 240)
        sent += one.result("call_1", "", {"state": "ringing"})
        sent += one.result("call_2", "there is no other leg in this call", {})
    return [message for message in sent if isinstance(message, str)]


def test_what_we_send_is_what_openai_takes(bot_python: Path) -> None:
    sent = everything_sent()
    done = subprocess.run(
        [str(bot_python), str(HERE / "openai_types.py"), str(EXAMPLES)],
        input="\n".join(sent),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == (f"{len(sent)} checked\n", 0), done.stderr[-2000:]
