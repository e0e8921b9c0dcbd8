"""Return calls placed through AMI: the resident is rung by ``Originate`` and followed by the channel's own id."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.asterisk.ami.client import AMIClient
from audiosocket.asterisk.ami.session import AMIDown, AMIRefused, Fields
from audiosocket.asterisk.ami.wire import Message, action, variable
from audiosocket.asterisk.channel_names import CHANNEL_ID_PREFIX
from audiosocket.errors import LocalProtocolError
from audiosocket.returncalls.attempt_result import AttemptResultBuilder
from audiosocket.returncalls.backends.ami_cleanup import ChannelCleanup
from audiosocket.returncalls.backends.base import PendingAttempts
from audiosocket.returncalls.dial_string import Route, check_landing
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest
from audiosocket.returncalls.templates import filled

#: Seconds after the ring time in which a result is certain; the promise of `Originator.place` is 5.
GRACE_SECONDS = 4.5
#: Seconds that an attempt waits for AMI to come up, or its ring time if that is less.
READY_SECONDS = 3.0
#: Seconds in which the Hangup event with the cause follows a failed OriginateResponse, or the other way round.
CAUSE_SECONDS = 1.0

_RINGING = "5"


class AMIOriginator:
    """Implements `originate.Originator` through Asterisk's manager interface.

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
        self._leftovers = ChannelCleanup(ami, clock)
        self._attempts: PendingAttempts[_Attempt] = PendingAttempts()
        self._stops = [
            ami.listen(["OriginateResponse", "Hangup", "Newstate", "DialEnd"], self._heard),
            ami.watch(self._moved),
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
        """See `originate.Originator.place`."""
        channel_id = CHANNEL_ID_PREFIX + (request.attempt_id or self._new_id())
        attempt = _Attempt(self._ami, self._clock, self._leftovers, request, channel_id)
        try:
            fields = _fields(self._route, request, channel_id)
        except LocalProtocolError as problem:
            attempt.finish(AttemptEnd.FAILED, str(problem))
            return attempt.result
        self._attempts.add(channel_id, attempt)
        attempt.start(fields)
        return attempt.result

    def stop(self, request: ReturnRequest) -> None:
        """Hang up what this attempt rings or has answered, also when a process before this one placed it."""
        self._leftovers.end(CHANNEL_ID_PREFIX + request.attempt_id, request.ring_seconds + GRACE_SECONDS)

    def answered(self, call_id: UUID) -> bool:
        """The resident's leg of this call has arrived; without ``read = call`` there is no other word of it."""
        return self._attempts.answered(call_id)

    def close(self) -> None:
        """Cancels what still rings, and stops listening."""
        self._attempts.cancel()
        for stop in self._stops:
            stop()
        self._stops = []
        self._leftovers.close()

    def _heard(self, message: Message) -> None:
        if not self._attempts:
            return
        attempt = self._attempts.get(message.get("DestUniqueid") or message.get("Uniqueid"))
        if attempt is not None:
            attempt.heard(message)
        elif message.event == "Hangup" and (linked := self._attempts.get(message.get("Linkedid"))) is not None:
            linked.heard_linked(message)

    def _moved(self, up: bool) -> None:
        if not up:
            for attempt in self._attempts:
                attempt.lost(self._ami.state[1])


def _fields(route: Route, request: ReturnRequest, channel_id: str) -> Fields:
    """What ``Originate`` is told; raises `LocalProtocolError` for what must not reach Asterisk."""
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


def _cause(message: Message) -> int:
    return int(message.get("Cause")) if message.get("Cause").isdecimal() else 0


class _Attempt:
    """One call to a resident, from the request to its end."""

    _log = Logger()

    def __init__(
        self,
        ami: AMIClient,
        clock: IReactorTime,
        leftovers: ChannelCleanup,
        request: ReturnRequest,
        channel_id: str,
    ) -> None:
        self.result: Deferred[AttemptResult] = Deferred(self._cancelled)
        self.call_id = request.call_id
        self._ami = ami
        self._clock = clock
        self._leftovers = leftovers
        self._ring_seconds = request.ring_seconds
        self._channel_id = channel_id
        self._waiting: Deferred[None] | None = None
        self._sent = False
        self._over = False
        self._clues = AttemptResultBuilder()
        self._refused = False  # by a failed OriginateResponse
        self._deadline: IDelayedCall | None = None
        self._last_word: IDelayedCall | None = None

    def start(self, fields: Fields) -> None:
        """Rings as soon as AMI is up; every way from here ends in `finish`."""
        self._deadline = self._clock.callLater(self._ring_seconds + GRACE_SECONDS, self._too_late)
        self._waiting = self._ami.ready(min(READY_SECONDS, self._ring_seconds))
        self._waiting.addCallbacks(self._send, self._not_placed, callbackArgs=(fields,))

    def heard(self, message: Message) -> None:
        """Takes note of an event of this attempt's channel."""
        if message.event == "OriginateResponse":
            if message.get("Response") == "Success":
                self.finish(AttemptEnd.ANSWERED, "")
            else:
                self._refused, self._clues.reason = True, message.get("Reason")
                self._ending()
        elif message.event == "Hangup":
            self._clues.cause = _cause(message)
            self._ending()
        elif message.event == "DialEnd":
            self._clues.dial_status = message.get("DialStatus")
        elif message.get("ChannelState") == _RINGING:
            self._clues.rang = True

    def heard_linked(self, message: Message) -> None:
        """A channel ended that the dialplan dialled for ours, which is a ``Local/`` one."""
        if self._clues.linked(_cause(message)) and (self._refused or self._clues.cause is not None):
            self._ending()

    def lost(self, reason: str) -> None:
        """AMI is gone; so is the knowledge of what becomes of the call."""
        if self._sent:
            self._give_up(f"AMI was lost during the call: {reason}")

    def finish(self, end: AttemptEnd, reason: str, *, unavailable: bool = False) -> None:
        """Ends the attempt, once."""
        if self._over:
            return
        self._over = True
        for timer in (self._deadline, self._last_word):
            if timer is not None and timer.active():
                timer.cancel()
        self.result.callback(AttemptResult(end, reason, unavailable))

    def interrupt(self, end: AttemptEnd, reason: str) -> None:
        """Ends the attempt from outside; its channel is left alone."""
        self.finish(end, reason)
        if self._waiting is not None and not self._sent:
            self._waiting.cancel()

    def _send(self, _: None, fields: Fields) -> None:
        self._sent = True
        self._ami.ask("Originate", fields).addErrback(self._not_placed)

    def _not_placed(self, failure: Failure) -> None:
        if self._over:
            return
        failure.trap(AMIDown, AMIRefused)
        if failure.check(AMIRefused):
            self.finish(AttemptEnd.FAILED, f"Asterisk refused to place the call: {failure.getErrorMessage()}")
        elif self._sent:
            self._give_up(f"AMI failed while the call was being placed: {failure.getErrorMessage()}")
        else:
            reason = f"{self._ami.name} is not available: {failure.getErrorMessage()}"
            self.finish(AttemptEnd.FAILED, reason, unavailable=True)

    def _ending(self) -> None:
        """Both the response and the hangup belong to an end; the events of AMI have no certain order."""
        if self._refused and self._clues.cause is not None and not self._clues.vague:
            self._tell()
        elif self._last_word is None and not self._over:
            self._last_word = self._clock.callLater(CAUSE_SECONDS, self._tell)

    def _tell(self) -> None:
        self.finish(*self._clues.end(self._ring_seconds))

    def _too_late(self) -> None:
        self._give_up("Asterisk did not say how the call ended; the AMI account needs read = call")

    def _give_up(self, reason: str) -> None:
        if not self._over:
            self._leftovers.end(self._channel_id, self._ring_seconds + GRACE_SECONDS)
            self.finish(AttemptEnd.FAILED, reason)

    def _cancelled(self, _: Deferred[AttemptResult]) -> None:
        if self._sent:
            self._leftovers.end(self._channel_id, self._ring_seconds + GRACE_SECONDS)
        self.interrupt(AttemptEnd.CANCELLED, "cancelled")
