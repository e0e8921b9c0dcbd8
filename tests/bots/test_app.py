"""The bot apps on a leg double: connecting, marks, clear, barge-in, drain, limits, fallback, commands."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from audiosocket.bots.app import AsteriskWs, BotApp, OpenAIRealtime, Twilio
from audiosocket.bots.commands import ALIASES, TOOLS
from audiosocket.control_interface import COMMAND_NAMES
from audiosocket.errors import ReturnUnavailable, TelephonyUnavailable
from audiosocket.extensions.model import Role
from audiosocket.interfaces import CallerInfo, CallPolicy, ReturnOutcome
from audiosocket.media.pcm import slin_to_ulaw, tone, ulaw_to_slin
from audiosocket.outbound.websocket_interface import WebSocketFailed, WebSocketRefused
from audiosocket.settings import Settings
from audiosocket.testing import LegDouble, app_context
from tests.support.bot_double import FakeBot, FakeSocket

VOICE = ulaw_to_slin(slin_to_ulaw(tone(8000, 440, 20)))
ALL_NUMBERS = CallPolicy(bot_may_dial=("_X.",), bot_may_transfer_to=("_X!",))
CALLER = CallerInfo("PJSIP/door-1", "1.1", "5511", "Door", "1001")


class FakeTelephony:
    def __init__(self) -> None:
        self.done: list[tuple[str, ...]] = []
        self.problem: Exception | None = None

    def redirect(self, channel: str, context: str, exten: str) -> Deferred[None]:
        return self._do("redirect", channel, context, exten)

    def play_digits(self, channel: str, digits: str) -> Deferred[None]:
        return self._do("digits", channel, digits)

    def _do(self, *what: str) -> Deferred[None]:
        if self.problem is not None:
            return fail(self.problem)
        self.done.append(what)
        return succeed(None)


class Fixture:
    """A leg with a bot app, and the bot."""

    def __init__(
        self,
        kind: type[BotApp] = Twilio,
        parameters: Mapping[str, Any] | None = None,
        *,
        policy: CallPolicy | None = None,
        telephony: FakeTelephony | None = None,
        role: Role = Role.VISITOR,
        join: bool = True,
        bot: FakeBot | None = None,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.bot = bot or FakeBot()
        self.measured: list[str] = []
        given = {"url": "ws://bot.example/{condominio}?leg={role}", "fallback": "porteiro", **(parameters or {})}
        if kind is OpenAIRealtime:
            given = {"model": "gpt-realtime", **given}
        parse: Any = kind
        context = replace(
            app_context(self.clock),
            parameters=parse.parse_parameters(given, Path()),
            policy=policy or CallPolicy(),
            open_websocket=self.bot,
            telephony=telephony,
            measure=lambda name, _: self.measured.append(name),
        )
        self.app = kind(context)
        self.leg = LegDouble(self.clock, self.app, role=role)
        if join:
            self.leg.join()

    @property
    def socket(self) -> FakeSocket:
        return self.bot.socket

    def run(self, ms: float, *, hearing: bytes = bytes(320), rate: int = 8000) -> None:
        self.leg.run(ms, lambda turn: hearing, rate)

    def media(self, pcm: bytes) -> None:
        """The bot of the Twilio dialect says something."""
        self.socket.say({"event": "media", "media": {"payload": base64.b64encode(slin_to_ulaw(pcm)).decode()}})

    def mark(self, name: str) -> None:
        self.socket.say({"event": "mark", "mark": {"name": name}})

    def marks(self) -> list[str]:
        """The marks that the bot was sent back."""
        return [one["mark"]["name"] for one in self.socket.texts("mark")]

    def command(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a command of the Twilio dialect."""
        self.socket.say({"event": "x-command", "id": "7", "command": name, **arguments})
        answer: dict[str, Any] = self.socket.texts("x-result")[-1]
        assert answer["id"] == "7"
        return answer

    def gave_up(self) -> str:
        """The reason why the leg was handed over."""
        ((app, to, reason),) = self.leg.handed_over
        assert app is self.app
        assert to == "porteiro"
        return reason


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


class Sounds:
    def get(self, path: Path, rate: int) -> Deferred[bytes]:
        return succeed(b"\7\7" * (rate // 10))


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


# commands


def test_a_bot_hangs_up_when_what_it_said_has_been_heard() -> None:
    one = Fixture()
    one.media(VOICE * 25)
    assert one.command("hangup")["ok"]
    one.run(480)
    assert one.leg.outcome is None
    one.run(100)
    assert one.leg.outcome == "server_hangup"


def test_a_bot_hangs_up_at_once_if_it_says_so() -> None:
    one = Fixture()
    one.media(VOICE * 25)
    one.socket.say({"event": "x-command", "id": "1", "command": "hangup", "drain": False})
    assert one.leg.outcome == "server_hangup"


def test_a_bot_rings_the_numbers_of_its_entry_only() -> None:
    assert "bot_may_dial" in Fixture().command("dial", to="302")["error"]
    one = Fixture(policy=CallPolicy(bot_may_dial=("_3XX",)))
    for numbers in ("402", "3021", ["302", "0900"], "302 "):
        assert "bot_may_dial" in one.command("dial", to=numbers)["error"]
    assert one.leg.called_numbers == []
    assert one.command("dial", to=["302", "303"])["ok"]
    assert one.leg.called_numbers == [["302", "303"]]


def test_a_bot_rings_residents_and_hears_how_that_ended() -> None:
    one = Fixture(policy=ALL_NUMBERS)
    assert one.command("dial", to="302")["ok"]
    assert one.leg.called_numbers == [["302"]]
    assert not one.command("dial", to="303")["ok"], "one at a time"
    assert one.command("cancel")["ok"]
    assert not one.command("cancel")["ok"]
    one.leg.end_return_call(ReturnOutcome("failed", "busy"))
    (notice,) = one.socket.texts("x-leg")
    assert (notice["leg"], notice["state"], notice["reason"]) == ("resident", "failed", "busy")


def test_without_a_backend_ringing_is_refused_with_the_reason() -> None:
    one = Fixture(policy=ALL_NUMBERS)
    one.leg.call_error = ReturnUnavailable("RETURN_BACKEND is none")
    assert one.command("dial", to="302")["error"] == "RETURN_BACKEND is none"


def test_legs_are_connected_and_separated() -> None:
    one = Fixture()
    assert not one.command("bridge")["ok"]
    one.leg.has_other = True
    assert one.command("bridge")["ok"]
    assert one.leg.connected
    assert one.command("unbridge")["ok"]
    assert not one.leg.connected


def test_a_transfer_needs_the_operators_context_the_channel_and_ami() -> None:
    telephony = FakeTelephony()
    one = Fixture(telephony=telephony)
    one.leg.identify(CALLER)
    assert "transfer_context" in one.command("transfer", to="0")["error"]
    no_list = Fixture(telephony=telephony, policy=CallPolicy(transfer_context="desk"))
    no_list.leg.identify(CALLER)
    assert "bot_may_transfer_to" in no_list.command("transfer", to="0")["error"]
    assert telephony.done == []
    policy = CallPolicy(transfer_context="desk", bot_may_transfer_to=("0", "_."))
    allowed = Fixture(telephony=telephony, policy=policy)
    assert "channel" in allowed.command("transfer", to="0")["error"]
    allowed.leg.identify(CALLER)
    assert allowed.command("transfer", to="0")["ok"]
    assert telephony.done == [("redirect", "PJSIP/door-1", "desk", "0")]
    assert "AMI_HOST" in Fixture(policy=policy).command("transfer", to="0")["error"]
    for exten in ("h", "0,1", "a b", "", 5, "x" * 41):
        assert not allowed.command("transfer", to=exten)["ok"]
    telephony.problem = TelephonyUnavailable("Redirect: not connected")
    assert allowed.command("transfer", to="0")["error"] == "Redirect: not connected"


def test_digits_are_played_on_the_callers_channel() -> None:
    telephony = FakeTelephony()
    one = Fixture(telephony=telephony)
    one.leg.identify(CALLER)
    assert one.command("digits", digits="12#")["ok"]
    assert telephony.done == [("digits", "PJSIP/door-1", "12#")]
    assert not one.command("digits", digits="12,")["ok"]


def test_a_bot_does_not_authorise_unless_the_operator_allows_it() -> None:
    one = Fixture()
    assert "bot_may_authorise" in one.command("outcome", outcome="authorised")["error"]
    assert one.leg.decided is None
    assert one.command("outcome", outcome="denied")["ok"]
    assert one.leg.decided == "denied"
    assert not one.command("outcome", outcome="no_answer")["ok"], "the first outcome stays"
    allowed = Fixture(policy=CallPolicy(bot_may_authorise=True))
    assert allowed.command("outcome", outcome="authorised")["ok"]
    assert allowed.leg.decided == "authorised"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("open_gate", {}),
        ("", {}),
        ("hangup", {"now": True}),
        ("hangup", {"drain": "yes"}),
        ("dial", {}),
        ("dial", {"to": []}),
        ("dial", {"to": [1]}),
        ("dial", {"to": ["1"] * 11}),
        ("outcome", {"outcome": "Authorised"}),
        ("outcome", {"outcome": "authorised "}),
        ("outcome", {}),
        ("note", {"text": ""}),
        ("note", {"text": "x" * 501}),
        ("digits", {"digits": ""}),
    ],
)
def test_what_is_not_a_command_is_refused(name: str, arguments: dict[str, Any]) -> None:
    one = Fixture(policy=replace(ALL_NUMBERS, bot_may_authorise=True, transfer_context="desk"))
    answer = one.command(name, **arguments)
    assert not answer["ok"]
    assert answer["error"]
    assert (one.leg.outcome, one.leg.decided, one.leg.called_numbers) == (None, None, [])


def test_commands_are_limited_in_their_number() -> None:
    one = Fixture()
    answers = [one.command("note", text="x") for _ in range(21)]
    assert [answer["ok"] for answer in answers] == [True] * 20 + [False]
    one.run(10_040)
    assert one.command("note", text="x")["ok"]


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


def test_the_api_has_the_same_commands() -> None:
    assert (*TOOLS, *ALIASES) == COMMAND_NAMES
