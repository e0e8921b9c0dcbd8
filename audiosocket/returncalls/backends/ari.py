"""Return calls placed through ARI, Asterisk's REST interface; how one is followed is in `ariattempt`."""

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
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.asterisk.ari.events import KINDS, parse_event
from audiosocket.asterisk.channel_names import CHANNEL_ID_PREFIX
from audiosocket.errors import InvalidSetting, LocalProtocolError
from audiosocket.outbound.http_client import Answer, HTTPClientProtocol, RequestFailed, checked_url
from audiosocket.returncalls.backends.ari_attempt import REFUSED, ARIAttempt, refusal
from audiosocket.returncalls.backends.pending import PendingAttempts, wait_for_all
from audiosocket.returncalls.dial_string import Route, check_landing
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest
from audiosocket.returncalls.templates import filled

if TYPE_CHECKING:
    from audiosocket.asterisk.ari.event_stream import ARIEventStream

#: Seconds between two pings.
PING_SECONDS = 15.0
#: Tries, and seconds between them, to end a channel that may still be ringing.
HANGUP_TRIES = 5
HANGUP_PAUSE_SECONDS = 1.0


class ARIOriginator:
    """Implements `originate.Originator` through ARI.

    ``url`` is where Asterisk's HTTP server answers, with its prefix if it has one (``http://127.0.0.1:8088``);
    ``/ari`` is added when it is not there. ``endpoint`` makes the connection on which ARI tells events; without
    it less is known of how calls end, see `ariattempt`. Raises `InvalidSetting`.
    """

    _log = Logger()

    def __init__(
        self,
        client: HTTPClientProtocol,
        clock: IReactorTime,
        url: str,
        user: str,
        password: str,
        route: Route | None = None,
        new_id: Callable[[], str] = lambda: str(uuid4()),
        endpoint: Callable[[str], IStreamClientEndpoint] | None = None,
    ) -> None:
        url = checked_url(url, "the ARI address")
        if not user or ":" in user or not password:
            raise InvalidSetting("ARI needs a user (without a colon) and a password")
        #: What people call it, in reasons and in the log.
        self.name = f"ARI at {urlsplit(url).netloc}"
        self._client = client
        self._clock = clock
        self._url = url if url.endswith("/ari") else f"{url}/ari"
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._route = route or Route()
        self._new_id = new_id
        self._state = ("connecting", "ARI has not answered yet")
        self._refused = False
        self._pings = LoopingCall(self._ping)
        self._pings.clock = clock
        self._attempts: PendingAttempts[ARIAttempt] = PendingAttempts()
        self._endings: set[Deferred[None]] = set()
        #: ARI's name for who listens.
        self._app = f"audiosocket-{token_hex(4)}"
        self._events: ARIEventStream | None = None
        if endpoint is not None:
            from audiosocket.asterisk.ari.event_stream import ARIEventStream  # noqa: PLC0415 - 13 ms of the start for ARI alone

            events = f"{self._url}/events?app={self._app}&subscribeAll=true"
            self._events = ARIEventStream(endpoint, events, self._authorization, clock, self._received)

    @property
    def state(self) -> tuple[str, str]:
        """("up"|"connecting"|"down", reason): what the last request met, at most `PING_SECONDS` ago."""
        if self._state[0] == "up" and self._events is not None and not self._events.up:
            return "up", "its events do not arrive, so that not all ends of attempts can be told apart"
        return self._state

    @property
    def ringing(self) -> int:
        """Attempts in progress."""
        return len(self._attempts)

    def start(self) -> None:
        """Begins to look whether ARI answers; calls can be placed without it, and before it has."""
        if not self._pings.running:
            self._pings.start(PING_SECONDS).addErrback(self._not_pinged)

    async def close(self) -> None:
        """Cancels what still rings, waits until its channels are gone (`CLOSE_SECONDS` at most), disconnects."""
        if self._pings.running:
            self._pings.stop()
        self._attempts.cancel()
        await wait_for_all(self._endings, self._clock)
        if self._events is not None:
            await self._events.close()
        await self._client.close()

    def place(self, request: ReturnRequest) -> Deferred[AttemptResult]:
        """See `originate.Originator.place`; a refused password is not tried more often than pings do."""
        channel_id = CHANNEL_ID_PREFIX + (request.attempt_id or self._new_id())
        try:
            body = self._originate(request, channel_id)
        except LocalProtocolError as problem:
            return succeed(AttemptResult(AttemptEnd.FAILED, str(problem)))
        if self._refused and self._pings.running:
            return succeed(AttemptResult(AttemptEnd.FAILED, self._state[1], unavailable=True))
        attempt = ARIAttempt(
            self.ask, self.end, self._clock, request, channel_id, self.name, self._receives_events, body
        )
        self._attempts.add(attempt)
        attempt.start()
        return attempt.result

    def stop(self, request: ReturnRequest) -> None:
        """Hang up what this attempt rings or has answered, also when a process before this one placed it."""
        self.end(CHANNEL_ID_PREFIX + request.attempt_id, sure=False)

    def answered(self, call_id: UUID) -> bool:
        """The resident's leg of this call has arrived: its attempt, if there is one, is answered."""
        return self._attempts.answered(call_id)

    async def ask(self, method: str, path: str, body: Any = None, *, keep: bool = False) -> Answer:
        """One request to ARI; its outcome is the new `state`. Raises `RequestFailed`."""
        headers = {"Authorization": self._authorization, "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body).encode()
        try:
            answer = await self._client.ask(method, f"{self._url}/{path}", headers, content, keep=keep)
        except RequestFailed as problem:
            self._now("down", str(problem))
            raise
        self._refused = answer.status in REFUSED
        if self._refused:
            self._now("down", refusal(self.name, answer))
        elif answer.status >= 500 and path == "asterisk/ping":
            self._now("down", f"ARI answers HTTP {answer.status}")
        elif answer.status == 404 and path == "asterisk/ping":
            self._now("down", "no ARI at this address (HTTP 404); is res_ari loaded, is the prefix right?")
        else:
            self._now("up", "")
        return answer

    def end(self, channel_id: str, *, sure: bool) -> None:
        """Ends a channel in the background; ``sure`` that it was made, so that its absence means it is gone."""
        ending = Deferred.fromCoroutine(self._end(channel_id, sure=sure))
        self._endings.add(ending)
        ending.addErrback(self._not_ended, channel_id)
        ending.addCallback(lambda _: self._endings.discard(ending))

    def _not_ended(self, failure: Failure, channel_id: str) -> None:
        why = "this server stopped" if failure.check(defer.CancelledError) else failure.getErrorMessage()
        self._log.warn("channel {id} may still ring: {why}", id=channel_id, why=why)

    async def _end(self, channel_id: str, *, sure: bool) -> None:
        for tries_left in reversed(range(HANGUP_TRIES)):
            try:
                answer = await self.ask("DELETE", f"channels/{channel_id}?reason=normal")
            except RequestFailed:
                if not tries_left:
                    raise
            else:
                if answer.status == 204 or (sure and answer.status == 404):
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

    async def _listen(self) -> None:
        """Hears events from now on, and of them only those that tell something."""
        if self._events is None or self._events.up:
            return
        await self._events.connect()
        wanted = {"allowed": [{"type": kind} for kind in KINDS]}
        answer = await self.ask("PUT", f"applications/{self._app}/eventFilter", wanted)
        if answer.status != 200:
            self._log.info("{name} tells all its events (HTTP {status})", name=self.name, status=answer.status)

    def _receives_events(self) -> bool:
        return self._events is not None and self._events.up

    def _received(self, event: dict[str, Any]) -> None:
        found = parse_event(event) if len(self._attempts) else None
        if found is not None:
            for attempt in self._attempts:
                attempt.received(found)

    def _not_pinged(self, failure: Failure) -> None:
        self._log.failure("ARI could not be pinged", failure)

    def _now(self, state: str, reason: str) -> None:
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
            # Asterisk's own limit is only there for the case that we are not: a second later, ours tells a
            # channel that rang in vain from one that was ended
            "timeout": math.ceil(request.ring_seconds) + 1,
            "channelId": channel_id,
            "variables": variables,
        }
        if caller_id:
            body["callerId"] = caller_id
        return body
