"""What is done with a caller's channel through AMI: redirect it, play digits on it."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from audiosocket.asterisk.ami.client import AMIClient
from audiosocket.asterisk.ami.session import AMIDown, AMIRefused
from audiosocket.errors import LocalProtocolError, TelephonyUnavailable

#: Milliseconds of a digit, and seconds from its beginning to that of the next: door stations need a pause between.
DIGIT_MS = 200
NEXT_DIGIT_SECONDS = 0.4
#: Seconds of a pause, as in Asterisk's SendDTMF.
PAUSES = {"w": 0.5, "W": 1.0}


class AMITelephony:
    """Implements `interfaces.Telephony`."""

    def __init__(self, ami: AMIClient, clock: IReactorTime) -> None:
        self._ami = ami
        self._clock = clock

    def redirect(self, channel: str, context: str, exten: str) -> Deferred[None]:
        fields = [("Channel", channel), ("Context", context), ("Exten", exten), ("Priority", "1")]
        return Deferred.fromCoroutine(self._redirect(fields))

    def play_digits(self, channel: str, digits: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._play(channel, digits))

    async def _redirect(self, fields: list[tuple[str, str]]) -> None:
        try:
            await self._ami.ask("Redirect", fields)
        except (AMIDown, AMIRefused, LocalProtocolError) as problem:
            raise TelephonyUnavailable(f"Redirect: {problem}") from None

    async def _play(self, channel: str, digits: str) -> None:
        played, keys = 0, sum(digit not in PAUSES for digit in digits)
        try:
            for number, digit in enumerate(digits):
                if number:
                    await deferLater(self._clock, PAUSES.get(digits[number - 1], NEXT_DIGIT_SECONDS))
                if digit in PAUSES:
                    continue
                fields = [("Channel", channel), ("Digit", digit), ("Duration", str(DIGIT_MS))]
                await self._ami.ask("PlayDTMF", fields)
                played += 1
        except (AMIDown, AMIRefused, LocalProtocolError) as problem:
            raise TelephonyUnavailable(f"{played} of {keys} keys were played: {problem}") from None
