"""One return call through AMI, followed by the events of its channel."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from audiosocket.asterisk.ami.client import AMIClient
from audiosocket.asterisk.ami.session import AMIDown, AMIRefused, Fields
from audiosocket.asterisk.ami.wire import Message
from audiosocket.returncalls.backends.ami_cleanup import ChannelCleanup
from audiosocket.returncalls.backends.base import GRACE_SECONDS, ChannelAttempt
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest

#: Seconds that an attempt waits for AMI to come up, or its ring time if that is less.
READY_SECONDS = 3.0

#: ``ChannelState`` of a channel whose telephone rings.
_RINGING = "5"


class AMIAttempt(ChannelAttempt):
    """One call to a resident through AMI; ``fields`` are those of its Originate action."""

    def __init__(
        self,
        ami: AMIClient,
        clock: IReactorTime,
        cleanup: ChannelCleanup,
        request: ReturnRequest,
        channel_id: str,
        fields: Fields,
    ) -> None:
        super().__init__(clock, request, channel_id)
        self._fields = fields
        self._ami = ami
        self._cleanup = cleanup
        self._sent = False
        self._rejected = False  # by a failed OriginateResponse

    def received(self, message: Message) -> None:
        """Take note of an event of this attempt's channel."""
        if message.event == "OriginateResponse":
            if message.get("Response") == "Success":
                self.finish(AttemptEnd.ANSWERED)
            else:
                self._rejected, self._builder.reason = True, message.get("Reason")
                self._ending()
        elif message.event == "Hangup":
            self._builder.cause = _cause(message)
            self._ending()
        elif message.event == "DialEnd":
            self._builder.dial_status = message.get("DialStatus")
        elif message.get("ChannelState") == _RINGING:
            self._builder.rang = True

    def received_linked(self, message: Message) -> None:
        """Take note of the end of a channel that the dialplan dialled for this one, which is a ``Local/`` one."""
        if self._builder.linked(_cause(message)) and (self._rejected or self._builder.cause is not None):
            self._ending()

    def connection_lost(self, reason: str) -> None:
        """Give the attempt up: with the AMI connection its events are lost."""
        if self._sent:
            self.give_up(f"AMI was lost during the call: {reason}")

    async def _place(self) -> None:
        try:
            await self._ami.ready(min(READY_SECONDS, self.request.ring_seconds))
        except AMIDown as problem:
            self.finish(AttemptEnd.FAILED, f"{self._ami.name} is not available: {problem}", unavailable=True)
            return
        self._sent = True
        self._ami.ask("Originate", self._fields).addErrback(self._not_placed)

    def _not_placed(self, failure: Failure) -> None:
        if failure.check(AMIRefused):
            self.finish(AttemptEnd.FAILED, f"Asterisk refused to place the call: {failure.getErrorMessage()}")
        elif failure.check(AMIDown):
            self.give_up(f"AMI failed while the call was being placed: {failure.getErrorMessage()}")
        else:
            self._failed(failure)

    def _ending(self) -> None:
        """Both the response and the hangup belong to an end."""
        known = self._rejected and self._builder.cause is not None
        self._report_soon(complete=known and not self._builder.vague)

    def _late_result(self) -> AttemptResult:
        reason = "Asterisk did not report how the call ended; the AMI account needs read = call"
        return AttemptResult(AttemptEnd.FAILED, reason)

    def _release(self) -> None:
        if self._sent:
            self._cleanup.hang_up(self.attempt_id, self.request.ring_seconds + GRACE_SECONDS)


def _cause(message: Message) -> int:
    return int(message.get("Cause")) if message.get("Cause").isdecimal() else 0
