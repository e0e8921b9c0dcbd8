"""The bot apps on a leg double: connecting, audio, marks and clear, the hold prompt, figures."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audiosocket.interfaces import CallPolicy
from audiosocket.media.pcm import slin_to_ulaw, tone
from audiosocket.outbound.websocket_interface import WebSocketFailed, WebSocketRefused
from tests.support.bot_double import FakeBot
from tests.support.bot_leg import CALLER, VOICE, Fixture, Sounds

# connecting


def test_the_url_and_headers_are_those_of_the_call() -> None:
    one = Fixture(parameters={"headers": {"Authorization": "Bearer x"}, "signature_token": "secret"})
    (opened,) = one.bot.opened
    assert opened.url == "ws://bot.example/0?leg=visitor"
    assert opened.headers["Authorization"] == "Bearer x"
    assert opened.headers["X-Twilio-Signature"]
    assert (opened.limits.message_bytes, opened.limits.connect_seconds) == (1_000_000, 3.0)


def test_the_bot_is_told_which_call_it_is() -> None:
    one = Fixture(parameters={"parameters": {"language": "pt-BR"}}, join=False)
    one.leg.caller = CALLER
    one.leg.join()
    connected, start = one.socket.texts()
    assert connected["event"] == "connected"
    assert start["start"]["customParameters"] == {
        "call_uuid": str(one.leg.call_id),
        "leg": "visitor",
        "extension": "1000",
        "tenant": "0",
        "from_number": "5511",
        "to_number": "1001",
        "language": "pt-BR",
    }


def test_a_bot_that_is_not_there_is_tried_for_a_while_and_then_the_fallback_takes_over() -> None:
    bot = FakeBot()
    bot.problem = lambda: WebSocketFailed("ws://bot.example: no connection: refused")
    one = Fixture(bot=bot)
    one.run(2400)
    assert one.leg.handed_over == []
    assert set(one.leg.sources()) == {"silence"}
    one.run(300)
    assert "no connection: refused" in one.gave_up()
    assert len(bot.opened) == 11
    one.run(1000)
    assert len(bot.opened) == 11


def test_a_bot_that_comes_within_that_time_gets_the_call() -> None:
    bot = FakeBot()
    bot.problem = lambda: WebSocketFailed("refused") if len(bot.opened) < 4 else None
    one = Fixture(bot=bot)
    one.run(1000)
    assert one.leg.handed_over == []
    ((event, fields),) = one.leg.notes
    assert (event, fields["attempts"]) == ("bot.connected", 4)


@pytest.mark.parametrize(("status", "attempts"), [(301, 1), (401, 1), (404, 1), (503, 11), (429, 11)])
def test_a_refusal_for_good_is_not_repeated(status: int, attempts: int) -> None:
    bot = FakeBot()
    bot.problem = lambda: WebSocketRefused(f"HTTP {status}", status)
    one = Fixture(bot=bot)
    one.run(3000)
    assert one.gave_up() == f"HTTP {status}"
    assert len(bot.opened) == attempts


def test_a_caller_who_leaves_while_it_connects_leaves_nothing_behind() -> None:
    bot = FakeBot()
    bot.slow = True
    one = Fixture(bot=bot)
    one.run(100)
    one.leg.end("caller_hangup")
    assert one.leg.handed_over == []
    assert one.clock.getDelayedCalls() == []
    bot.slow, bot.problem = False, lambda: WebSocketFailed("no")
    other = Fixture(bot=bot)
    other.leg.end("caller_hangup")
    assert other.clock.getDelayedCalls() == []
    assert other.leg.handed_over == []


def test_without_a_fallback_the_leg_is_hung_up() -> None:
    bot = FakeBot()
    bot.problem = lambda: WebSocketRefused("HTTP 403", 403)
    one = Fixture(parameters={"fallback": ""}, bot=bot)
    assert one.leg.outcome == "server_hangup"
    assert one.leg.notes == [("bot.ended", {"reason": "HTTP 403"})]


# audio


def test_the_caller_is_sent_in_20_ms_pieces_silence_too() -> None:
    one = Fixture()
    one.run(60, hearing=VOICE)
    one.run(40)
    media = one.socket.texts("media")
    assert [base64.b64decode(each["media"]["payload"]) for each in media] == [slin_to_ulaw(VOICE)] * 3 + [
        slin_to_ulaw(bytes(320))
    ] * 2


def test_a_caller_who_sends_nothing_is_silent_and_the_stream_goes_on() -> None:
    one = Fixture()
    one.leg.run(1000)
    media = one.socket.texts("media")
    assert 45 <= len(media) <= 50
    assert {each["media"]["payload"] for each in media} == {base64.b64encode(b"\xff" * 160).decode()}


def test_a_caller_at_16_khz_is_sent_at_8() -> None:
    one = Fixture()
    one.run(400, hearing=tone(16_000, 440, 20), rate=16_000)
    media = one.socket.texts("media")
    total = sum(len(base64.b64decode(each["media"]["payload"])) for each in media)
    assert 3200 - 40 <= total <= 3200


def test_what_the_bot_says_is_heard() -> None:
    one = Fixture()
    one.media(VOICE * 100)
    one.run(2020)
    assert one.leg.sent_pcm() == VOICE * 100


def test_less_than_a_frame_is_heard_in_the_end() -> None:
    one = Fixture()
    one.media(VOICE[:200])
    one.run(200)
    assert one.leg.sent_pcm()[:200] == VOICE[:200]


def test_a_digit_is_passed_on() -> None:
    one = Fixture()
    one.leg.press("5")
    (digit,) = one.socket.texts("dtmf")
    assert digit["dtmf"]["digit"] == "5"


# marks and clear


def test_a_mark_comes_back_when_its_audio_has_been_heard() -> None:
    one = Fixture()
    one.media(VOICE * 10)
    one.mark("a")
    one.media(VOICE * 10)
    one.mark("b")
    one.run(160)
    assert one.marks() == []
    one.run(60)
    assert one.marks() == ["a"]
    one.run(220)
    assert one.marks() == ["a", "b"]


def test_a_mark_without_audio_comes_back_at_once() -> None:
    one = Fixture()
    one.mark("a")
    one.run(20)
    assert one.marks() == ["a"]


def test_clear_returns_all_marks_at_once_in_order_and_nothing_old_is_heard() -> None:
    one = Fixture()
    for name in "abc":
        one.media(VOICE * 50)
        one.mark(name)
    one.run(200)
    one.socket.say({"event": "clear"})
    assert one.marks() == ["a", "b", "c"]
    heard = len(one.leg.sent)
    one.run(200)
    assert {frame.source for _, frame in one.leg.sent[heard:]} == {"silence"}
    assert one.marks() == ["a", "b", "c"], "each of them once"


def test_audio_after_clear_belongs_to_the_next_utterance() -> None:
    one = Fixture()
    one.media(VOICE * 50)
    one.socket.say({"event": "clear"})
    one.media(VOICE * 2)
    one.mark("next")
    one.run(100)
    assert one.leg.sent_pcm().endswith(VOICE * 2)
    assert one.marks() == ["next"]


def test_two_marks_of_one_name_come_back_twice() -> None:
    one = Fixture()
    one.mark("a")
    one.mark("a")
    one.run(20)
    assert one.marks() == ["a", "a"]


# the hold prompt


def test_the_hold_prompt_is_heard_until_the_bot_speaks(tmp_path: Path) -> None:
    (tmp_path / "hold.wav").write_bytes(b"")
    bot = FakeBot()
    bot.slow = True
    one = Fixture(parameters={"hold_file": str(tmp_path / "hold.wav")}, bot=bot, join=False)
    assert one.app.context is not None
    one.app._context = replace(one.app.context, sounds=Sounds())
    one.leg.join()
    one.run(500)
    assert one.leg.sent_pcm().count(b"\7\7") > 3000
    one.socket.accept()
    one.run(200)
    before = len(one.leg.sent_pcm())
    one.media(VOICE * 5)
    one.run(200)
    assert one.leg.sent_pcm()[before:].lstrip(b"\7") in {VOICE * 5, VOICE * 5}
    assert one.leg.queued_ms == 0


@pytest.mark.parametrize("policy", [CallPolicy(record=True), CallPolicy(transcript=True)])
def test_a_caller_is_told_of_the_recording_before_the_bot_speaks(policy: CallPolicy) -> None:
    one = Fixture(policy=policy, join=False)
    assert one.app.context is not None
    one.app._context = replace(one.app.context, sounds=Sounds())
    one.leg.join()
    one.run(60)
    assert one.bot.sockets == []
    one.leg.resume()
    one.run(100)
    assert one.leg.sent_pcm().count(b"\7\7") == 800, "once"
    one.media(VOICE * 5)
    one.run(200)
    assert one.leg.sent_pcm().endswith(VOICE * 5)
    gone = Fixture(policy=policy, join=False)
    gone.app._context = one.app._context
    gone.leg.join()
    gone.leg.end()
    gone.run(200)
    assert gone.bot.sockets == []


@pytest.mark.parametrize(
    ("state", "said"), [({"told": True}, 0), (None, 800), ("rubbish", 800), ({"told": 1}, 800)]
)
def test_the_notice_is_not_said_again_after_a_restart(state: Any, said: int) -> None:
    before = Fixture(policy=CallPolicy(record=True), join=False)
    assert before.app.context is not None
    before.app._context = replace(before.app.context, sounds=Sounds())
    before.leg.join()
    before.run(60)
    assert before.leg.remembered == []
    before.run(100)
    assert before.leg.remembered == [(before.app, {"told": True})]
    after = Fixture(policy=CallPolicy(record=True), join=False)
    after.app._context = before.app._context
    after.leg.resume_after_restart(state)
    after.run(200)
    assert after.leg.sent_pcm().count(b"\7\7") == said
    assert len(before.bot.sockets) == 2, "one of each, on the bot that both have"


# figures


def test_latencies_are_measured_and_shown() -> None:
    one = Fixture()
    one.media(VOICE * 5)
    one.run(40)
    one.socket.say({"event": "clear"})
    assert one.measured == ["bot_connect_ms", "bot_first_audio_ms", "bot_clear_ms"]
    figures: Any = one.leg.figures["bot"]
    assert figures["clears"] == 1
    assert figures["buffer_peak_ms"] == 100
    assert figures["clear_ms"] <= 40
