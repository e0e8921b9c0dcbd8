"""How the conversation with a bot ends: heard out, handed over, or given up at a limit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from audiosocket.bots.app import AsteriskWs, OpenAIRealtime
from audiosocket.interfaces import CallPolicy
from audiosocket.settings import Settings
from tests.support.bot_leg import VOICE, Fixture, Sounds

# the end


def test_a_normal_end_is_heard_out_and_then_hung_up() -> None:
    one = Fixture()
    one.media(VOICE * 50)
    one.socket.close_from_bot(1000)
    one.run(960)
    assert one.leg.outcome is None
    one.run(100)
    assert one.leg.outcome == "server_hangup"
    assert one.leg.sent_pcm() == VOICE * 50
    assert one.leg.handed_over == []
    assert one.clock.getDelayedCalls() == []


def test_what_is_heard_out_takes_ten_seconds_at_most() -> None:
    one = Fixture()
    one.media(VOICE * 1000)
    one.socket.close_from_bot(1000)
    one.run(9900)
    assert one.leg.outcome is None
    one.run(200)
    assert one.leg.outcome == "server_hangup"


def test_a_bot_that_only_listened_and_closes_ends_the_call() -> None:
    one = Fixture()
    one.run(2000)
    one.socket.close_from_bot(1000)
    one.run(40)
    assert one.leg.outcome == "server_hangup"
    assert one.leg.handed_over == []


def test_a_bot_that_closes_at_once_without_a_word_costs_the_call_nothing() -> None:
    one = Fixture()
    one.run(40)
    one.socket.close_from_bot(1000)
    assert "at once" in one.gave_up()


@pytest.mark.parametrize("code", [1001, 1006, 1009, 1011, 4000])
def test_any_other_end_hands_the_leg_over(code: int) -> None:
    one = Fixture()
    one.media(VOICE * 50)
    one.run(100)
    one.socket.close_from_bot(code, "because")
    assert "because" in one.gave_up()
    assert one.leg.queued_ms == 0
    assert one.clock.getDelayedCalls() == []


def test_a_caller_who_hangs_up_is_told_with_stop_and_a_normal_close() -> None:
    one = Fixture()
    one.run(100)
    one.leg.end("caller_hangup")
    assert one.socket.texts()[-1]["event"] == "stop"
    assert one.socket.closed_with == 1000
    assert one.clock.getDelayedCalls() == []


def test_a_replaced_bot_hears_and_says_nothing_more() -> None:
    one = Fixture()
    one.socket.close_from_bot(1011)
    sent = len(one.socket.sent)
    one.run(200)
    one.media(VOICE)
    assert len(one.socket.sent) == sent
    assert one.leg.sent_pcm() == b""


def test_a_bot_that_hangs_up_and_closes_at_once_is_not_replaced() -> None:
    one = Fixture()
    one.socket.say({"event": "x-command", "id": "1", "command": "hangup"})
    one.socket.close_from_bot(1000)
    one.run(60)
    assert one.leg.outcome == "server_hangup"
    assert one.leg.handed_over == []


def test_what_was_said_is_written_down_where_the_operator_wants_it(tmp_path: Path) -> None:
    for wanted in (True, False):
        one = Fixture(OpenAIRealtime, policy=CallPolicy(transcript=wanted), join=False)
        assert one.app.context is not None
        settings = Settings.parse({"RECORD_DIR": str(tmp_path / str(wanted))})
        one.app._context = replace(one.app.context, settings=settings, sounds=Sounds())
        one.leg.join()
        one.run(200)
        one.socket.say({"type": "session.updated", "session": {}})
        one.socket.say({"type": "conversation.item.input_audio_transcription.completed", "transcript": "Olá"})
        one.socket.say({"type": "response.output_audio_transcript.done", "transcript": "Bom dia"})
    assert not (tmp_path / "False").exists()
    until, file = sorted((tmp_path / "True").iterdir())
    assert (until.name, file.name) == (f"{one.leg.call_id}.json", f"{one.leg.call_id}.jsonl")
    assert file.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [(line["speaker"], line["text"]) for line in lines] == [("caller", "Olá"), ("bot", "Bom dia")]


# limits


def test_more_than_two_minutes_of_audio_are_too_much() -> None:
    one = Fixture()
    for _ in range(12):
        one.media(VOICE * 500)
    assert one.leg.handed_over == []
    one.media(VOICE * 30)
    assert "120 s of audio" in one.gave_up()
    assert one.socket.closed_with == 1008


def test_a_flood_of_messages_is_too_much() -> None:
    one = Fixture()
    for _ in range(6001):
        one.socket.say('{"event":"nonsense"}')
    assert "messages in a second" in one.gave_up()


def test_a_flood_that_goes_on_is_too_much() -> None:
    one = Fixture()
    for _ in range(36):
        for _ in range(1000):
            one.socket.say('{"event":"nonsense"}')
        one.run(1000)
    assert one.leg.handed_over == []
    one.socket.say('{"event":"nonsense"}')
    assert "36000 messages in a minute" in one.gave_up()


def test_marks_that_wait_are_bounded_in_number_and_length() -> None:
    one = Fixture()
    one.media(VOICE * 5000)
    for number in range(5999):
        one.mark(f"{number:01000}")
    assert one.leg.handed_over == []
    one.run(1100)
    one.mark("last")
    one.mark("too many")
    assert "6000 marks" in one.gave_up()
    other = Fixture()
    other.mark("x" * 1001)
    assert "1000 characters" in other.gave_up()


@pytest.mark.parametrize("command", ["GET_STATUS", "REPORT_QUEUE_DRAINED"])
def test_questions_about_the_queue_are_bounded(command: str) -> None:
    one = Fixture(AsteriskWs)
    for _ in range(200):
        one.socket.say({"command": command})
    assert one.leg.handed_over == []
    one.socket.say({"command": command})
    assert "200 questions" in one.gave_up()


def test_the_name_of_an_item_is_bounded() -> None:
    one = Fixture(OpenAIRealtime)
    one.socket.say({"type": "session.updated", "session": {}})
    one.socket.say({"type": "response.output_audio.delta", "item_id": "i" * 1001, "delta": "fn5+"})
    assert "1000 characters" in one.gave_up()


def test_a_bot_that_does_not_read_is_given_up() -> None:
    one = Fixture()
    one.socket.queued_bytes = 1_000_001
    one.run(20)
    assert "does not read" in one.gave_up()


def test_rubbish_is_ignored_and_logged_once() -> None:
    one = Fixture()
    for message in (b"\x00", "{", '{"event":"media","media":{"payload":"%%%"}}', "[]"):
        one.socket.say(message)
    one.media(VOICE)
    one.run(40)
    assert one.leg.sent_pcm() == VOICE
    assert one.leg.handed_over == []
