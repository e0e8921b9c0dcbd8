"""The client of Asterisk's manager interface (AMI): one connection, kept open, shared by all its users."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from twisted.application.service import Service
from twisted.internet import defer, endpoints, error
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger

from audiosocket.asterisk.ami.session import ANSWER_SECONDS, LIST_SECONDS, AMIDown, Fields, LoginRefused, Session
from audiosocket.asterisk.ami.wire import Message, action
from audiosocket.errors import InvalidSetting, LocalProtocolError
from audiosocket.outbound.secret import Secret, current
from audiosocket.outbound.supervision import ConnectionSupervisor, Intervals, OpenRefused


@dataclass(frozen=True)
class Timeouts:
    """Time-outs and intervals of an `AMIClient`, in seconds."""

    connect: float = 5.0
    ping: float = 15.0
    first_pause: float = 0.5
    longest_pause: float = 10.0
    #: After a refused login: other programs lock out a client that tries a wrong secret too often.
    first_refused_pause: float = 10.0
    longest_refused_pause: float = 60.0
    #: Least time between two attempts; after a refused login it is ``first_refused_pause``.
    between_attempts: float = 1.0
    #: A connection that lived this long was healthy: the next pause is short again.
    steady: float = 5.0

    def intervals(self) -> Intervals:
        """Return those that concern supervision."""
        return Intervals(
            heartbeat=self.ping,
            first_pause=self.first_pause,
            longest_pause=self.longest_pause,
            steady=self.steady,
            between_attempts=self.between_attempts,
            first_refused_pause=self.first_refused_pause,
            longest_refused_pause=self.longest_refused_pause,
        )


class AMIClient(Service):
    """Keeps a connection to AMI while it runs; ``state`` is for operators and never contains the secret.

    ``challenge`` logs in by MD5 challenge, otherwise with the secret in clear. ``events`` are the event classes
    asked for; Asterisk sends of them what ``read =`` of the account in ``manager.conf`` allows. ``name`` is how
    logs and reasons call it, "AMI at host:port". Raises `InvalidSetting` for a user or secret that AMI cannot
    carry.
    """

    _log = Logger()

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        user: str,
        secret: Secret,
        clock: IReactorTime,
        *,
        name: str = "AMI",
        challenge: bool = True,
        events: str = "call,dialplan",
        timeouts: Timeouts | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        try:
            shown = secret if isinstance(secret, str) else ""
            action("Login", [("Username", user), ("Secret", shown), ("Events", events)])
        except LocalProtocolError as problem:
            raise InvalidSetting(f"AMI login: {problem}") from None
        self.name = name
        self._endpoint = endpoint
        self._user = user
        self._secret = secret
        self._clock = clock
        self._challenge = challenge
        self._events = events
        self._timeouts = timeouts = timeouts or Timeouts()
        self._supervisor = ConnectionSupervisor(
            self._open,
            self._ping,
            self._changed,
            clock,
            timeouts.intervals(),
            unavailable=AMIDown,
            uniform=uniform,
        )
        self._state, self._reason = "down", "not started"
        #: The session that has a TCP connection, logged in or not.
        self._connected: Session | None = None
        self._listeners: dict[str, list[Callable[[Message], object]]] = {}
        self._watchers: list[Callable[[bool], None]] = []

    @property
    def state(self) -> tuple[str, str]:
        """("up"|"connecting"|"down", reason); "connecting" only until the first attempt has ended."""
        return self._state, self._reason

    def startService(self) -> None:
        super().startService()
        self._set_state("connecting", "")
        self._supervisor.start()

    def stopService(self) -> defer.Deferred[None]:
        """Log off; fires when the connection is gone, after at most a second."""
        super().stopService()
        return defer.Deferred.fromCoroutine(self._stop())

    def ask(self, name: str, fields: Fields = (), seconds: float = ANSWER_SECONDS) -> defer.Deferred[Message]:
        """Return Asterisk's response to an action; fails with `AMIRefused` or `AMIDown`.

        Raises `LocalProtocolError` at once for fields that cannot be sent.
        """
        session = self._supervisor.connection
        return defer.fail(AMIDown(self._reason)) if session is None else session.ask(name, fields, seconds)

    def collect(
        self, name: str, fields: Fields = (), seconds: float = LIST_SECONDS
    ) -> defer.Deferred[list[Message]]:
        """Return the events that answer an action such as CoreShowChannels; fails as `ask` does."""
        session = self._supervisor.connection
        return defer.fail(AMIDown(self._reason)) if session is None else session.collect(name, fields, seconds)

    def ready(self, seconds: float) -> defer.Deferred[None]:
        """Fire when logged in; tries to connect now, not after the pause, unless that has just failed.

        Fails with `AMIDown` and the reason, after ``seconds`` at the latest.
        """

        def late(_: object, seconds: float) -> None:
            raise AMIDown(self._reason or f"not connected within {seconds:g} s")

        ready = self._supervisor.ready().addTimeout(seconds, self._clock, late)
        return ready.addCallback(lambda _: None)

    def listen(self, names: Iterable[str], received: Callable[[Message], object]) -> Callable[[], None]:
        """Pass every event with one of these names to ``received``, until the returned function is called."""
        names = tuple(names)
        for name in names:
            self._listeners.setdefault(name, []).append(received)

        def stop() -> None:
            for name in names:
                self._listeners[name].remove(received)

        return stop

    def watch(self, changed: Callable[[bool], None]) -> Callable[[], None]:
        """Call ``changed`` after a login (true) and its loss (false), until the returned function is called."""
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed)

    async def _current_secret(self) -> str:
        try:
            return await current(self._secret)
        except InvalidSetting as problem:
            raise AMIDown(str(problem)) from None

    async def _open(self, lost: Callable[[], None]) -> Session:
        secret = await self._current_secret()
        session = Session(self._clock, self._received, lost)
        connecting = endpoints.connectProtocol(self._endpoint, session)
        try:
            await connecting.addTimeout(self._timeouts.connect, self._clock)
        except Exception as problem:  # noqa: BLE001 - endpoints fail in ways of their own
            if not self.running:
                raise defer.CancelledError from None
            raise AMIDown(_explained(problem, self._timeouts.connect)) from None
        self._connected = session
        session.gone.addCallback(self._disconnected)
        try:
            await session.login(self._user, secret, challenge=self._challenge, events=self._events)
        except LocalProtocolError:
            session.abort("not logged in")
            raise OpenRefused("the secret in AMI_SECRET_FILE cannot be sent in a line of AMI") from None
        except LoginRefused as refusal:
            session.abort("not logged in")
            raise OpenRefused(
                f"login refused, check user, secret and permit in manager.conf ({refusal})"
            ) from None
        except BaseException:
            session.abort("not logged in")
            raise
        return session

    async def _ping(self, session: Session) -> None:
        try:
            await session.ask("Ping")
        except AMIDown as problem:
            session.abort(str(problem))

    async def _stop(self) -> None:
        await self._supervisor.stop()
        self._set_state("down", "stopped")
        if self._connected is not None:
            await self._connected.gone

    def _disconnected(self, _: None) -> None:
        self._connected = None

    def _received(self, message: Message) -> None:
        for received in tuple(self._listeners.get(message.event, ())):
            with self._log.failuresHandled("a listener to the AMI event {name} failed", name=message.event):
                received(message)

    def _changed(self) -> None:
        session = self._supervisor.connection
        if session is None:
            self._set_state("down", self._supervisor.reason)
        else:
            self._log.info("AMI: logged in, {banner}", banner=session.banner)
            self._set_state("up", "")

    def _set_state(self, state: str, reason: str) -> None:
        before = self.state
        self._state, self._reason = state, reason
        if state == "down" and self.running and before != self.state:
            self._log.warn("AMI is down: {reason}; trying again", reason=reason)
        if (before[0] == "up") is not (state == "up"):
            for changed in tuple(self._watchers):
                with self._log.failuresHandled("a watcher of AMI failed"):
                    changed(state == "up")


def _explained(problem: Exception, seconds: float) -> str:
    """Return why there is no connection, for an operator."""
    if isinstance(problem, error.ConnectionRefusedError):
        return "connection refused: does Asterisk run, with AMI enabled?"
    if isinstance(problem, error.TimeoutError | defer.TimeoutError):
        return f"no connection within {seconds:g} s"
    return str(problem) or type(problem).__name__
