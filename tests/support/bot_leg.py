"""A leg with a bot app on it, the bot, and the telephony that commands of the bot need."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from audiosocket.bots.app import BotApp, OpenAIRealtime, Twilio
from audiosocket.extensions.model import Role
from audiosocket.interfaces import CallerInfo, CallPolicy
from audiosocket.media.pcm import slin_to_ulaw, tone, ulaw_to_slin
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


class Sounds:
    def get(self, path: Path, rate: int) -> Deferred[bytes]:
        return succeed(b"\7\7" * (rate // 10))


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
