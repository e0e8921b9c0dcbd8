"""The Twilio dialect: the shapes of its documentation, and what real bots send."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from uuid import UUID

from hypothesis import example, given
from hypothesis import strategies as st

from audiosocket.bots.events import Clear, CommandRequested, Ignored, MarkRequested, Ready, Speech
from audiosocket.bots.twilio import FORMAT, StreamIds, TwilioStream, signature, stream_ids

CALL = UUID("0b1c2d3e-4f50-4162-8384-95a6b7c8d9e0")
IDS = StreamIds("AC" + "0" * 32, "CA" + "1" * 32, "MZ" + "2" * 32)


def stream(**parameters: str) -> TwilioStream:
    return TwilioStream(IDS, parameters)


def sent(message: Any) -> dict[str, Any]:
    assert isinstance(message, str)
    found: dict[str, Any] = json.loads(message)
    return found


def test_the_opening_is_connected_and_start_as_twilio_documents_them() -> None:
    connected, start = map(sent, stream(k="v").opening())
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "start": {
            "accountSid": IDS.account,
            "streamSid": IDS.stream,
            "callSid": IDS.call,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"k": "v"},
        },
        "streamSid": IDS.stream,
    }


def test_the_bot_takes_audio_directly_after_the_opening() -> None:
    assert stream().ready() == Ready(FORMAT)


def test_media_is_numbered_in_texts_and_timed_by_the_stream() -> None:
    one = stream()
    one.opening()
    first, second = sent(one.audio(b"\xff" * 160)), sent(one.audio(b"\x7f" * 160))
    assert first == {
        "event": "media",
        "sequenceNumber": "2",
        "media": {
            "track": "inbound",
            "chunk": "1",
            "timestamp": "0",
            "payload": base64.b64encode(b"\xff" * 160).decode(),
        },
        "streamSid": IDS.stream,
    }
    assert second["sequenceNumber"] == "3"
    assert (second["media"]["chunk"], second["media"]["timestamp"]) == ("2", "20")


def test_sequence_numbers_count_all_messages_and_chunks_only_media() -> None:
    one = stream()
    one.opening()
    one.audio(b"\xff" * 160)
    (digit,) = map(sent, one.digit("1"))
    (mark,) = map(sent, one.mark_played("x"))
    media = sent(one.audio(b"\xff" * 160))
    (stop,) = map(sent, one.closing())
    assert digit == {
        "event": "dtmf",
        "sequenceNumber": "3",
        "dtmf": {"track": "inbound_track", "digit": "1"},
        "streamSid": IDS.stream,
    }
    assert mark == {"event": "mark", "sequenceNumber": "4", "mark": {"name": "x"}, "streamSid": IDS.stream}
    assert (media["sequenceNumber"], media["media"]["chunk"]) == ("5", "2")
    assert stop == {
        "event": "stop",
        "sequenceNumber": "6",
        "stop": {"accountSid": IDS.account, "callSid": IDS.call},
        "streamSid": IDS.stream,
    }


def test_a_payload_of_any_length_is_speech() -> None:
    payload = bytes(range(256)) * 63  # 16,000 bytes and more come in one message
    text = json.dumps(
        {"event": "media", "streamSid": IDS.stream, "media": {"payload": base64.b64encode(payload).decode()}}
    )
    assert stream().receive(text) == [Speech(payload, FORMAT)]


@given(st.binary(max_size=60), st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans())
def test_media_is_read_alike_in_whatever_order_and_spacing(
    payload: bytes, separators: tuple[str, str], ours: bool
) -> None:
    media = {"payload": base64.b64encode(payload).decode()}
    sid = IDS.stream if ours else "MZother"
    usual = {"event": "media", "streamSid": sid, "media": media}
    other = {"media": media, "streamSid": sid, "event": "media"}
    one, two = (stream().receive(json.dumps(each, separators=separators)) for each in (usual, other))
    assert one == two
    assert (one == [Speech(payload, FORMAT)]) is ours


def test_mark_and_clear() -> None:
    one = stream()
    mark = {"event": "mark", "streamSid": IDS.stream, "mark": {"name": "item_1:200:g1:m1"}}
    assert one.receive(json.dumps(mark)) == [MarkRequested("item_1:200:g1:m1")]
    assert one.receive(json.dumps({"event": "clear", "streamSid": IDS.stream})) == [Clear(marks_returned=True)]


def test_a_bot_that_sent_a_command_is_sent_notices_and_no_other() -> None:
    one = stream()
    assert one.notice({"leg": "resident"}) == []
    command = {"event": "x-command", "id": "1", "command": "dial", "to": "302"}
    assert one.receive(json.dumps(command)) == [CommandRequested("1", "dial", {"to": "302"})]
    (notice,) = map(sent, one.notice({"leg": "resident", "state": "joined"}))
    assert notice == {"event": "x-leg", "leg": "resident", "state": "joined", "streamSid": IDS.stream}


def test_the_answer_to_a_command() -> None:
    (good,) = map(sent, stream().result("1", "", {}))
    (bad,) = map(sent, stream().result("2", "not allowed", {}))
    assert (good["event"], good["id"], good["ok"]) == ("x-result", "1", True)
    assert (bad["id"], bad["ok"], bad["error"]) == ("2", False, "not allowed")


def test_messages_that_mean_nothing_are_ignored() -> None:
    one = stream()
    for message in (
        b"\x00\x01",
        "{",
        "[]",
        "null",
        '{"event":"hello"}',
        '{"event":"media","media":{"payload":5}}',
        '{"event":"media","media":[]}',
        '{"event":"clear","streamSid":"MZother"}',
        "[" * 100_000,
    ):
        (event,) = one.receive(message)
        assert isinstance(event, Ignored), message


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_no_message_makes_the_codec_fail(message: str | bytes) -> None:
    stream().receive(message)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.dictionaries(
            st.sampled_from(["event", "media", "payload", "mark", "name", "streamSid", "command", "id"]), inner
        ),
        max_leaves=8,
    )
)
def test_no_object_makes_the_codec_fail(found: Any) -> None:
    stream().receive(json.dumps(found))
    for event in ("media", "mark", "clear", "x-command"):
        if isinstance(found, dict):
            stream().receive(json.dumps({**found, "event": event}))


@given(st.binary(max_size=400))
def test_audio_survives_the_way_there_and_back(payload: bytes) -> None:
    out = sent(stream().audio(payload))
    back = json.dumps({"event": "media", "streamSid": IDS.stream, "media": {"payload": out["media"]["payload"]}})
    assert stream().receive(back) == [Speech(payload, FORMAT)]


def test_the_visitors_call_sid_contains_the_uuid_and_the_residents_is_another_one() -> None:
    visitor = stream_ids(CALL, "15", resident=False)
    resident = stream_ids(CALL, "15", resident=True)
    assert visitor.call == "CA" + CALL.hex
    assert resident.call != visitor.call
    assert stream_ids(CALL, "15", resident=True).call == resident.call
    assert visitor.stream != stream_ids(CALL, "15", resident=False).stream
    assert visitor.account == resident.account != stream_ids(CALL, "16", resident=False).account
    for name in (*vars(visitor).values(), *vars(resident).values()):
        assert len(name) == 34


def test_the_signature_is_that_of_the_whole_url() -> None:
    url = "wss://bot.example/door/15?leg=visitor"
    expected = base64.b64encode(hmac.new(b"secret", url.encode(), hashlib.sha1).digest()).decode()
    assert signature("secret", url) == expected


MEDIA = json.dumps({"event": "media", "streamSid": IDS.stream, "media": {"payload": "AQIDBAUGBw=="}})


@given(st.integers(0, len(MEDIA)), st.integers(0, len(MEDIA)), st.text(alphabet='AQ=/"}\\\n ,e', max_size=6))
@example(MEDIA.index("AQ"), len(MEDIA) - 2, "")
@example(MEDIA.index("AQ"), len(MEDIA) - 3, "")
@example(MEDIA.index("AQ"), MEDIA.index("AQ"), 'AA","x":"')
@example(MEDIA.index("=="), MEDIA.index("=="), "\n")
def test_a_message_means_the_same_after_others_and_alone(begin: int, end: int, between: str) -> None:
    """Audio that is written as in the message before is not looked at as closely as the first."""
    later = stream()
    assert later.receive(MEDIA) == [Speech(bytes(range(1, 8)), FORMAT)]
    message = MEDIA[:begin] + between + MEDIA[end:]
    assert later.receive(message) == stream().receive(message)
    assert later.receive(MEDIA) == [Speech(bytes(range(1, 8)), FORMAT)]
