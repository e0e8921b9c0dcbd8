"""Holds messages against the types of OpenAI's own package. Run with an interpreter that has it, see conftest.

Reads one JSON line for each message that our server sends, prints one for each that is wrong, those of
``fake_realtime.py`` in the directory that is the argument included.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any

realtime: Any = importlib.import_module("openai.types.realtime")
pydantic: Any = importlib.import_module("pydantic")


def unknown(value: Any, path: str = "") -> Iterator[str]:
    """Yield the fields that the types do not know: they accept any."""
    if isinstance(value, pydantic.BaseModel):
        for name in value.model_extra or {}:
            yield f"{path}.{name} is unknown"
        for name in value.model_fields_set & set(type(value).model_fields):
            yield from unknown(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for one in value:
            yield from unknown(one, path)


def problems(kind: str, message: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a message of this union of types."""
    try:
        found = pydantic.TypeAdapter(getattr(realtime, kind)).validate_python(message)
    except pydantic.ValidationError as error:
        by_type: dict[object, list[str]] = {}
        for one in error.errors():
            by_type.setdefault(one["loc"][0], []).append(f"{one['loc']} {one['msg']}")
        yield f"{message['type']}: {min(by_type.values(), key=len)}"
        return
    if found.type != message["type"]:
        yield f"{message} was taken for {found.type}"
    for problem in unknown(found):
        yield f"{message['type']}: {problem}"


class Sink:
    """The socket of the fake server."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def __aiter__(self) -> Sink:
        return self

    async def __anext__(self) -> str:
        raise StopAsyncIteration


def of_fake_server(directory: str) -> list[dict[str, Any]]:
    """What the example server says when it greets, and when a caller speaks and stops."""
    sys.path.insert(0, directory)
    sink = Sink()
    conversation = importlib.import_module("fake_realtime").Conversation(sink)

    async def talk() -> None:
        await conversation.run()
        await conversation.hear(b"\x0f" * 160)
        for _ in range(30):
            await conversation.hear(b"\xff" * 160)

    asyncio.run(talk())
    return sink.sent


def main() -> None:
    checked = 0
    for line in sys.stdin:
        checked += 1
        for problem in problems("RealtimeClientEvent", json.loads(line)):
            print("client:", problem)
    said = of_fake_server(sys.argv[1])
    assert {"session.created", "response.done", "input_audio_buffer.speech_started"} <= {
        one["type"] for one in said
    }
    for message in said:
        for problem in problems("RealtimeServerEvent", message):
            print("server:", problem)
    print(f"{checked} checked")


if __name__ == "__main__":
    main()
