"""Hanging up channels of cancelled attempts, also those that appear late or while AMI is down."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.asterisk.ami.client import AMIClient
from audiosocket.asterisk.ami.session import AMIDown, AMIRefused
from audiosocket.asterisk.ami.wire import Message

#: Q.850 "normal clearing".
_CAUSE = "16"


class ChannelCleanup:
    """Hangs channels up by the ids they were originated with.

    For some milliseconds after an accepted ``Originate`` there is no channel, and a hangup fails; so it is
    repeated when the channel appears, and for all of them after a reconnection. A channel that was answered while
    AMI was down is left alone: its leg has reached the return port, where it was accepted or refused.
    """

    _log = Logger()

    def __init__(self, ami: AMIClient, clock: IReactorTime) -> None:
        self._ami = ami
        self._clock = clock
        self._until: dict[str, float] = {}
        self._stops = [
            ami.listen(["Newchannel"], self._appeared),
            ami.listen(["Hangup", "OriginateResponse"], self._ended),
            ami.watch(self._state_changed),
        ]

    def __len__(self) -> int:
        return len(self._until)

    def hang_up(self, channel_id: str, seconds: float) -> None:
        """Hang this channel up, now and whenever it is seen within the next ``seconds``."""
        self._drop_expired()
        self._until[channel_id] = self._clock.seconds() + seconds
        self._request_hangup(channel_id)

    def close(self) -> None:
        """Stop listening to events."""
        for stop in self._stops:
            stop()
        self._stops = []

    def _appeared(self, message: Message) -> None:
        if self._until and self._until.get(message.get("Uniqueid"), 0) > self._clock.seconds():
            self._request_hangup(message.get("Uniqueid"))

    def _ended(self, message: Message) -> None:
        if not self._until or message.get("Uniqueid") not in self._until:
            return
        if message.get("Response") == "Success":  # answered at the last moment
            self._request_hangup(message.get("Uniqueid"))
        else:
            del self._until[message.get("Uniqueid")]

    def _state_changed(self, up: bool) -> None:
        if up:
            self._drop_expired()
            for channel_id in list(self._until):
                requested = self._ami.ask("Getvar", [("Channel", channel_id), ("Variable", "CHANNEL(state)")])
                requested.addCallback(self._hang_up_unless_answered, channel_id).addErrback(
                    self._hangup_failed, channel_id
                )

    def _hang_up_unless_answered(self, answer: Message, channel_id: str) -> None:
        if answer.get("Value") == "Up":
            self._until.pop(channel_id, None)
        else:
            self._request_hangup(channel_id)

    def _request_hangup(self, channel_id: str) -> None:
        requested = self._ami.ask("Hangup", [("Channel", channel_id), ("Cause", _CAUSE)])
        requested.addErrback(self._hangup_failed, channel_id)

    def _hangup_failed(self, failure: Failure, channel_id: str) -> None:
        failure.trap(AMIDown, AMIRefused)
        reason = failure.getErrorMessage()
        self._log.debug("{channel} was not hung up: {reason}", channel=channel_id, reason=reason)

    def _drop_expired(self) -> None:
        now = self._clock.seconds()
        self._until = {channel_id: until for channel_id, until in self._until.items() if until > now}
