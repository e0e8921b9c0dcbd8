"""The number that is rung: the server is asked for it, and the dialogue is told how it ended."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from audiosocket.apps.porteiro.visit import Visit
from audiosocket.apps.porteiro.words import Event, RingEnded, Stage
from audiosocket.errors import InvalidNumber, ReturnTaken, ReturnUnavailable, UnknownCall
from audiosocket.interfaces import Leg, ReturnOutcome


class Ringing:
    """One number at a time; ``send`` is told when its ringing has ended."""

    _log = Logger()

    def __init__(self, send: Callable[[Event], None]) -> None:
        self._send = send
        #: The number, empty for none, and whether it rang before a restart.
        self.number = ""
        self.rang_before = False

    def adopt(self, visit: Visit) -> None:
        """Go on with the number that a visit rang before a restart."""
        self.rang_before = visit.stage is Stage.RINGING
        self.number = visit.number if self.rang_before else ""

    def ring(self, visitor: Leg, number: str) -> None:
        """Ring a number for the visitor."""
        self.rang_before = self.rang_before and number == self.number
        self.number = number
        extension = visitor.extension
        if extension.return_port is None or not extension.return_number:
            self._log.error(
                "extension {id} ({number}) has no return extension or port: porteiro can ring nobody",
                id=extension.id,
                number=extension.number,
            )
            self._end(number, rang=False)
            return
        try:
            visitor.call_resident(number, wait=True)
        except ReturnTaken as taken:  # after a restart it rings already, or somebody else rings
            visitor.note("app.note", app="porteiro", state="ringing_already", reason=str(taken))
        except (InvalidNumber, ReturnUnavailable, UnknownCall) as problem:
            visitor.note("app.note", app="porteiro", state="not_rung", reason=str(problem))
            self._end(number, rang=False)

    def stopped(self) -> None:
        """Forget the number: how its ringing ends is of no interest."""
        self.number = ""

    def ended(self, outcome: ReturnOutcome) -> None:
        """Take how a return call ended; one that brought a leg is still the number's."""
        if outcome.state != "connected":
            rang = self.rang_before or any(attempt.end != "failed" for attempt in outcome.attempts)
            self._end(outcome.attempts[-1].number if outcome.attempts else self.number, rang=rang)

    def _end(self, number: str, *, rang: bool) -> None:
        if number == self.number:
            self.number, self.rang_before = "", False
            self._send(RingEnded(number, rang))
