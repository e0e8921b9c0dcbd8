"""The client of Asterisk's manager interface (AMI): one connection, kept open, shared by all that need it."""

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
from audiosocket.outbound.backoff import Backoff


@dataclass(frozen=True)
class Timeouts:
    """How patient the client is; everything in seconds."""

    connect: float = 5.0
    ping: float = 15.0
    first_pause: float = 0.5
    longest_pause: float = 10.0
    #: After a refused login: whoever tries a wrong secret too often is locked out by other programs.
    first_refused_pause: float = 10.0
    longest_refused_pause: float = 60.0
    #: Least time between two attempts, whoever needs one; after a refused login it is the first pause after one.
    woken: float = 1.0
    #: A connection that lived this long was well: the next pause is short again.
    steady: float = 5.0


class AMIClient(Service):
    """Connects while it runs, again and again; ``state`` is for people and never contains the secret.

    ``challenge`` logs in by MD5 challenge, otherwise with the secret in clear. ``events`` are the event classes
    asked for; Asterisk sends of them what ``read =`` of the account in ``manager.conf`` allows. ``name`` is what
    people call it, "AMI at host:port". Raises `InvalidSetting` for a user or secret that AMI cannot carry.
    """

    _log = Logger()

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        user: str,
        secret: str,
        clock: IReactorTime,
        *,
        name: str = "AMI",
        challenge: bool = True,
        events: str = "call,dialplan",
        pace: Timeouts | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        try:
            action("Login", [("Username", user), ("Secret", secret), ("Events", events)])
        except LocalProtocolError as problem:
            raise InvalidSetting(f"AMI login: {problem}") from None
        self.name = name
        self._endpoint = endpoint
        self._user = user
        self._secret = secret
        self._clock = clock
        self._challenge = challenge
        self._events = events
        self._pace = pace = pace or Timeouts()
        self._backoff = Backoff(pace.first_pause, pace.longest_pause, uniform)
        self._refused_backoff = Backoff(pace.first_refused_pause, pace.longest_refused_pause, uniform)
        self._state, self._reason = "down", "not started"
        self._login_refused = False
        self._attempted_at = float("-inf")
        self._session: Session | None = None  #: logged in
        self._open_session: Session | None = None  #: has a connection
        self._loop: defer.Deferred[None] | None = None
        self._nap: defer.Deferred[None] | None = None
        self._waiting: list[defer.Deferred[None]] = []
        self._listeners: dict[str, list[Callable[[Message], object]]] = {}
        self._watchers: list[Callable[[bool], None]] = []

    @property
    def state(self) -> tuple[str, str]:
        """("up"|"connecting"|"down", reason); "connecting" only until the first attempt has ended."""
        return self._state, self._reason

    def startService(self) -> None:
        super().startService()
        self._moved("connecting", "")
        self._loop = defer.ensureDeferred(self._run())

    def stopService(self) -> defer.Deferred[None]:
        """Logs off; fires when the connection is gone, after at most a second."""
        super().stopService()
        return defer.ensureDeferred(self._stop())

    def ask(self, name: str, fields: Fields = (), seconds: float = ANSWER_SECONDS) -> defer.Deferred[Message]:
        """Asterisk's response to an action; fails with `AmiRefused` or `AMIDown`.

        Raises `LocalProtocolError` at once for fields that cannot be sent.
        """
        if self._session is None:
            return defer.fail(AMIDown(self._reason))
        return self._session.ask(name, fields, seconds)

    def collect(
        self, name: str, fields: Fields = (), seconds: float = LIST_SECONDS
    ) -> defer.Deferred[list[Message]]:
        """The events of an action that is answered by a list, such as CoreShowChannels; fails as `ask` does."""
        if self._session is None:
            return defer.fail(AMIDown(self._reason))
        return self._session.collect(name, fields, seconds)

    def ready(self, seconds: float) -> defer.Deferred[None]:
        """Fires when logged in; tries to connect now, not after the pause, unless that has just failed.

        Fails with `AMIDown` and the reason, after ``seconds`` at the latest.
        """
        if self._session is not None:
            return defer.succeed(None)
        least = self._pace.first_refused_pause if self._login_refused else self._pace.woken
        just_failed = self._nap is not None and self._clock.seconds() - self._attempted_at < least
        if not self.running or just_failed:
            return defer.fail(AMIDown(self._reason))
        waiting: defer.Deferred[None] = defer.Deferred(lambda _: self._waiting.remove(waiting))
        self._waiting.append(waiting)
        self._wake()

        def late(_: object, seconds: float) -> None:
            raise AMIDown(self._reason or f"not connected within {seconds:g} s")

        return waiting.addTimeout(seconds, self._clock, late)

    def listen(self, names: Iterable[str], heard: Callable[[Message], object]) -> Callable[[], None]:
        """Gives ``heard`` every event with one of these names, until the returned function is called."""
        names = tuple(names)
        for name in names:
            self._listeners.setdefault(name, []).append(heard)

        def stop() -> None:
            for name in names:
                self._listeners[name].remove(heard)

        return stop

    def watch(self, moved: Callable[[bool], None]) -> Callable[[], None]:
        """Tells ``moved`` when a login succeeded (true) and when it is lost (false); returns how to stop that."""
        self._watchers.append(moved)
        return lambda: self._watchers.remove(moved)

    async def _run(self) -> None:
        while self.running:
            self._attempted_at = self._clock.seconds()
            self._login_refused = False
            try:
                session = await self._open()
            except AMIDown as problem:
                self._failed(str(problem))
                pause = self._backoff.pause()
            except LoginRefused as refusal:
                self._login_refused = True
                self._failed(f"login refused, check user, secret and permit in manager.conf ({refusal})")
                pause = self._refused_backoff.pause()
            except defer.CancelledError:
                raise
            except Exception:  # noqa: BLE001 - a bug here must not end the supervision for good
                self._log.failure("unexpected error while connecting to AMI")
                self._failed("unexpected error, see the log")
                pause = self._backoff.pause()
            else:
                await self._live(session)
                pause = self._backoff.pause()
            await self._rest(pause)

    async def _open(self) -> Session:
        session = Session(self._clock, self._heard)
        connecting = endpoints.connectProtocol(self._endpoint, session)
        try:
            await connecting.addTimeout(self._pace.connect, self._clock)
        except Exception as problem:  # noqa: BLE001 - endpoints fail in ways of their own
            if not self.running:
                raise defer.CancelledError from None
            raise AMIDown(_why(problem, self._pace.connect)) from None
        self._open_session = session
        session.gone.addCallback(self._closed)
        try:
            await session.login(self._user, self._secret, challenge=self._challenge, events=self._events)
        except BaseException:
            session.abort("not logged in")
            raise
        return session

    async def _live(self, session: Session) -> None:
        """From the login until the connection is lost."""
        began = self._clock.seconds()
        self._session, session.on_lost = session, self._wake
        self._refused_backoff.reset()
        try:
            self._log.info("AMI: logged in, {banner}", banner=session.banner)
            self._moved("up", "")
            while self.running and not session.lost:
                await self._rest(self._pace.ping)
                try:
                    await session.ask("Ping")
                except AMIDown as problem:
                    session.abort(str(problem))
        finally:
            self._session, session.on_lost = None, None
        if self._clock.seconds() - began >= self._pace.steady:
            self._backoff.reset()
        self._failed(session.lost)

    def _closed(self, _: None) -> None:
        self._open_session = None

    async def _stop(self) -> None:
        loop, self._loop = self._loop, None
        session = self._session
        if loop is not None:
            loop.cancel()
            try:
                await loop
            except defer.CancelledError:
                self._log.debug("AMI: stopped")
        self._failed("stopped")
        if session is not None:
            session.close("stopped")
        if self._open_session is not None:
            await self._open_session.gone

    async def _rest(self, seconds: float) -> None:
        """Waits that long, or until woken; not at all when what was told of the last attempt led to a stop."""
        if not self.running:
            return
        nap = self._nap = defer.Deferred()
        timer = self._clock.callLater(seconds, self._wake)
        try:
            await nap
        finally:
            self._nap = None
            if timer.active():
                timer.cancel()

    def _wake(self) -> None:
        nap, self._nap = self._nap, None
        if nap is not None:
            nap.callback(None)

    def _heard(self, message: Message) -> None:
        for heard in tuple(self._listeners.get(message.event, ())):
            with self._log.failuresHandled("a listener to the AMI event {name} failed", name=message.event):
                heard(message)

    def _failed(self, reason: str) -> None:
        self._moved("down", reason)
        self._answer(reason)

    def _moved(self, state: str, reason: str) -> None:
        before = self.state
        self._state, self._reason = state, reason
        if state == "down" and self.running and before != self.state:
            self._log.warn("AMI is down: {reason}; trying again", reason=reason)
        if (before[0] == "up") is not (state == "up"):
            for moved in tuple(self._watchers):
                with self._log.failuresHandled("a watcher of AMI failed"):
                    moved(state == "up")
        if state == "up":
            self._answer("")

    def _answer(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if reason:
                one.errback(AMIDown(reason))
            else:
                one.callback(None)


def _why(problem: Exception, seconds: float) -> str:
    if isinstance(problem, error.ConnectionRefusedError):
        return "connection refused: does Asterisk run, with AMI enabled?"
    if isinstance(problem, (error.TimeoutError, defer.TimeoutError)):
        return f"no connection within {seconds:g} s"
    return str(problem) or type(problem).__name__
