"""A bot's timing, with a clock moved by hand: unanswered pings, what is sent after a clear, gaps in its audio."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from audiosocket.bots.app import Twilio
from audiosocket.interfaces import AppContext
from audiosocket.media.pcm import slin_to_ulaw, tone, ulaw_to_slin
from audiosocket.testing import LegDouble, app_context
from tests.support.bot_double import FakeBot
from tests.support.in_memory import InMemoryServer
from tests.support.in_memory_bot import InMemoryBot

VOICE = ulaw_to_slin(slin_to_ulaw(tone(8000, 440, 20)))


def context(clock: Clock, bot: Any, measured: list[tuple[str, float]] | None = None) -> AppContext:
    parameters = Twilio.parse_parameters({"url": "ws://bot.example/", "fallback": "porteiro"}, Path())
    kept = [] if measured is None else measured
    return replace(
        app_context(clock),
        parameters=parameters,
        open_websocket=bot,
        measure=lambda name, value: kept.append((name, value)),
    )


def media(pcm: bytes) -> dict[str, Any]:
    return {"event": "media", "media": {"payload": base64.b64encode(slin_to_ulaw(pcm)).decode()}}


# no answer to a ping


def pass_time(leg: LegDouble, bot: InMemoryBot, seconds: float) -> None:
    for _ in range(round(seconds)):
        leg.run(1_000, lambda turn: bytes(320), 8000)
        bot.exchange()


def test_a_bot_that_answers_no_ping_for_30_s_costs_its_leg_only_and_once() -> None:
    clock = Clock()
    bot = InMemoryBot(clock)
    leg = LegDouble(clock, Twilio(context(clock, bot)))
    leg.join()
    pass_time(leg, bot, 35)
    assert bot.pings >= 2
    assert leg.handed_over == []
    bot.answers_pings = False
    pass_time(leg, bot, 19)
    assert leg.handed_over == []
    pass_time(leg, bot, 12)
    ((_, to, reason),) = leg.handed_over
    assert to == "porteiro"
    assert "no answer to a ping" in reason
    assert bot.dropped
    pass_time(leg, bot, 60)
    assert len(leg.handed_over) == 1


# clear


@pytest.mark.parametrize("phase", range(0, 20, 3))
def test_nothing_old_is_sent_after_a_clear_and_at_most_45_ms_were_sent_ahead(phase: int) -> None:
    bot = FakeBot()
    clock = Clock()
    server = InMemoryServer(lambda _: Twilio(context(clock, bot)), time=clock)
    line = server.join()
    began = server.now
    bot.socket.say(media(VOICE * 100))
    server.run(500 + phase, step=1)
    cleared = server.now
    bot.socket.say({"event": "clear"})
    server.run(300)
    old = [when for when, _, pcm in line.audio() if pcm == VOICE]
    assert max(old) <= cleared
    assert len(old) * 20 <= (cleared - began) * 1000 + 45
    assert [pcm for _, _, pcm in line.audio(cleared + 0.001)] == [bytes(320)] * len(line.audio(cleared + 0.001))


# figures


def test_a_gap_in_the_bots_audio_is_an_underrun_and_a_pause_between_two_utterances_is_none() -> None:
    measured: list[tuple[str, float]] = []
    bot, clock = FakeBot(), Clock()
    leg = LegDouble(clock, Twilio(context(clock, bot, measured)))
    leg.join()
    for gap_ms in (20, 220, 20, 2_020):
        bot.socket.say(media(VOICE))
        leg.run(gap_ms, lambda turn: bytes(320), 8000)
    bot.socket.say(media(VOICE))
    bot.socket.say({"event": "mark", "mark": {"name": "end"}})
    leg.run(300, lambda turn: bytes(320), 8000)
    bot.socket.say(media(VOICE * 3))
    leg.end()
    figures: Any = leg.figures["bot"]
    assert figures["underruns"] == 1
    assert [round(value) for name, value in measured if name == "bot_underrun_ms"] == [200]
    assert [round(value) for name, value in measured if name == "bot_buffer_peak_ms"] == [60]


def test_the_end_of_the_callers_speech_to_the_answer_is_measured() -> None:
    measured: list[tuple[str, float]] = []
    bot, clock = FakeBot(), Clock()
    leg = LegDouble(clock, Twilio(context(clock, bot, measured)))
    leg.join()
    speech = tone(8000, 300, 20, -10)
    leg.run(1_000, lambda turn: speech, 8000)
    leg.run(700, lambda turn: bytes(320), 8000)
    bot.socket.say(media(VOICE))
    (response,) = [value for name, value in measured if name == "bot_response_ms"]
    assert response == pytest.approx(700, abs=200)
    figures: Any = leg.figures["bot"]
    assert figures["response_ms"] == round(response, 1)


# audio that was late


def talk(count: int) -> list[bytes]:
    """Words of 200 ms with pauses of 200 ms, in frames; each frame of a word is another one."""
    sound = [ulaw_to_slin(slin_to_ulaw(tone(8000, 300 + 7 * n, 20))) for n in range(count)]
    return [sound[n] if n // 10 % 2 == 0 else bytes(320) for n in range(count)]


def spoken(leg: LegDouble) -> list[bytes]:
    return [frame.pcm for _, frame in leg.sent if any(frame.pcm)]


def test_the_delay_of_a_bot_that_was_late_goes_away_in_its_pauses() -> None:
    bot, clock = FakeBot(), Clock()
    leg = LegDouble(clock, Twilio(context(clock, bot)))
    leg.join()
    frames = talk(500)
    held: list[bytes] = []
    waiting: list[int] = []
    for n, frame in enumerate(frames):
        held.append(frame)
        if not 90 <= n < 110:  # it is late for 400 ms, and then sends all of it
            for each in held:
                bot.socket.say(media(each))
            held.clear()
        waiting.append(leg.queued_ms)
        leg.run(20, lambda turn: bytes(320), 8000)
    assert max(waiting[110:160]) >= 280
    assert max(waiting[-100:]) <= 60
    assert spoken(leg) == [frame for frame in frames if any(frame)]


@pytest.mark.parametrize(("ahead", "gap_ms"), [(10, 60), (150, 120), (150, 500)])
def test_nothing_is_left_out_of_what_a_bot_sends_ahead_of_time(ahead: int, gap_ms: int) -> None:
    """After a gap the bot sends ``ahead`` frames at once, and then goes on at the pace of speech."""
    bot, clock = FakeBot(), Clock()
    leg = LegDouble(clock, Twilio(context(clock, bot)))
    leg.join()
    frames = talk(500)
    for frame in frames[:20]:
        bot.socket.say(media(frame))
        leg.run(20, lambda turn: bytes(320), 8000)
    leg.run(gap_ms, lambda turn: bytes(320), 8000)
    for frame in frames[20 : 20 + ahead]:
        bot.socket.say(media(frame))
    for frame in frames[20 + ahead :]:
        bot.socket.say(media(frame))
        leg.run(20, lambda turn: bytes(320), 8000)
    leg.run(20 * ahead + 200, lambda turn: bytes(320), 8000)
    assert [frame.pcm for _, frame in leg.sent if frame.source == "spoken"] == frames
