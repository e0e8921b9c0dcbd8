"""Channels that must not be: they are hung up, also when they appear late or AMI was away meanwhile."""

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

    An ``Originate`` that was accepted has no channel yet for some milliseconds, in which a hangup finds nothing:
    so it is repeated when the channel appears, and for all of them after a reconnection. What was answered while
    AMI was away is left alone: its leg has reached the return port, where it was accepted or turned away.
    """

    _log = Logger()

    def __init__(self, ami: AMIClient, clock: IReactorTime) -> None:
        self._ami = ami
        self._clock = clock
        self._until: dict[str, float] = {}
        self._stops = [
            ami.listen(["Newchannel"], self._appeared),
            ami.listen(["Hangup", "OriginateResponse"], self._ended),
            ami.watch(self._moved),
        ]

    def __len__(self) -> int:
        return len(self._until)

    def hang_up(self, channel_id: str, seconds: float) -> None:
        """Hang this channel up, now and whenever it is seen within the next ``seconds``."""
        self._forget_old()
        self._until[channel_id] = self._clock.seconds() + seconds
        self._request_hangup(channel_id)

    def close(self) -> None:
        """Stops listening."""
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

    def _moved(self, up: bool) -> None:
        if up:
            self._forget_old()
            for channel_id in list(self._until):
                asked = self._ami.ask("Getvar", [("Channel", channel_id), ("Variable", "CHANNEL(state)")])
                asked.addCallback(self._is_in_state, channel_id).addErrback(self._not_now, channel_id)

    def _is_in_state(self, answer: Message, channel_id: str) -> None:
        if answer.get("Value") == "Up":
            self._until.pop(channel_id, None)
        else:
            self._request_hangup(channel_id)

    def _request_hangup(self, channel_id: str) -> None:
        asked = self._ami.ask("Hangup", [("Channel", channel_id), ("Cause", _CAUSE)])
        asked.addErrback(self._not_now, channel_id)

    def _not_now(self, failure: Failure, channel_id: str) -> None:
        failure.trap(AMIDown, AMIRefused)
        reason = failure.getErrorMessage()
        self._log.debug("{channel} was not hung up: {reason}", channel=channel_id, reason=reason)

    def _forget_old(self) -> None:
        now = self._clock.seconds()
        self._until = {channel_id: until for channel_id, until in self._until.items() if until > now}
