"""Return calls through AMI: placed with ``Originate``, followed by the id given to the channel."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from audiosocket.asterisk.ami.client import AMIClient
from audiosocket.asterisk.ami.session import Fields
from audiosocket.asterisk.ami.wire import Message, action, variable
from audiosocket.asterisk.channel_names import CHANNEL_ID_PREFIX
from audiosocket.errors import LocalProtocolError
from audiosocket.returncalls.backends.ami_attempt import AMIAttempt
from audiosocket.returncalls.backends.ami_cleanup import ChannelCleanup
from audiosocket.returncalls.backends.base import GRACE_SECONDS
from audiosocket.returncalls.backends.pending import PendingAttempts
from audiosocket.returncalls.dial_string import Route, check_landing
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest
from audiosocket.returncalls.templates import filled


class AMIOriginator:
    """Implements `originator.Originator` through Asterisk's manager interface.

    The AMI account needs ``write = originate,call`` and ``read = call``.
    """

    def __init__(
        self,
        ami: AMIClient,
        clock: IReactorTime,
        route: Route | None = None,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self._ami = ami
        self._clock = clock
        self._route = route or Route()
        self._new_id = new_id
        self._cleanup = ChannelCleanup(ami, clock)
        self._attempts: PendingAttempts[AMIAttempt] = PendingAttempts()
        self._stops = [
            ami.listen(["OriginateResponse", "Hangup", "Newstate", "DialEnd"], self._received),
            ami.watch(self._state_changed),
        ]

    @property
    def state(self) -> tuple[str, str]:
        """("up"|"connecting"|"down", reason), for the API."""
        return self._ami.state

    @property
    def ringing(self) -> int:
        """Attempts in progress."""
        return len(self._attempts)

    def place(self, request: ReturnRequest) -> Deferred[AttemptResult]:
        """See `originator.Originator.place`."""
        channel_id = CHANNEL_ID_PREFIX + (request.attempt_id or self._new_id())
        try:
            fields = _originate(self._route, request, channel_id)
        except LocalProtocolError as problem:
            return succeed(AttemptResult(AttemptEnd.FAILED, str(problem)))
        attempt = AMIAttempt(self._ami, self._clock, self._cleanup, request, channel_id, fields)
        self._attempts.add(attempt)
        attempt.start()
        return attempt.result

    def stop(self, request: ReturnRequest) -> None:
        """Hang up the channel of this attempt, ringing or answered, also one of the previous process."""
        self._cleanup.hang_up(CHANNEL_ID_PREFIX + request.attempt_id, request.ring_seconds + GRACE_SECONDS)

    def answered(self, call_id: UUID) -> bool:
        """End the attempt of this call as answered; without ``read = call`` its leg is the only sign of that."""
        return self._attempts.answered(call_id)

    def close(self) -> None:
        """Cancel what still rings, and stop listening to events."""
        self._attempts.cancel()
        for stop in self._stops:
            stop()
        self._stops = []
        self._cleanup.close()

    def _received(self, message: Message) -> None:
        if not self._attempts:
            return
        attempt = self._attempts.get(message.get("DestUniqueid") or message.get("Uniqueid"))
        if attempt is not None:
            attempt.received(message)
        elif message.event == "Hangup" and (linked := self._attempts.get(message.get("Linkedid"))) is not None:
            linked.received_linked(message)

    def _state_changed(self, up: bool) -> None:
        if not up:
            for attempt in self._attempts:
                attempt.connection_lost(self._ami.state[1])


def _originate(route: Route, request: ReturnRequest, channel_id: str) -> Fields:
    """Return the fields of ``Originate``; raises `LocalProtocolError` for what must not reach Asterisk."""
    variables = {**request.variables, "AUDIOSOCKET_CALL_ID": str(request.call_id)}
    caller_id = filled(request.caller_id, request.places)
    check_landing(request.exten, request.ring_seconds, caller_id, variables)
    fields = [
        ("Channel", route.dialled(request.number, request.places)),
        ("ChannelId", channel_id),
        ("Context", route.return_context(request.number, request.places)),
        ("Exten", request.exten),
        ("Priority", "1"),
        ("Timeout", str(max(1, round(request.ring_seconds * 1000)))),
        ("Async", "true"),
        *(("Variable", variable(name, value)) for name, value in variables.items()),
    ]
    if caller_id:
        fields.append(("CallerID", caller_id))
    action("Originate", fields)  # refuses a line that is too long, before anything else happens
    return fields
