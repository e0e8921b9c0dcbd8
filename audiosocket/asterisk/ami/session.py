"""One AMI connection: greeting, login, actions with their responses, events, and why it ended."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import md5
from typing import Any, NoReturn

from twisted.internet import interfaces, protocol
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.asterisk.ami.wire import Greeted, Message, Parser, Violation, action
from audiosocket.errors import AudioSocketError

#: Seconds for an answer to an action, the greeting included; Asterisk answers within milliseconds.
ANSWER_SECONDS = 5.0
#: Seconds for a list of all channels.
LIST_SECONDS = 10.0
#: Seconds between a Logoff and the end of a connection that the other side does not close.
LOGOFF_SECONDS = 1.0

Fields = Iterable[tuple[str, str]]


class AMIDown(AudioSocketError):
    """There is no AMI connection, or it broke, or an answer did not come in time."""


class AMIRefused(AudioSocketError):
    """Asterisk answered an action with an error; the text is Asterisk's own."""


class LoginRefused(AMIRefused):
    """Asterisk did not accept user and secret, or not from this address."""


@dataclass
class _Asked:
    """An action that awaits its answer; ``items`` collects the events of a list."""

    answer: Deferred[Any]
    items: list[Message] | None


class Session(protocol.Protocol):
    """One connection. ``received`` is given every event; ``lost`` says why it ended and is empty until then.

    ``on_lost`` is called when the session ends. No method logs what is sent,
    and no error contains it.
    """

    transport: interfaces.ITCPTransport

    _log = Logger()

    def __init__(
        self,
        clock: interfaces.IReactorTime,
        received: Callable[[Message], None],
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.banner = ""
        self.lost = ""
        #: Fires when the TCP connection has ended.
        self.gone: Deferred[None] = Deferred()
        self._clock = clock
        self._pass_on = received
        self._on_lost = on_lost
        self._parser = Parser()
        self._greeted: Deferred[None] = Deferred()
        self._asked: dict[str, _Asked] = {}
        self._lists = 0
        # other connections of the same Asterisk see some of our numbers in events, and we see theirs
        self._prefix = f"audiosocket-{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)

    def dataReceived(self, data: bytes) -> None:
        for event in self._parser.receive(data):
            if self.lost:
                return
            if isinstance(event, Message):
                self._received(event)
            elif isinstance(event, Greeted):
                self.banner = event.banner
                self._greeted.callback(None)
            elif isinstance(event, Violation):
                self.abort(f"protocol violation: {event.why}")
            else:
                self._log.warn("skipped an AMI message of {length} bytes", length=event.length)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self._end(f"the connection was lost: {reason.getErrorMessage().rstrip('.')}")
        self.gone.callback(None)

    async def login(self, user: str, secret: str, *, challenge: bool, events: str) -> None:
        """Log in, by MD5 ``challenge`` or with the plain secret; ``events`` are the classes wanted.

        Raises `LoginRefused`, `AMIDown`.
        """
        await self._in_time(self._greeted, "greeting", ANSWER_SECONDS)
        try:
            if challenge:
                asked = await self.ask("Challenge", [("AuthType", "MD5")])
                proof = md5((asked.get("Challenge") + secret).encode(), usedforsecurity=False).hexdigest()
                fields = [("AuthType", "MD5"), ("Username", user), ("Key", proof)]
            else:
                fields = [("Username", user), ("Secret", secret)]
            await self.ask("Login", [*fields, ("Events", events)])
        except AMIRefused as refusal:
            raise LoginRefused(str(refusal)) from None

    def ask(self, name: str, fields: Fields = (), seconds: float = ANSWER_SECONDS) -> Deferred[Message]:
        """Return Asterisk's response to an action; fails with `AMIRefused` or `AMIDown`.

        Raises `LocalProtocolError` at once for fields that cannot be sent.
        """
        return self._send(name, fields, seconds, None)

    def collect(self, name: str, fields: Fields = (), seconds: float = LIST_SECONDS) -> Deferred[list[Message]]:
        """Return the events of an action answered by a list, without its closing event; fails as `ask` does."""
        self._lists += 1

        def done(result: Any) -> Any:
            self._lists -= 1
            return result

        return self._send(name, fields, seconds, []).addBoth(done)

    def close(self, reason: str) -> None:
        """Log off and close; abort after `LOGOFF_SECONDS` if Asterisk has not closed."""
        if self.lost:
            return
        self.transport.write(action("Logoff", ()))
        self._end(reason)
        self.transport.loseConnection()
        timer = self._clock.callLater(LOGOFF_SECONDS, self.transport.abortConnection)
        self.gone.addCallback(lambda _: timer.cancel() if timer.active() else None)

    def abort(self, reason: str) -> None:
        """Drop the connection at once."""
        if not self.lost:
            self._end(reason)
            self.transport.abortConnection()

    def _send(self, name: str, fields: Fields, seconds: float, items: list[Message] | None) -> Deferred[Any]:
        number = f"{self._prefix}-{next(self._numbers)}"
        data = action(name, [("ActionID", number), *fields])
        if self.lost:
            return fail(AMIDown(self.lost))

        def forget(_: Deferred[Any]) -> None:
            del self._asked[number]

        answer: Deferred[Any] = Deferred(forget)
        self._asked[number] = _Asked(answer, items)
        self.transport.write(data)
        return self._in_time(answer, f"answer to {name}", seconds)

    def _in_time(self, deferred: Deferred[Any], what: str, seconds: float) -> Deferred[Any]:
        def late(_: object, seconds: float) -> NoReturn:
            raise AMIDown(f"no {what} within {seconds:g} s")

        return deferred.addTimeout(seconds, self._clock, late)

    def _received(self, message: Message) -> None:
        if message.event:
            if self._lists:
                self._listed(message)
            self._pass_on(message)
            return
        number = message.get("ActionID")
        asked = self._asked.get(number)
        if asked is None or not message.response:
            return
        if message.response == "Error":
            del self._asked[number]
            asked.answer.errback(AMIRefused(message.get("Message") or "no reason given"))
        elif asked.items is None:
            del self._asked[number]
            asked.answer.callback(message)

    def _listed(self, message: Message) -> None:
        number = message.get("ActionID")
        asked = self._asked.get(number)
        if asked is None or asked.items is None:
            return
        if message.get("EventList") == "Complete":
            del self._asked[number]
            asked.answer.callback(asked.items)
        else:
            asked.items.append(message)

    def _end(self, reason: str) -> None:
        if self.lost:
            return
        self.lost = reason
        asked, self._asked = self._asked, {}
        for one in asked.values():
            one.answer.errback(AMIDown(reason))
        if not self._greeted.called:
            self._greeted.addErrback(lambda _: None)  # the login may no longer wait for it
            self._greeted.errback(AMIDown(reason))
        self._on_lost()
