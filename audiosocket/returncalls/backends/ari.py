"""Return calls through ARI, Asterisk's REST interface; one attempt is in ``ari_attempt.py``."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from twisted.internet import defer
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.asterisk.ari.channel_events import CHANNEL_KINDS
from audiosocket.asterisk.ari.channels import ARIChannels
from audiosocket.asterisk.ari.events import KINDS, parse_event
from audiosocket.asterisk.channel_names import CHANNEL_ID_PREFIX
from audiosocket.errors import InvalidSetting, LocalProtocolError
from audiosocket.outbound.http_client import Answer, HTTPClientProtocol, RequestFailed, checked_url
from audiosocket.outbound.secret import Secret, current
from audiosocket.returncalls.backends.ari_attempt import REFUSED, ARIAttempt, refusal
from audiosocket.returncalls.backends.ari_pings import Pings
from audiosocket.returncalls.backends.pending import PendingAttempts, wait_for_all
from audiosocket.returncalls.dial_string import Route, check_landing
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest
from audiosocket.returncalls.templates import filled

if TYPE_CHECKING:
    from audiosocket.asterisk.ari.event_stream import ARIEventStream

#: Seconds between two pings, and to the next one while Asterisk cannot be reached.
PING_SECONDS = 15.0
RETRY_SECONDS = 1.0
#: Requests, and seconds between them, to hang up a channel that may still ring.
HANGUP_TRIES = 5
HANGUP_PAUSE_SECONDS = 1.0


class ARIOriginator:
    """Implements `originator.Originator` through ARI.

    ``url`` is that of Asterisk's HTTP server, with its prefix if it has one (``http://127.0.0.1:8088``); ``/ari``
    is added where it is missing. ``endpoint`` makes the endpoint of the connection for events; without it less is
    known of how calls end, see ``ari_attempt.py``. Raises `InvalidSetting`.
    """

    _log = Logger()

    def __init__(
        self,
        client: HTTPClientProtocol,
        clock: IReactorTime,
        url: str,
        user: str,
        password: Secret,
        route: Route | None = None,
        new_id: Callable[[], str] = lambda: str(uuid4()),
        endpoint: Callable[[str], IStreamClientEndpoint] | None = None,
    ) -> None:
        url = checked_url(url, "the ARI address")
        if not user or ":" in user or not password:
            raise InvalidSetting("ARI needs a user (without a colon) and a password")
        #: Its name in reasons and in the log.
        self.name = f"ARI at {urlsplit(url).netloc}"
        self._client = client
        self._clock = clock
        self._url = url if url.endswith("/ari") else f"{url}/ari"
        self._user = user
        self._password = password
        self._route = route or Route()
        self._new_id = new_id
        self._state = ("connecting", "ARI has not answered yet")
        self._refused = False
        self._pings = Pings(self._ping, self._pause, clock)
        #: How often in a row the connection for events could not be made.
        self._without_events = 0
        self._attempts: PendingAttempts[ARIAttempt] = PendingAttempts()
        self._hangups: set[Deferred[None]] = set()
        #: The channels that lead to this server, followed where anybody watches them.
        self.channels = ARIChannels(self.ask, self._receives_events)
        #: The name of the ARI application that receives the events.
        self._app = f"audiosocket-{token_hex(4)}"
        self._events: ARIEventStream | None = None
        if endpoint is not None:
            from audiosocket.asterisk.ari.event_stream import ARIEventStream  # noqa: PLC0415 - 13 ms of the start for ARI alone

            events = f"{self._url}/events?app={self._app}&subscribeAll=true"
            self._events = ARIEventStream(
                endpoint, events, self._authorization, clock, self._received, self._pings.now
            )

    @property
    def state(self) -> tuple[str, str]:
        """("up"|"connecting"|"down", reason): the result of the last request, at most `PING_SECONDS` ago."""
        if self._state[0] == "up" and self._events is not None and not self._events.up:
            return "up", "its events do not arrive, so that not all ends of attempts can be told apart"
        return self._state

    @property
    def ringing(self) -> int:
        """Attempts in progress."""
        return len(self._attempts)

    def start(self) -> None:
        """Start to ping ARI; calls can be placed without, and before it has answered."""
        if not self._pings.running:
            self._pings.start()

    async def close(self) -> None:
        """Cancel what rings, wait for the hangups (`CLOSE_SECONDS` at most), and disconnect."""
        if self._pings.running:
            self._pings.stop()
        self._attempts.cancel()
        await wait_for_all(self._hangups, self._clock)
        if self._events is not None:
            await self._events.close()
        await self._client.close()

    def place(self, request: ReturnRequest) -> Deferred[AttemptResult]:
        """See `originator.Originator.place`; while ARI refuses the password, only pings try it again."""
        channel_id = CHANNEL_ID_PREFIX + (request.attempt_id or self._new_id())
        try:
            body = self._originate(request, channel_id)
        except LocalProtocolError as problem:
            return succeed(AttemptResult(AttemptEnd.FAILED, str(problem)))
        if self._refused and self._pings.running:
            return succeed(AttemptResult(AttemptEnd.FAILED, self._state[1], unavailable=True))
        attempt = ARIAttempt(
            self.ask, self.hang_up, self._clock, request, channel_id, self.name, self._receives_events, body
        )
        self._attempts.add(attempt)
        if self._events is not None and not self._events.up:
            self._pings.now()
        attempt.start()
        return attempt.result

    def stop(self, request: ReturnRequest) -> None:
        """Hang up the channel of this attempt, ringing or answered, also one of the previous process."""
        self.hang_up(CHANNEL_ID_PREFIX + request.attempt_id, created=False)

    def answered(self, call_id: UUID) -> bool:
        """End the attempt of this call, if there is one, as answered: its leg has arrived."""
        return self._attempts.answered(call_id)

    async def ask(self, method: str, path: str, body: Any = None, *, keep: bool = False) -> Answer:
        """Send one request to ARI, which also sets `state`; raises `RequestFailed`."""
        content = None if body is None else json.dumps(body).encode()
        try:
            headers = {"Authorization": await self._authorization(), "Accept": "application/json"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            answer = await self._client.ask(method, f"{self._url}/{path}", headers, content, keep=keep)
        except RequestFailed as problem:
            self._set_state("down", str(problem))
            raise
        self._refused = answer.status in REFUSED
        if self._refused:
            self._set_state("down", refusal(self.name, answer))
        elif answer.status >= 500 and path == "asterisk/ping":
            self._set_state("down", f"ARI answers HTTP {answer.status}")
        elif answer.status == 404 and path == "asterisk/ping":
            self._set_state("down", "no ARI at this address (HTTP 404); is res_ari loaded, is the prefix right?")
        else:
            self._set_state("up", "")
        return answer

    async def _authorization(self) -> str:
        """Return the header with the account; raises `RequestFailed` while the password cannot be read."""
        try:
            password = await current(self._password)
        except InvalidSetting as problem:
            raise RequestFailed(str(problem)) from None
        return "Basic " + base64.b64encode(f"{self._user}:{password}".encode()).decode()

    def hang_up(self, channel_id: str, *, created: bool) -> None:
        """Hang a channel up in the background; if it was ``created`` for certain, 404 means that it is gone."""
        hangup = Deferred.fromCoroutine(self._hang_up(channel_id, created=created))
        self._hangups.add(hangup)
        hangup.addErrback(self._not_hung_up, channel_id)
        hangup.addCallback(lambda _: self._hangups.discard(hangup))

    def _not_hung_up(self, failure: Failure, channel_id: str) -> None:
        why = "this server stopped" if failure.check(defer.CancelledError) else failure.getErrorMessage()
        self._log.warn("channel {id} may still ring: {why}", id=channel_id, why=why)

    async def _hang_up(self, channel_id: str, *, created: bool) -> None:
        for tries_left in reversed(range(HANGUP_TRIES)):
            try:
                answer = await self.ask("DELETE", f"channels/{channel_id}?reason=normal")
            except RequestFailed:
                if not tries_left:
                    raise
            else:
                if answer.status == 204 or (created and answer.status == 404):
                    return
            if tries_left:
                await deferLater(self._clock, HANGUP_PAUSE_SECONDS)

    async def _ping(self) -> None:
        try:
            await self.ask("GET", "asterisk/ping", keep=True)
            if self._state[0] == "up":
                await self._listen()
        except (RequestFailed, defer.CancelledError) as problem:
            self._log.debug("{name} does not answer: {why}", name=self.name, why=str(problem))

    def _pause(self) -> float:
        """Return the seconds to the next ping; a refused password is not tried more often."""
        if self._refused or (self._state[0] == "up" and self._receives_events()):
            return PING_SECONDS
        if self._state[0] == "up" and self._events is not None:
            return min(PING_SECONDS, RETRY_SECONDS * 2.0**self._without_events)
        return PING_SECONDS if self._state[0] == "up" else RETRY_SECONDS

    async def _listen(self) -> None:
        """Receive events from now on, restricted to the useful kinds."""
        if self._events is None or self._events.up:
            return
        self._without_events = min(10, self._without_events + 1)
        await self._events.connect()
        self._without_events = 0
        kinds = {*KINDS, *CHANNEL_KINDS} if self.channels.watched else KINDS
        wanted = {"allowed": [{"type": kind} for kind in sorted(kinds)]}
        answer = await self.ask("PUT", f"applications/{self._app}/eventFilter", wanted)
        if answer.status != 200:
            self._log.info(
                "{name} does not filter its events (HTTP {status})", name=self.name, status=answer.status
            )
        self.channels.connected()

    def _receives_events(self) -> bool:
        return self._events is not None and self._events.up

    def _received(self, event: dict[str, Any]) -> None:
        if self.channels.watched:
            self.channels.received(event)
        found = parse_event(event) if len(self._attempts) else None
        if found is not None:
            for attempt in self._attempts:
                attempt.received(found)

    def _set_state(self, state: str, reason: str) -> None:
        if state != self._state[0]:
            self._log.info("{name} is {state} {reason}", name=self.name, state=state, reason=reason)
        self._state = (state, reason)

    def _originate(self, request: ReturnRequest, channel_id: str) -> dict[str, Any]:
        """Return the body that creates a channel; raises `LocalProtocolError` for what must not reach Asterisk."""
        caller_id = filled(request.caller_id, request.places)
        check_landing(request.exten, request.ring_seconds, caller_id, request.variables)
        variables = {**request.variables, "AUDIOSOCKET_CALL_ID": str(request.call_id)}
        body: dict[str, Any] = {
            "endpoint": self._route.dialled(request.number, request.places),
            "extension": request.exten,
            "context": self._route.return_context(request.number, request.places),
            "priority": 1,
            # Asterisk's own limit is for the case that this server dies; a second longer, so that a channel that
            # rang until the end can be told from one that was hung up
            "timeout": math.ceil(request.ring_seconds) + 1,
            "channelId": channel_id,
            "variables": variables,
        }
        if caller_id:
            body["callerId"] = caller_id
        return body
