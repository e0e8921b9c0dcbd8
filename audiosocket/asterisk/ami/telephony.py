"""What is done with a caller's channel through AMI: redirect it, play digits on it."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from audiosocket.asterisk.ami.client import AMIClient
from audiosocket.asterisk.ami.session import AMIDown, AMIRefused
from audiosocket.errors import LocalProtocolError, TelephonyUnavailable

#: How long each digit is played, in milliseconds.
DIGIT_MS = 160


class AMITelephony:
    """Implements `interfaces.Telephony`."""

    def __init__(self, ami: AMIClient) -> None:
        self._ami = ami

    def redirect(self, channel: str, context: str, exten: str) -> Deferred[None]:
        fields = [("Channel", channel), ("Context", context), ("Exten", exten), ("Priority", "1")]
        return Deferred.fromCoroutine(self._ask("Redirect", fields))

    def play_digits(self, channel: str, digits: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._play(channel, digits))

    async def _play(self, channel: str, digits: str) -> None:
        """One action each: Asterisk queues the digits of a channel by itself."""
        for digit in digits:
            await self._ask("PlayDTMF", [("Channel", channel), ("Digit", digit), ("Duration", str(DIGIT_MS))])

    async def _ask(self, action: str, fields: list[tuple[str, str]]) -> None:
        try:
            await self._ami.ask(action, fields)
        except (AMIDown, AMIRefused, LocalProtocolError) as problem:
            raise TelephonyUnavailable(f"{action}: {problem}") from None
