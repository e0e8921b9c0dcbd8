"""The apps ``twilio``, ``openai_realtime`` and ``asterisk_ws``: one session per leg, and a fallback."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from audiosocket.bots.asterisk_ws import FORMATS, AsteriskMedia, MediaStart
from audiosocket.bots.events import Dialect
from audiosocket.bots.openai_realtime import RealtimeConversation
from audiosocket.bots.parameters import (
    BotParameters,
    RealtimeParameters,
    TwilioParameters,
    parse_asterisk_ws,
    parse_openai_realtime,
    parse_twilio,
)
from audiosocket.bots.session import BotSession
from audiosocket.bots.transcript import Transcript
from audiosocket.bots.twilio import TwilioStream, signature, stream_ids
from audiosocket.bots.url_template import fill_url
from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, AppContext, Leg, ReturnOutcome
from audiosocket.prompts.notice import RecordingNotice, is_due

#: What is remembered of a leg that has heard the notice of a recording.
_TOLD = "told"


class BotApp(App):
    """Connects each of its legs to the bot of its table in ``apps.toml``, over a WebSocket of its own.

    A bot that cannot be reached or does not go on costs its own leg only: the apps named in ``fallback`` take it
    over, or it is hung up where none is named.
    """

    #: Its name among the apps.
    name: ClassVar[str]

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self._context = context
        self._sessions: dict[Role, BotSession] = {}
        #: Notices of recordings that are being played; the bot is connected after them.
        self._notices: dict[Role, RecordingNotice] = {}
        #: Legs that have heard it, also before a restart of the server.
        self._told: set[Role] = set()

    @property
    @abstractmethod
    def bot(self) -> BotParameters:
        """What all dialects have."""

    @abstractmethod
    def make_dialect(self, leg: Leg, attempt: int) -> Dialect:
        """Return the codec of a new connection; ``attempt`` counts from 0."""

    @property
    def allowed(self) -> frozenset[str] | None:
        """The commands that the bot may use; None for all."""
        return None

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers of the handshake."""
        return dict(self.bot.headers)

    def joined(self, leg: Leg) -> None:
        first = self._context.chains.get(leg.role, ())
        if leg.role in self._told or not is_due(self._context.policy, first, self.name):
            self._begin(leg)
            return
        notice = RecordingNotice(leg, self._context, lambda: self._noticed(leg))
        self._notices[leg.role] = notice
        notice.start()

    def _noticed(self, leg: Leg) -> None:
        """Connect a leg that has heard the notice, which is not said again after a restart."""
        self._told.add(leg.role)
        leg.remember(self, {_TOLD: True})
        self._begin(leg)

    def restored(self, leg: Leg, state: Any) -> None:
        if isinstance(state, dict) and state.get(_TOLD) is True:
            self._told.add(leg.role)

    def _begin(self, leg: Leg) -> None:
        """Connect the leg to its bot."""
        self._notices.pop(leg.role, None)
        url = fill_url(self.bot.url, _places(leg))
        session = BotSession(
            leg,
            self.bot,
            url,
            self.headers(url),
            lambda attempt: self.make_dialect(leg, attempt),
            self._context,
            gave_up=lambda reason: self._gave_up(leg, reason),
            allowed=self.allowed,
            transcript=Transcript(leg, self._context).write,
        )
        self._sessions[leg.role] = session
        session.start()

    def resumed(self, leg: Leg) -> None:
        if leg.role not in self._sessions and leg.role not in self._notices:
            self.joined(leg)

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        session = self._sessions.get(leg.role)
        if session is not None:
            session.hear(pcm, rate)

    def digit(self, leg: Leg, digit: str) -> None:
        session = self._sessions.get(leg.role)
        if session is not None:
            session.digit(digit)

    def marked(self, leg: Leg, name: str, heard_ms: int) -> None:
        notice = self._notices.get(leg.role)
        if notice is not None:
            notice.marked(name)
        session = self._sessions.get(leg.role)
        if session is not None:
            session.marked(name)

    def return_ended(self, leg: Leg, outcome: ReturnOutcome) -> None:
        session = self._sessions.get(leg.role)
        if session is not None:
            session.notice({"leg": Role.RESIDENT.value, "state": outcome.state, "reason": outcome.reason})

    def left(self, leg: Leg, outcome: str) -> None:
        notice = self._notices.pop(leg.role, None)
        if notice is not None:
            notice.cancel()
        session = self._sessions.pop(leg.role, None)
        if session is not None:
            session.stop()

    def _gave_up(self, leg: Leg, reason: str) -> None:
        self._sessions.pop(leg.role, None)
        if self.bot.fallback:
            leg.hand_over(self, self.bot.fallback, reason)
        else:
            leg.note("bot.ended", reason=reason)
            leg.hang_up()


def _places(leg: Leg) -> dict[str, str]:
    return {
        "ramal": leg.extension.number,
        "retorno": leg.extension.return_number,
        "condominio": str(leg.extension.condominium_id),
        "role": leg.role.value,
        "call_id": str(leg.call_id),
    }


class Twilio(BotApp):
    """A bot that speaks Twilio Media Streams."""

    name = "twilio"

    @staticmethod
    def parse_parameters(given: Mapping[str, Any], directory: Path) -> TwilioParameters:
        """Return the app's table; raises `InvalidParameter`."""
        return parse_twilio(given, directory)

    @property
    def _parameters(self) -> TwilioParameters:
        found: TwilioParameters = self._context.parameters
        return found

    @property
    def bot(self) -> BotParameters:
        return self._parameters.bot

    def headers(self, url: str) -> dict[str, str]:
        found = super().headers(url)
        if self._parameters.signature_token:
            found["X-Twilio-Signature"] = signature(self._parameters.signature_token, url)
        return found

    def make_dialect(self, leg: Leg, attempt: int) -> Dialect:
        extension, caller = leg.extension, leg.caller
        parameters = {
            "call_uuid": str(leg.call_id),
            "leg": leg.role.value,
            "extension": extension.number,
            "tenant": str(extension.condominium_id),
            "from_number": caller.number if caller else "",
            "to_number": (caller.dialled if caller else "") or extension.number,
            **self._parameters.parameters,
        }
        if self._context.call_access is not None:
            parameters["control_url"], parameters["control_token"] = self._context.call_access(leg.call_id)
        ids = stream_ids(leg.call_id, str(extension.condominium_id), resident=leg.role is Role.RESIDENT)
        return TwilioStream(ids, parameters)


class OpenAIRealtime(BotApp):
    """A model that speaks OpenAI Realtime."""

    name = "openai_realtime"

    @staticmethod
    def parse_parameters(given: Mapping[str, Any], directory: Path) -> RealtimeParameters:
        """Return the app's table; raises `InvalidParameter`."""
        return parse_openai_realtime(given, directory)

    @property
    def _parameters(self) -> RealtimeParameters:
        found: RealtimeParameters = self._context.parameters
        return found

    @property
    def bot(self) -> BotParameters:
        return self._parameters.bot

    @property
    def allowed(self) -> frozenset[str]:
        return self._parameters.tools

    def make_dialect(self, leg: Leg, attempt: int) -> Dialect:
        return RealtimeConversation(self._parameters.config)


class AsteriskWs(BotApp):
    """A bot that speaks the JSON dialect of Asterisk's ``chan_websocket``."""

    name = "asterisk_ws"

    @staticmethod
    def parse_parameters(given: Mapping[str, Any], directory: Path) -> BotParameters:
        """Return the app's table; raises `InvalidParameter`."""
        return parse_asterisk_ws(given, directory)

    @property
    def bot(self) -> BotParameters:
        found: BotParameters = self._context.parameters
        return found

    def make_dialect(self, leg: Leg, attempt: int) -> Dialect:
        caller, call_id = leg.caller, str(leg.call_id)
        variables = {
            "AUDIOSOCKET_CALL_ID": call_id,
            "AUDIOSOCKET_ROLE": leg.role.value,
            "AUDIOSOCKET_EXTENSION": leg.extension.number,
        }
        start = MediaStart(
            connection_id=call_id,
            channel=caller.channel if caller else f"AudioSocket/{call_id}",
            channel_id=caller.channel_id if caller else call_id,
            rate=max(rate for rate in FORMATS if rate <= max(leg.rate, min(FORMATS))),
            variables=variables,
        )
        return AsteriskMedia(start)
