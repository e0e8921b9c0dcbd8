"""The OpenAI Realtime dialect (GA events), the client's side; also Azure's and that of self-hosted servers.

Source: platform.openai.com/docs/api-reference/realtime-client-events and realtime-server-events. The audio
format is settled by ``session.update``: G.711 at 8 kHz where the server takes it, else PCM at 24 kHz.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audiosocket.bots.events import (
    AudioFormat,
    BargeIn,
    BotEvent,
    CommandRequested,
    Ignored,
    Message,
    Ready,
    Reply,
    Speech,
    Transcript,
)
from audiosocket.bots.json_text import decode_base64, dump, encode_base64, inner, read_object, text_of

PCMU = AudioFormat("pcmu", 8000)
PCM = AudioFormat("slin", 24_000)
_NAMES = {"pcmu": "audio/pcmu", "slin": "audio/pcm"}
#: Formats as servers report them, also in the names of the protocol before GA.
_ENCODINGS = {
    "audio/pcmu": "pcmu",
    "audio/pcma": "pcma",
    "audio/pcm": "slin",
    "g711_ulaw": "pcmu",
    "g711_alaw": "pcma",
    "pcm16": "slin",
}
_AUDIO_DELTAS = frozenset({"response.output_audio.delta", "response.audio.delta"})
_BOT_TRANSCRIPTS = frozenset({"response.output_audio_transcript.done", "response.audio_transcript.done"})
#: Items whose rest is dropped after a barge-in, as it may still be on its way.
_TRUNCATED_KEPT = 64


@dataclass(frozen=True)
class RealtimeConfig:
    """What `session.update` says. ``format`` None tries G.711 first. ``tools`` are JSON Schema functions."""

    instructions: str = ""
    voice: str = ""
    format: AudioFormat | None = None
    language: str = ""
    transcription_model: str = ""
    greeting: str | bool = ""
    tools: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    turn_detection: Mapping[str, Any] | None = None
    noise_reduction: str = ""


class RealtimeConversation:
    """One connection."""

    has_flow_control = False

    def __init__(self, config: RealtimeConfig) -> None:
        self._config = config
        self._format = config.format or PCMU
        self._may_fall_back = config.format is None
        self._output = self._format
        self._agreed = False
        #: Session updates whose answer, or refusal, is outdated: another one was sent after them.
        self._outdated = 0
        #: A response is being made: another one must not be asked for before it is done.
        self._responding = False
        self._wants_response = False
        self._truncated: dict[str, None] = {}
        self._unanswered: set[str] = set()

    def opening(self) -> list[Message]:
        return [self._session_update()]

    def ready(self) -> Ready | None:
        return None

    def audio(self, payload: bytes) -> Message:
        return f'{{"type":"input_audio_buffer.append","audio":"{encode_base64(payload)}"}}'

    def digit(self, digit: str) -> list[Message]:
        content = [{"type": "input_text", "text": f"[DTMF] {digit}"}]
        item = {"type": "message", "role": "user", "content": content}
        return [dump({"type": "conversation.item.create", "item": item}), *self._ask_for_response()]

    def truncated(self, item: str, heard_ms: int) -> list[Message]:
        self._truncated[item] = None
        if len(self._truncated) > _TRUNCATED_KEPT:
            del self._truncated[next(iter(self._truncated))]
        message = {"item_id": item, "content_index": 0, "audio_end_ms": heard_ms}
        return [dump({"type": "conversation.item.truncate", **message})]

    def result(self, command_id: str, error: str, values: Mapping[str, Any]) -> list[Message]:
        output: dict[str, Any] = {"ok": not error, **values}
        if error:
            output["error"] = error
        item = {"type": "function_call_output", "call_id": command_id, "output": dump(output)}
        answer: list[Message] = [dump({"type": "conversation.item.create", "item": item})]
        self._unanswered.discard(command_id)
        return answer + ([] if self._unanswered else self._ask_for_response())

    def mark_played(self, name: str) -> list[Message]:
        return []

    def drained(self) -> list[Message]:
        return []

    def status(self, queued_ms: int, paused: bool) -> list[Message]:
        return []

    def pressure(self, queued_ms: int) -> list[Message]:
        return []

    def closing(self) -> list[Message]:
        return []

    def _session_update(self) -> str:
        config = self._config
        wanted = self._format
        format_: dict[str, Any] = {"type": _NAMES[wanted.encoding]}
        if wanted.encoding == "slin":
            format_["rate"] = wanted.rate
        turns = config.turn_detection or {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 500,
            "create_response": True,
            "interrupt_response": True,
        }
        heard: dict[str, Any] = {"format": format_, "turn_detection": dict(turns)}
        if config.noise_reduction:
            heard["noise_reduction"] = {"type": config.noise_reduction}
        if config.transcription_model:
            language = {"language": config.language} if config.language else {}
            heard["transcription"] = {"model": config.transcription_model, **language}
        spoken: dict[str, Any] = {"format": format_}
        if config.voice:
            spoken["voice"] = config.voice
        session: dict[str, Any] = {"type": "realtime", "output_modalities": ["audio"]}
        if config.instructions:
            session["instructions"] = config.instructions
        session["audio"] = {"input": heard, "output": spoken}
        if config.tools:
            session["tools"] = [dict(tool) for tool in config.tools]
        return dump({"type": "session.update", "session": session})

    def _ask_for_response(self, response: Mapping[str, Any] | None = None) -> list[Message]:
        if self._responding:
            self._wants_response = True
            return []
        self._responding, self._wants_response = True, False
        return [dump({"type": "response.create", **({"response": response} if response else {})})]

    def receive(self, message: Message) -> list[BotEvent]:
        found = read_object(message)
        if found is None:
            return [Ignored("a message that is no JSON object in a text frame")]
        kind = text_of(found, "type")
        if kind in _AUDIO_DELTAS:
            return self._speech(found)
        if kind == "input_audio_buffer.speech_started":
            return [BargeIn()]
        if kind == "response.function_call_arguments.done":
            return self._command(found)
        if kind == "session.created":
            return self._created(inner(found, "session"))
        if kind == "session.updated":
            return self._settled(inner(found, "session"))
        if kind == "error":
            return self._error(inner(found, "error"))
        if kind == "response.created":
            self._responding = True
            return []
        if kind == "response.done":
            self._responding = False
            return [Reply(one) for one in self._ask_for_response()] if self._wants_response else []
        if kind in _BOT_TRANSCRIPTS:
            return [Transcript("bot", text_of(found, "transcript"))]
        if kind == "conversation.item.input_audio_transcription.completed":
            return [Transcript("caller", text_of(found, "transcript"))]
        return [] if kind else [Ignored("a message without a type")]

    def _speech(self, found: dict[str, Any]) -> list[BotEvent]:
        payload, item = decode_base64(found.get("delta")), text_of(found, "item_id")
        if payload is None:
            return [Ignored("an audio delta without base64 audio")]
        return [] if item in self._truncated else [Speech(payload, self._output, item)]

    def _command(self, found: dict[str, Any]) -> list[BotEvent]:
        try:
            arguments = json.loads(text_of(found, "arguments") or "{}")
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            arguments = {}
        call = text_of(found, "call_id")
        self._unanswered.add(call)
        return [CommandRequested(call, text_of(found, "name"), arguments)]

    def _created(self, session: dict[str, Any]) -> list[BotEvent]:
        """The session before our settings. A server that names no format there, as ``speech-to-speech`` does,
        knows 16-bit samples only: it confirms G.711 and sends something else.
        """
        output = inner(inner(session, "audio"), "output")
        if self._agreed or not self._may_fall_back or output.get("format", "") is not None:
            return []
        self._outdated += 1
        return self._fall_back()

    def _fall_back(self) -> list[BotEvent]:
        """Ask for PCM in place of G.711."""
        self._may_fall_back = False
        self._format = self._output = PCM
        return [Reply(self._session_update())]

    def _is_outdated(self) -> bool:
        """Take an answer to the session's settings; return whether those were replaced meanwhile."""
        outdated = self._outdated > 0
        self._outdated -= outdated
        return outdated

    def _settled(self, session: dict[str, Any]) -> list[BotEvent]:
        """The server's view of the session; it may have kept a format of its own."""
        if self._is_outdated():
            return []
        audio = inner(session, "audio")
        first = not self._agreed
        self._agreed = True
        heard = _format(inner(audio, "input").get("format") or session.get("input_audio_format"))
        said = _format(inner(audio, "output").get("format") or session.get("output_audio_format"))
        self._output = said or self._format
        greeting = [Reply(one) for one in self._greeting()] if first else []
        return [Ready(heard or self._format), *greeting]

    def _greeting(self) -> list[Message]:
        greeting = self._config.greeting
        if not greeting:
            return []
        return self._ask_for_response({"instructions": greeting} if isinstance(greeting, str) else None)

    def _error(self, error: dict[str, Any]) -> list[BotEvent]:
        if not self._agreed and self._is_outdated():
            return []
        if not self._agreed and self._may_fall_back:
            return self._fall_back()
        if text_of(error, "code") != "conversation_already_has_active_response":
            # Whatever failed may have been our response.create: the next one must not wait for its end.
            self._responding = False
        return [
            Ignored(f"error {text_of(error, 'code') or text_of(error, 'type')}: {text_of(error, 'message')[:200]}")
        ]


def _format(found: Any) -> AudioFormat | None:
    """A format as a server reports it; None for one that says nothing or is unknown."""
    name = found.get("type") if isinstance(found, dict) else found
    encoding = _ENCODINGS.get(name) if isinstance(name, str) else None
    if encoding is None:
        return None
    if encoding != "slin":
        return AudioFormat(encoding, 8000)
    rate = found.get("rate") if isinstance(found, dict) else None
    return AudioFormat("slin", rate if isinstance(rate, int) and 8000 <= rate <= 48_000 else PCM.rate)
