"""The Twilio Media Streams dialect, our side: the one Twilio has towards a bot's WebSocket server.

Source: twilio.com/docs/voice/media-streams/websocket-messages. All messages are text, one JSON object each.
``sequenceNumber``, ``chunk`` and ``timestamp`` are texts, ``sampleRate`` and ``channels`` numbers.
``x-command``, ``x-result`` and ``x-leg`` are ours; only a bot that sent a command is sent the latter two.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from audiosocket.bots.events import (
    AudioFormat,
    BotEvent,
    Clear,
    CommandRequested,
    Ignored,
    MarkRequested,
    Message,
    Ready,
    Speech,
)
from audiosocket.bots.json_text import (
    decode_base64,
    decode_plain_base64,
    dump,
    encode_base64,
    inner,
    read_object,
    text_of,
)

FORMAT = AudioFormat("pcmu", 8000)
_SPEECH_RATE = FORMAT.rate
#: Media as nearly all bots write it: reading it as JSON costs four times as much.
_MEDIA = re.compile(
    r'\{"event": ?"media", ?"streamSid": ?"([^"\\]*)", ?"media": ?\{"payload": ?"([A-Za-z0-9+/=]*)"\}\}', re.ASCII
)
#: What follows the audio in such a message.
_MEDIA_END = '"}}'
_NOT_ARGUMENTS = frozenset({"event", "id", "command", "streamSid"})


@dataclass(frozen=True)
class StreamIds:
    """Twilio's names of the account, the call and the stream."""

    account: str
    call: str
    stream: str


def stream_ids(call_id: UUID, tenant: str, *, resident: bool, stream: UUID | None = None) -> StreamIds:
    """The names for one leg. The visitor's ``callSid`` contains the UUID, the resident's is derived from it."""
    leg = uuid5(call_id, "leg-2") if resident else call_id
    account = uuid5(NAMESPACE_URL, f"tenant:{tenant}")
    return StreamIds(f"AC{account.hex}", f"CA{leg.hex}", f"MZ{(stream or uuid4()).hex}")


def signature(token: str, url: str) -> str:
    """The value of ``X-Twilio-Signature`` for a WebSocket: base64 of the HMAC-SHA1 of the whole URL."""
    return base64.b64encode(hmac.new(token.encode(), url.encode(), hashlib.sha1).digest()).decode("ascii")


class TwilioStream:
    """One stream. ``parameters`` become ``customParameters``, whose values are texts."""

    has_flow_control = False

    def __init__(self, ids: StreamIds, parameters: Mapping[str, str]) -> None:
        self._ids = ids
        self._parameters = dict(parameters)
        self._sid = dump(ids.stream)
        self._sequence = 0
        self._chunk = 0
        self._samples = 0
        #: What comes before the audio in messages of this bot that match `_MEDIA`; empty before the first one.
        self._media_begin = ""
        #: The bot knows our own messages: it has sent a command.
        self.extended = False

    def opening(self) -> list[Message]:
        start = {
            "accountSid": self._ids.account,
            "streamSid": self._ids.stream,
            "callSid": self._ids.call,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": FORMAT.rate, "channels": 1},
            "customParameters": self._parameters,
        }
        connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        return [dump(connected), self._numbered("start", start=start)]

    def ready(self) -> Ready | None:
        return Ready(FORMAT)

    def audio(self, payload: bytes) -> Message:
        self._sequence += 1
        self._chunk += 1
        at_ms = self._samples * 1000 // _SPEECH_RATE
        self._samples += len(payload)
        return (
            f'{{"event":"media","sequenceNumber":"{self._sequence}","media":{{"track":"inbound",'
            f'"chunk":"{self._chunk}","timestamp":"{at_ms}","payload":"{encode_base64(payload)}"}},'
            f'"streamSid":{self._sid}}}'
        )

    def digit(self, digit: str) -> list[Message]:
        return [self._numbered("dtmf", dtmf={"track": "inbound_track", "digit": digit})]

    def mark_played(self, name: str) -> list[Message]:
        return [self._numbered("mark", mark={"name": name})]

    def closing(self) -> list[Message]:
        return [self._numbered("stop", stop={"accountSid": self._ids.account, "callSid": self._ids.call})]

    def result(self, command_id: str, error: str, values: Mapping[str, Any]) -> list[Message]:
        answer: dict[str, Any] = {"event": "x-result", "id": command_id, "ok": not error, **values}
        if error:
            answer["error"] = error
        return [dump({**answer, "streamSid": self._ids.stream})]

    def notice(self, fields: Mapping[str, Any]) -> list[Message]:
        """News of the call, such as the other leg; nothing for a bot that does not know of them."""
        if not self.extended:
            return []
        return [dump({**fields, "event": "x-leg", "streamSid": self._ids.stream})]

    def truncated(self, item: str, heard_ms: int) -> list[Message]:
        return []

    def drained(self) -> list[Message]:
        return []

    def status(self, queued_ms: int, paused: bool) -> list[Message]:
        return []

    def pressure(self, queued_ms: int) -> list[Message]:
        return []

    def _numbered(self, event: str, **fields: Any) -> str:
        self._sequence += 1
        return dump(
            {
                "event": event,
                "sequenceNumber": str(self._sequence),
                **fields,
                "streamSid": self._ids.stream,
            }
        )

    def receive(self, message: Message) -> list[BotEvent]:
        if isinstance(message, str):
            payload = self._plain_media(message)
            if payload is not None:
                return [Speech(payload, FORMAT)]
        found = read_object(message)
        if found is None:
            return [Ignored("a message that is no JSON object in a text frame")]
        event = found.get("event")
        if found.get("streamSid", self._ids.stream) != self._ids.stream:
            return [Ignored("a message for another streamSid")]
        if event == "media":
            payload = decode_base64(inner(found, "media").get("payload"))
            return [Ignored("media without base64 audio")] if payload is None else [Speech(payload, FORMAT)]
        if event == "mark":
            return [MarkRequested(text_of(inner(found, "mark"), "name"))]
        if event == "clear":
            return [Clear(marks_returned=True)]
        if event == "x-command":
            self.extended = True
            arguments = {name: value for name, value in found.items() if name not in _NOT_ARGUMENTS}
            return [CommandRequested(text_of(found, "id"), text_of(found, "command"), arguments)]
        return [Ignored("an unknown event")]

    def _plain_media(self, message: str) -> bytes | None:
        """Return the audio of a message that is written as nearly all are; None for all others."""
        begin = self._media_begin
        if begin and message.startswith(begin) and message.endswith(_MEDIA_END):
            audio = message[len(begin) : -len(_MEDIA_END)]
            if len(message) == len(begin) + len(audio) + len(_MEDIA_END):
                payload = decode_plain_base64(audio)
                if payload is not None:
                    return payload
        plain = _MEDIA.fullmatch(message)
        if plain is None or plain[1] != self._ids.stream:
            return None
        self._media_begin = message[: plain.start(2)]
        return decode_base64(plain[2])
