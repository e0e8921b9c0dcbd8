"""The OpenAI Realtime dialect: shapes of the GA protocol, and servers that differ from it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.bots.events import (
    AudioFormat,
    BargeIn,
    CommandRequested,
    Ignored,
    Ready,
    Reply,
    Speech,
    Transcript,
)
from audiosocket.bots.openai_realtime import PCM, PCMU, RealtimeConfig, RealtimeConversation

TOOL = {"type": "function", "name": "call_resident", "parameters": {"type": "object", "properties": {}}}


def conversation(**config: Any) -> RealtimeConversation:
    return RealtimeConversation(RealtimeConfig(**config))


def sent(message: Any) -> dict[str, Any]:
    assert isinstance(message, str)
    found: dict[str, Any] = json.loads(message)
    return found


def agreed(**config: Any) -> RealtimeConversation:
    one = conversation(**config)
    one.opening()
    one.receive('{"type":"session.updated","session":{}}')
    return one


def updated(encoding: str, **more: Any) -> str:
    audio = {"format": {"type": encoding, **more}}
    return json.dumps({"type": "session.updated", "session": {"audio": {"input": audio, "output": audio}}})


def test_the_session_update_has_the_shape_of_the_ga_protocol() -> None:
    one = conversation(
        instructions="Be brief.",
        voice="marin",
        language="pt",
        transcription_model="gpt-4o-mini-transcribe",
        noise_reduction="near_field",
        tools=(TOOL,),
    )
    (update,) = map(sent, one.opening())
    assert update == {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": "Be brief.",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": 0.5,
                        "prefix_padding_ms": 300,
                        "silence_duration_ms": 500,
                        "create_response": True,
                        "interrupt_response": True,
                    },
                    "noise_reduction": {"type": "near_field"},
                    "transcription": {"model": "gpt-4o-mini-transcribe", "language": "pt"},
                },
                "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
            },
            "tools": [TOOL],
        },
    }


def test_pcm_is_asked_for_at_24_khz() -> None:
    (update,) = map(sent, conversation(format=PCM).opening())
    assert update["session"]["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24_000}


def test_no_audio_is_sent_before_the_server_has_answered() -> None:
    one = conversation()
    one.opening()
    assert one.ready() is None
    assert one.receive('{"type":"session.created","session":{}}') == []
    assert one.receive(updated("audio/pcmu")) == [Ready(PCMU)]


def test_a_server_that_refuses_g711_is_asked_for_pcm() -> None:
    one = conversation()
    one.opening()
    (again,) = one.receive('{"type":"error","error":{"type":"invalid_request_error","message":"format"}}')
    assert isinstance(again, Reply)
    assert sent(again.message)["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
    assert one.receive(updated("audio/pcm", rate=24_000)) == [Ready(PCM)]
    assert one.receive(delta(b"\x01\x02")) == [Speech(b"\x01\x02", PCM, "item_1")]


def created(found: Any) -> str:
    audio = {"format": found}
    return json.dumps({"type": "session.created", "session": {"audio": {"input": audio, "output": audio}}})


def test_a_server_that_names_no_format_is_asked_for_pcm() -> None:
    """``speech-to-speech`` 1.1 confirms any format, and sends 16-bit samples whatever it has confirmed."""
    one = conversation(greeting=True)
    one.opening()
    (again,) = one.receive(created(None))
    assert isinstance(again, Reply)
    assert sent(again.message)["session"]["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert one.receive(updated("audio/pcmu")) == [], "the answer to what was asked first"
    ready, greeting = one.receive(updated("audio/pcm", rate=24000))
    assert ready == Ready(PCM)
    assert isinstance(greeting, Reply)


def test_of_two_settings_the_first_may_be_refused() -> None:
    one = conversation()
    one.opening()
    one.receive(created(None))
    assert one.receive('{"type":"error","error":{"message":"no such format"}}') == []
    assert one.receive(updated("audio/pcm", rate=24000)) == [Ready(PCM)]


@pytest.mark.parametrize("found", [{"type": "audio/pcm", "rate": 24000}, "pcm16"])
def test_a_server_that_names_its_format_is_asked_once(found: Any) -> None:
    one = conversation()
    one.opening()
    assert one.receive(created(found)) == []
    assert one.receive('{"type":"session.created","session":{"audio":{}}}') == []
    assert one.receive(updated("audio/pcmu")) == [Ready(PCMU)]
    assert one.receive(created(None)) == [], "it is settled"


def test_a_format_that_the_operator_has_set_is_asked_for_once() -> None:
    one = conversation(format=PCMU)
    one.opening()
    assert one.receive(created(None)) == []
    assert one.receive(updated("audio/pcmu")) == [Ready(PCMU)]


def test_a_server_that_keeps_a_format_of_its_own_is_followed() -> None:
    one = conversation()
    one.opening()
    assert one.receive(updated("audio/pcm", rate=16_000)) == [Ready(AudioFormat("slin", 16_000))]
    assert one.receive(delta(b"\x01\x02")) == [Speech(b"\x01\x02", AudioFormat("slin", 16_000), "item_1")]


def test_a_server_of_the_protocol_before_ga_is_followed() -> None:
    one = conversation()
    one.opening()
    session = {"input_audio_format": "pcm16", "output_audio_format": "g711_ulaw"}
    assert one.receive(json.dumps({"type": "session.updated", "session": session})) == [Ready(PCM)]
    assert one.receive(delta(b"\xff", "response.audio.delta")) == [Speech(b"\xff", PCMU, "item_1")]


def test_the_second_error_before_the_agreement_is_only_reported() -> None:
    one = conversation(format=PCM)
    one.opening()
    (event,) = one.receive('{"type":"error","error":{"code":"nope","message":"no"}}')
    assert event == Ignored("error nope: no")


def delta(payload: bytes, kind: str = "response.output_audio.delta", item: str = "item_1") -> str:
    audio = base64.b64encode(payload).decode()
    return json.dumps({"type": kind, "item_id": item, "content_index": 0, "delta": audio})


def test_the_callers_audio() -> None:
    append = sent(conversation().audio(b"\xff" * 160))
    assert append == {"type": "input_audio_buffer.append", "audio": base64.b64encode(b"\xff" * 160).decode()}


def test_speech_started_is_a_barge_in_and_the_truncation_says_what_was_heard() -> None:
    one = agreed()
    assert one.receive('{"type":"input_audio_buffer.speech_started","audio_start_ms":5}') == [BargeIn()]
    (truncate,) = map(sent, one.truncated("item_1", 1480))
    assert truncate == {
        "type": "conversation.item.truncate",
        "item_id": "item_1",
        "content_index": 0,
        "audio_end_ms": 1480,
    }


def test_the_rest_of_a_truncated_item_is_dropped_and_the_next_item_is_not() -> None:
    one = agreed()
    one.truncated("item_1", 10)
    assert one.receive(delta(b"\x01")) == []
    assert one.receive(delta(b"\x01", item="item_2")) == [Speech(b"\x01", PCMU, "item_2")]


def test_a_greeting_is_a_response_of_its_own() -> None:
    one = conversation(greeting="Say good evening.")
    one.opening()
    ready, reply = one.receive('{"type":"session.updated","session":{}}')
    assert ready == Ready(PCMU)
    assert isinstance(reply, Reply)
    assert sent(reply.message) == {"type": "response.create", "response": {"instructions": "Say good evening."}}


def test_messages_of_other_types_are_skipped_and_those_without_one_are_noted() -> None:
    one = agreed()
    assert one.receive('{"type":"rate_limits.updated"}') == []
    assert one.receive('{"no_type":1}') == [Ignored("a message without a type")]


def test_a_second_session_updated_greets_no_more() -> None:
    one = agreed(greeting=True)
    assert one.receive('{"type":"session.updated","session":{}}') == [Ready(PCMU)]


def test_a_tool_is_a_command_and_its_answer_asks_for_a_response() -> None:
    one = agreed()
    call = {
        "type": "response.function_call_arguments.done",
        "call_id": "call_1",
        "name": "call_resident",
        "arguments": '{"apartment":"302"}',
    }
    assert one.receive(json.dumps(call)) == [CommandRequested("call_1", "call_resident", {"apartment": "302"})]
    output, create = map(sent, one.result("call_1", "", {"state": "ringing"}))
    assert output["type"] == "conversation.item.create"
    assert output["item"]["type"] == "function_call_output"
    assert output["item"]["call_id"] == "call_1"
    assert json.loads(output["item"]["output"]) == {"ok": True, "state": "ringing"}
    assert create == {"type": "response.create"}


def test_a_response_is_asked_for_only_when_the_one_before_is_done() -> None:
    one = agreed()
    one.receive('{"type":"response.created"}')
    one.receive('{"type":"response.function_call_arguments.done","call_id":"1","name":"x","arguments":"{}"}')
    assert [sent(each)["type"] for each in one.result("1", "no", {})] == ["conversation.item.create"]
    assert [sent(each)["type"] for each in one.digit("1")] == ["conversation.item.create"]
    (reply,) = one.receive('{"type":"response.done"}')
    assert reply == Reply('{"type":"response.create"}')
    assert one.receive('{"type":"response.done"}') == []


def test_several_tools_of_one_response_are_answered_before_the_next_response() -> None:
    one = agreed()
    for call in "12":
        one.receive(json.dumps({"type": "response.function_call_arguments.done", "call_id": call, "name": "x"}))
    assert [sent(each)["type"] for each in one.result("1", "", {})] == ["conversation.item.create"]
    assert [sent(each)["type"] for each in one.result("2", "", {})] == [
        "conversation.item.create",
        "response.create",
    ]


def test_arguments_that_are_no_object_are_no_arguments() -> None:
    call = {"type": "response.function_call_arguments.done", "call_id": "1", "name": "x", "arguments": "[1]"}
    assert agreed().receive(json.dumps(call)) == [CommandRequested("1", "x", {})]


def test_a_digit_is_a_message_of_the_user() -> None:
    item, create = map(sent, agreed().digit("1"))
    assert item["item"] == {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "[DTMF] 1"}],
    }
    assert create["type"] == "response.create"


@pytest.mark.parametrize("kind", ["response.output_audio_transcript.done", "response.audio_transcript.done"])
def test_transcripts(kind: str) -> None:
    one = agreed()
    assert one.receive(json.dumps({"type": kind, "transcript": "Olá"})) == [Transcript("bot", "Olá")]
    caller = {"type": "conversation.item.input_audio_transcription.completed", "transcript": "Oi"}
    assert one.receive(json.dumps(caller)) == [Transcript("caller", "Oi")]


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_no_message_makes_the_codec_fail(message: str | bytes) -> None:
    conversation().receive(message)


_KINDS = [
    "session.updated",
    "error",
    "response.output_audio.delta",
    "response.function_call_arguments.done",
    "response.output_audio_transcript.done",
    "response.done",
]
_KEYS = ["session", "audio", "input", "output", "format", "type", "rate", "error", "code", "delta", "arguments"]


@given(
    st.sampled_from(_KINDS),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.dictionaries(st.sampled_from(_KEYS), inner),
        max_leaves=10,
    ),
)
def test_no_object_makes_the_codec_fail(kind: str, found: Any) -> None:
    one = conversation()
    one.opening()
    one.receive(json.dumps({**(found if isinstance(found, dict) else {"session": found}), "type": kind}))


@pytest.mark.parametrize("arguments", ["{", "[]", "3", "[" * 100_000])
def test_arguments_that_are_no_object_are_none(arguments: str) -> None:
    call = {
        "type": "response.function_call_arguments.done",
        "name": "hang_up",
        "call_id": "c",
        "arguments": arguments,
    }
    (event,) = agreed().receive(json.dumps(call))
    assert event == CommandRequested("c", "hang_up", {})


def test_an_error_about_a_running_response_does_not_end_it() -> None:
    """The next request waits for the end of the response that the server still has."""
    one = agreed()
    one.receive('{"type":"response.created"}')
    one.receive('{"type":"error","error":{"code":"conversation_already_has_active_response","message":"busy"}}')
    assert [sent(message)["type"] for message in one.digit("5")] == ["conversation.item.create"]
    (reply,) = one.receive('{"type":"response.done"}')
    assert isinstance(reply, Reply)


def test_only_the_latest_truncated_items_are_remembered() -> None:
    one = agreed()
    for number in range(1_000):
        one.truncated(f"item_{number}", 100)
    assert one.receive(delta(b"\x01\x02", item="item_999")) == []
    assert len(one.receive(delta(b"\x01\x02", item="item_0"))) == 1
