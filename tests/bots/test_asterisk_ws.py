"""Asterisk's chan_websocket dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.bots.asterisk_ws import AsteriskMedia, MediaStart
from audiosocket.bots.events import (
    AudioFormat,
    BotEvent,
    Clear,
    DrainRequested,
    HangUp,
    Ignored,
    MarkRequested,
    Pause,
    Ready,
    Speech,
    StatusRequested,
)


def media(rate: int = 8000) -> AsteriskMedia:
    return AsteriskMedia(MediaStart("the-uuid", "AudioSocket/door", "1.2", rate, {"CALL_UUID": "the-uuid"}))


def sent(message: Any) -> dict[str, Any]:
    assert isinstance(message, str)
    found: dict[str, Any] = json.loads(message)
    return found


@pytest.mark.parametrize(("rate", "name", "size"), [(8000, "slin", 320), (16000, "slin16", 640)])
def test_media_start_names_the_format(rate: int, name: str, size: int) -> None:
    (start,) = map(sent, media(rate).opening())
    assert start == {
        "event": "MEDIA_START",
        "connection_id": "the-uuid",
        "channel": "AudioSocket/door",
        "channel_id": "1.2",
        "format": name,
        "optimal_frame_size": size,
        "ptime": 20,
        "channel_variables": {"CALL_UUID": "the-uuid"},
    }
    assert media(rate).ready() == Ready(AudioFormat("slin", rate))


def test_audio_is_binary_both_ways() -> None:
    assert media().audio(b"\x01\x02") == b"\x01\x02"
    burst = bytes(65_500)  # what pipecat-asterisk sends at once
    assert media().receive(burst) == [Speech(burst, AudioFormat("slin", 8000))]


def test_a_digit() -> None:
    (digit,) = map(sent, media().digit("#"))
    assert digit == {"event": "DTMF_END", "channel_id": "1.2", "digit": "#"}


@pytest.mark.parametrize(
    ("command", "events"),
    [
        ("ANSWER", []),
        ("SET_MEDIA_DIRECTION", []),
        ("HANGUP", [HangUp()]),
        ("FLUSH_MEDIA", [Clear(marks_returned=False), Pause(False)]),
        ("PAUSE_MEDIA", [Pause(True)]),
        ("CONTINUE_MEDIA", [Pause(False)]),
        ("GET_STATUS", [StatusRequested()]),
        ("REPORT_QUEUE_DRAINED", [DrainRequested()]),
        ("START_MEDIA_BUFFERING", []),
        ("hangup", [Ignored("an unknown command")]),
    ],
)
def test_commands(command: str, events: list[BotEvent]) -> None:
    assert media().receive(json.dumps({"command": command})) == events


def test_marks_and_the_end_of_a_buffer_are_reported_by_their_own_events() -> None:
    one = media()
    (mark,) = one.receive('{"command":"MARK_MEDIA","correlation_id":"m1"}')
    (stop,) = one.receive('{"command":"STOP_MEDIA_BUFFERING","correlation_id":"b1"}')
    assert isinstance(mark, MarkRequested)
    assert isinstance(stop, MarkRequested)
    (processed,) = map(sent, one.mark_played(mark.name))
    (completed,) = map(sent, one.mark_played(stop.name))
    assert processed == {"event": "MEDIA_MARK_PROCESSED", "channel_id": "1.2", "correlation_id": "m1"}
    assert completed == {"event": "MEDIA_BUFFERING_COMPLETED", "channel_id": "1.2", "correlation_id": "b1"}


def test_a_mark_without_a_correlation_id_is_reported_without_one() -> None:
    (mark,) = media().receive('{"command":"MARK_MEDIA"}')
    assert isinstance(mark, MarkRequested)
    (processed,) = map(sent, media().mark_played(mark.name))
    assert processed == {"event": "MEDIA_MARK_PROCESSED", "channel_id": "1.2"}


def test_flow_control_has_a_high_and_a_low_level() -> None:
    one = media()
    assert one.pressure(900 * 20) == []
    assert [sent(each)["event"] for each in one.pressure(901 * 20)] == ["MEDIA_XOFF"]
    assert one.pressure(950 * 20) == []
    assert one.pressure(800 * 20) == []
    assert [sent(each)["event"] for each in one.pressure(799 * 20)] == ["MEDIA_XON"]
    assert one.pressure(0) == []


def test_status_and_drained() -> None:
    (status,) = map(sent, media().status(400, True))
    assert status == {
        "event": "STATUS",
        "channel_id": "1.2",
        "queue_length": 20,
        "xon_level": 800,
        "xoff_level": 900,
        "queue_full": False,
        "bulk_media": False,
        "media_paused": True,
    }
    assert [sent(each)["event"] for each in media().drained()] == ["QUEUE_DRAINED"]


@given(st.text(max_size=200))
def test_no_text_makes_the_codec_fail(text: str) -> None:
    media().receive(text)
    media().receive(json.dumps({"command": text}))
