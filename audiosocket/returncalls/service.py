"""Return calls: whom to ring for a call, one number after the other, until a resident's leg has joined it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

from twisted.internet.interfaces import IReactorTime

from audiosocket.calls.call import Call
from audiosocket.calls.journal_records import SavedReturn
from audiosocket.errors import InvalidNumber, LocalProtocolError, ReturnTaken, ReturnUnavailable, UnknownCall
from audiosocket.extensions.model import Role
from audiosocket.interfaces import ReturnOutcome
from audiosocket.returncalls.dial_string import checked_number
from audiosocket.returncalls.originator import NOT_CONFIGURED, Originator
from audiosocket.returncalls.return_call import ReturnCall

#: Numbers that one return call may try.
NUMBERS_MOST = 20
#: Return calls that one call may have: an app that asks again whenever one fails comes to an end.
RETURNS_MOST = 20


class ReturnCalls:
    """All return calls under way, at most one for each call.

    ``ring_seconds`` is how long each number rings; ``window_seconds`` how long after the answer the resident's leg
    may take to arrive. ``ended`` receives the call and the outcome of each return call, in a turn of the reactor
    of its own; it returns false when the visitor's leg is suspended, and is then called again when that resumes.
    ``arrived`` is told the call of each leg that did, for backends that cannot hear an answer.
    ``new_id`` names attempts, see `originate.ReturnRequest`.
    """

    def __init__(
        self,
        originator: Originator | None,
        clock: IReactorTime,
        *,
        ended: Callable[[Call, ReturnOutcome], bool] = lambda call, outcome: True,
        ring_seconds: float = 25,
        window_seconds: float = 10,
        caller_id: str = "",
        arrived: Callable[[UUID], object] | None = None,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self.originator = originator
        self.clock = clock
        self.ring_seconds = ring_seconds
        self.window_seconds = window_seconds
        self.caller_id = caller_id
        self.new_id = new_id
        self._ended = ended
        self._arrived = arrived
        self._runs: dict[UUID, ReturnCall] = {}
        #: Ended since a restart, while the visitor's leg had not come back.
        self._untold: dict[UUID, ReturnCall] = {}

    @property
    def configured(self) -> bool:
        """Whether there is anybody to place calls; if not, residents may join as they come."""
        return self.originator is not None

    def place(self, call: Call, numbers: Sequence[str]) -> None:
        """Ring these numbers in their order until one is answered; returns at once.

        Raises `InvalidNumber`, `ReturnUnavailable` (nobody is configured to place it), `UnknownCall` (it is over)
        and `ReturnTaken`. A backend that is down raises nothing: that is how an attempt ends, like any other.
        """
        _check_numbers(numbers)
        if self.originator is None:
            raise ReturnUnavailable(NOT_CONFIGURED)
        if call.ended is not None:
            raise UnknownCall(f"the call {call.call_id} has ended")
        visitor, resident = call.legs.get(Role.VISITOR), call.legs.get(Role.RESIDENT)
        if call.call_id in self._runs:
            raise ReturnTaken(f"a return call for {call.call_id} is already under way")
        if resident is not None and resident.outcome is None:
            raise ReturnTaken(f"the call {call.call_id} has its resident already")
        if visitor is None or visitor.outcome is not None or visitor.suspended:
            raise ReturnTaken(f"no visitor is waiting in the call {call.call_id}")
        if call.extension.return_port is None or not call.extension.return_number:
            raise ReturnTaken(
                f"extension {call.extension.id} needs ramal_retorno and porta_retorno for a return call"
            )
        if len(call.return_calls) >= RETURNS_MOST:
            raise ReturnTaken(f"the call {call.call_id} has had {RETURNS_MOST} return calls; that is enough")
        run = ReturnCall(self, call, numbers, len(call.return_calls) + 1)
        self._runs[call.call_id] = run
        call.return_calls += (run,)
        run.start()

    def cancel(self, call: Call) -> None:
        """Stop the ringing; raises `ReturnTaken` when no return call is under way."""
        run = self._runs.get(call.call_id)
        if run is None:
            raise ReturnTaken(f"no return call for {call.call_id} is under way")
        run.cancel("somebody asked for it")

    def awaits(self, call: Call) -> bool:
        """Whether a resident's leg may join this call now; always, when no backend is configured."""
        return not self.configured or self.pending(call)

    def pending(self, call: Call) -> bool:
        """Whether a return call is under way that may bring the resident's leg of this call."""
        run = self._runs.get(call.call_id)
        return run is not None and run.expects_leg

    def joined(self, call: Call) -> None:
        """The resident's leg was accepted: whatever the backend says later, the return call has succeeded."""
        run = self._runs.get(call.call_id)
        if run is not None:
            run.connected()
            if self._arrived is not None:
                self._arrived(call.call_id)

    def visitor_left(self, call: Call) -> None:
        """Nobody is waiting any more; what rings is stopped."""
        self._untold.pop(call.call_id, None)
        run = self._runs.get(call.call_id)
        if run is not None:
            run.cancel("the visitor left")

    def visitor_back(self, call: Call) -> None:
        """After a restart the visitor's leg is there again: say what it missed, ring whom it waits for."""
        missed = self._untold.pop(call.call_id, None)
        if missed is not None:
            self.over(missed)
        run = self._runs.get(call.call_id)
        if run is not None:
            run.visitor_back()

    def close(self) -> None:
        """Stop everything that rings."""
        for run in list(self._runs.values()):
            run.cancel("the server stops")

    def interrupt(self) -> None:
        """Stop everything that rings; where a journal is kept, the next process rings it again."""
        for run in list(self._runs.values()):
            if run.call.journal is None:
                run.cancel("the server stops")
            else:
                run.interrupt()
        self._runs.clear()

    def restore(self, call: Call, kept: Sequence[SavedReturn], offset: float) -> None:
        """Take over the return calls of a call that the process before this one left.

        ``offset`` is steady time less the time of day, in seconds.
        """
        for number, one in enumerate(kept, 1):
            run = ReturnCall.restored(self, call, one, number, offset)
            call.return_calls += (run,)
            if not run.is_over:
                self._runs[call.call_id] = run
                run.resume()

    def over(self, run: ReturnCall) -> None:
        """A run has ended; its call may be given another one, also by an app that is told of this one."""
        self._runs.pop(run.call.call_id, None)
        self.clock.callLater(0, self._report_end, run)

    def _report_end(self, run: ReturnCall) -> None:
        if not self._ended(run.call, run.outcome):
            self._untold[run.call.call_id] = run


def _check_numbers(numbers: Sequence[str]) -> None:
    if not 0 < len(numbers) <= NUMBERS_MOST:
        raise InvalidNumber(f"there are {len(numbers)} numbers; give 1 to {NUMBERS_MOST}")
    for number in numbers:
        try:
            checked_number(number)
        except LocalProtocolError as problem:
            raise InvalidNumber(str(problem)) from None
