"""OpenAI Realtime and chan_websocket on a leg double: what differs from the Twilio dialect."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from audiosocket.bots.app import AsteriskWs, OpenAIRealtime
from audiosocket.media.pcm import slin_to_ulaw, tone
from tests.support.bot_double import FakeBot
from tests.support.bot_leg import VOICE, Fixture

# OpenAI Realtime


def realtime(**parameters: Any) -> Fixture:
    one = Fixture(OpenAIRealtime, parameters)
    one.socket.say({"type": "session.updated", "session": {}})
    return one


def delta(pcm: bytes, item: str = "item_1") -> dict[str, Any]:
    audio = base64.b64encode(slin_to_ulaw(pcm)).decode()
    return {"type": "response.output_audio.delta", "item_id": item, "content_index": 0, "delta": audio}


def test_a_barge_in_truncates_at_the_milliseconds_that_were_heard() -> None:
    one = realtime()
    one.socket.say(delta(VOICE * 25))
    one.socket.say(delta(VOICE * 25))
    one.run(300)
    one.socket.say({"type": "input_audio_buffer.speech_started"})
    (truncate,) = one.socket.texts("conversation.item.truncate")
    assert truncate["item_id"] == "item_1"
    assert truncate["audio_end_ms"] == len(one.leg.sent_pcm()) // 16
    before = len(one.leg.sent_pcm())
    one.socket.say(delta(VOICE * 25))
    one.run(300)
    assert len(one.leg.sent_pcm()) == before, "the rest of the item is not heard"


def test_items_that_were_not_begun_are_truncated_at_zero() -> None:
    one = realtime()
    one.socket.say(delta(VOICE * 25, "one"))
    one.socket.say(delta(VOICE * 25, "two"))
    one.run(100)
    one.socket.say({"type": "input_audio_buffer.speech_started"})
    cut = [(each["item_id"], each["audio_end_ms"]) for each in one.socket.texts("conversation.item.truncate")]
    assert cut == [("one", len(one.leg.sent_pcm()) // 16), ("two", 0)]


def test_speech_over_silence_truncates_nothing() -> None:
    one = realtime()
    one.socket.say(delta(VOICE * 5))
    one.run(300)
    one.socket.say({"type": "input_audio_buffer.speech_started"})
    assert one.socket.texts("conversation.item.truncate") == []


def test_the_second_item_counts_from_its_own_beginning() -> None:
    one = realtime()
    one.socket.say(delta(VOICE * 10, "one"))
    one.run(1000)
    one.socket.say(delta(VOICE * 25, "two"))
    one.run(200)
    one.socket.say({"type": "input_audio_buffer.speech_started"})
    (truncate,) = one.socket.texts("conversation.item.truncate")
    assert (truncate["item_id"], truncate["audio_end_ms"]) == ("two", len(one.leg.sent_pcm()) // 16 - 200)


def test_audio_at_24_khz_is_truncated_in_its_own_milliseconds() -> None:
    one = Fixture(OpenAIRealtime, {"audio_format": "pcm"})
    one.socket.say({"type": "session.updated", "session": {}})
    audio = base64.b64encode(tone(24_000, 440, 1000)).decode()
    one.socket.say({"type": "response.output_audio.delta", "item_id": "i", "delta": audio})
    one.run(500)
    one.socket.say({"type": "input_audio_buffer.speech_started"})
    (truncate,) = one.socket.texts("conversation.item.truncate")
    assert truncate["audio_end_ms"] == pytest.approx(len(one.leg.sent_pcm()) / 16, abs=4)


def test_no_audio_goes_to_a_server_that_has_not_agreed_and_it_does_not_wait_for_ever() -> None:
    one = Fixture(OpenAIRealtime)
    one.run(2900)
    assert one.socket.texts("input_audio_buffer.append") == []
    one.run(200)
    assert "did not answer" in one.gave_up()


def test_the_key_is_a_bearer_token_and_azures_a_header_of_its_own() -> None:
    openai = Fixture(OpenAIRealtime, {"url": "wss://api.openai.com/v1/realtime", "api_key": "k"})
    azure = Fixture(
        OpenAIRealtime, {"url": "wss://X.OPENAI.AZURE.COM/openai/v1/realtime?api-version=1", "api_key": "k"}
    )
    assert openai.bot.opened[0].url == "wss://api.openai.com/v1/realtime?model=gpt-realtime"
    assert openai.bot.opened[0].headers == {"Authorization": "Bearer k"}
    assert azure.bot.opened[0].url.endswith("?api-version=1&model=gpt-realtime")
    assert azure.bot.opened[0].headers == {"api-key": "k"}


def test_only_the_tools_of_the_entry_may_be_used() -> None:
    one = realtime(tools=["note"])
    for call, name, arguments in (("1", "note", {"text": "x"}), ("2", "call_resident", {"numbers": ["302"]})):
        call_done = {"call_id": call, "name": name, "arguments": json.dumps(arguments)}
        one.socket.say({"type": "response.function_call_arguments.done", **call_done})
    outputs = [json.loads(each["item"]["output"]) for each in one.socket.texts("conversation.item.create")]
    assert [each["ok"] for each in outputs] == [True, False]
    assert one.leg.called_numbers == []


# chan_websocket


def media_fixture(**parameters: Any) -> Fixture:
    return Fixture(AsteriskWs, parameters)


def test_bursts_of_four_seconds_are_played_at_their_pace_and_drained_before_the_hangup() -> None:
    one = media_fixture()
    one.socket.say({"command": "START_MEDIA_BUFFERING"})
    one.socket.say(VOICE * 204 + VOICE[:220])  # 65,500 bytes
    one.socket.say({"command": "STOP_MEDIA_BUFFERING", "correlation_id": "b"})
    one.socket.say({"command": "HANGUP"})
    one.run(4060)
    assert one.leg.outcome is None
    one.run(100)
    assert one.leg.outcome == "server_hangup"
    assert one.leg.sent_pcm()[:65_500] == (VOICE * 205)[:65_500]
    (completed,) = one.socket.texts("MEDIA_BUFFERING_COMPLETED")
    assert completed["correlation_id"] == "b"


def test_a_flush_returns_no_marks() -> None:
    one = media_fixture()
    one.socket.say(VOICE * 50)
    one.socket.say({"command": "MARK_MEDIA", "correlation_id": "m"})
    one.socket.say({"command": "FLUSH_MEDIA"})
    one.run(1200)
    assert one.socket.texts("MEDIA_MARK_PROCESSED") == []
    one.socket.say({"command": "MARK_MEDIA", "correlation_id": "n"})
    one.run(40)
    assert [each["correlation_id"] for each in one.socket.texts("MEDIA_MARK_PROCESSED")] == ["n"]


def test_paused_media_waits() -> None:
    one = media_fixture()
    one.socket.say({"command": "PAUSE_MEDIA"})
    one.socket.say(VOICE * 5)
    one.run(500)
    assert one.leg.sent_pcm() == b""
    one.socket.say({"command": "GET_STATUS"})
    (status,) = one.socket.texts("STATUS")
    assert (status["queue_length"], status["media_paused"]) == (5, True)
    one.socket.say({"command": "CONTINUE_MEDIA"})
    one.run(120)
    assert one.leg.sent_pcm() == VOICE * 5


def test_a_bot_that_sends_much_is_asked_to_stop_and_to_go_on() -> None:
    one = media_fixture()
    one.socket.say(VOICE * 950)
    one.run(20)
    assert len(one.socket.texts("MEDIA_XOFF")) == 1
    one.run(3100)
    assert len(one.socket.texts("MEDIA_XON")) == 1


def test_an_empty_queue_is_reported_once_when_asked_for() -> None:
    one = media_fixture()
    one.socket.say(VOICE * 5)
    one.socket.say({"command": "REPORT_QUEUE_DRAINED"})
    one.run(60)
    assert one.socket.texts("QUEUE_DRAINED") == []
    one.run(100)
    assert len(one.socket.texts("QUEUE_DRAINED")) == 1


def test_a_wideband_leg_is_slin16() -> None:
    bot = FakeBot()
    bot.slow = True
    one = Fixture(AsteriskWs, bot=bot)
    one.run(40, hearing=bytes(640), rate=16_000)
    one.socket.accept()
    assert one.socket.texts("MEDIA_START")[0]["format"] == "slin16"
    assert one.bot.opened[0].subprotocols == ["media"]
