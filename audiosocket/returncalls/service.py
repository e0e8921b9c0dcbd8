"""Return calls: the numbers of a call are rung one after the other until a resident's leg has joined it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

from twisted.internet.interfaces import IReactorTime

from audiosocket.calls.call import Call
from audiosocket.calls.journal_records import SavedReturn
from audiosocket.errors import InvalidNumber, LocalProtocolError, ReturnTaken, ReturnUnavailable, UnknownCall
from audiosocket.extensions.model import Role
from audiosocket.interfaces import ReturnOutcome
from audiosocket.returncalls.backends.waiting import WaitingOriginator
from audiosocket.returncalls.dial_string import checked_number
from audiosocket.returncalls.originator import NOT_CONFIGURED, Originator
from audiosocket.returncalls.return_call import ReturnCall, ReturnContext

#: Numbers that one return call may try.
MAX_NUMBERS = 20
#: Return calls that one call may have, against an app that places another one whenever one has failed.
MAX_RETURNS = 20


class ReturnCalls:
    """All return calls under way, at most one for each call.

    ``ring_seconds`` is how long each number rings; ``window_seconds`` how long after the answer the resident's leg
    may take to arrive. ``ended`` receives the call and the outcome of each return call, in a turn of the reactor
    of its own; it returns false when the visitor's leg is suspended, and is then called again when that resumes.
    ``confirm``: a leg must press a key before it is the resident's. ``arrived`` receives the call of each leg that
    has arrived, for backends that receive no answer. ``new_id`` returns the ids of attempts, see `ReturnRequest`.
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
        confirm: bool = False,
        arrived: Callable[[UUID], object] | None = None,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self._context = ReturnContext(
            originator, clock, ring_seconds, window_seconds, caller_id, confirm, new_id, self._return_call_ended
        )
        #: With RETURN_CONFIRM, a leg must press a key before it is the resident's.
        self.confirm = confirm
        self._waiting = WaitingOriginator(clock)
        self._ended = ended
        self._arrived = arrived
        self._under_way: dict[UUID, ReturnCall] = {}
        #: Ended since a restart, while the visitor's leg was suspended.
        self._unreported: dict[UUID, ReturnCall] = {}

    @property
    def configured(self) -> bool:
        """Whether there is a backend; if not, residents may join at any time."""
        return self._context.originator is not None

    def place(self, call: Call, numbers: Sequence[str], *, wait: bool = False) -> None:
        """Ring these numbers in their order until one is answered; returns at once.

        With ``wait`` no backend is needed: where none is configured each number is waited for as long as it would
        ring, and whoever brings the resident's leg meanwhile is let in.

        Raises `InvalidNumber`, `ReturnUnavailable` (no backend is configured), `UnknownCall` (the call has ended)
        and `ReturnTaken`. With a backend that is down it raises nothing; the attempt fails.
        """
        _check_numbers(numbers)
        if not self.configured and not wait:
            raise ReturnUnavailable(NOT_CONFIGURED)
        if call.ended is not None:
            raise UnknownCall(f"the call {call.call_id} has ended")
        visitor, resident = call.legs.get(Role.VISITOR), call.legs.get(Role.RESIDENT)
        if call.call_id in self._under_way:
            raise ReturnTaken(f"a return call for {call.call_id} is already under way")
        if resident is not None and resident.outcome is None:
            raise ReturnTaken(f"the call {call.call_id} has its resident already")
        if visitor is None or visitor.outcome is not None or visitor.suspended:
            raise ReturnTaken(f"no visitor is waiting in the call {call.call_id}")
        if call.extension.return_port is None or not call.extension.return_number:
            raise ReturnTaken(
                f"extension {call.extension.id} needs ramal_retorno and porta_retorno for a return call"
            )
        if len(call.return_calls) >= MAX_RETURNS:
            raise ReturnTaken(f"the call {call.call_id} has had {MAX_RETURNS} return calls, which is the most")
        own = None if self.configured else self._waiting
        return_call = ReturnCall(self._context, call, numbers, len(call.return_calls) + 1, own)
        self._under_way[call.call_id] = return_call
        call.return_calls += (return_call,)
        return_call.start()

    def cancel(self, call: Call) -> None:
        """Stop the ringing; raises `ReturnTaken` when no return call is under way."""
        return_call = self._under_way.get(call.call_id)
        if return_call is None:
            raise ReturnTaken(f"no return call for {call.call_id} is under way")
        return_call.cancel("cancelled on request")

    def awaits(self, call: Call) -> bool:
        """Return whether a resident's leg may join this call now; always true without a backend."""
        return not self.configured or self.pending(call)

    def pending(self, call: Call) -> bool:
        """Return whether a return call is under way from which the resident's leg of this call may arrive."""
        return_call = self._under_way.get(call.call_id)
        return return_call is not None and return_call.expects_leg

    def joined(self, call: Call) -> bool:
        """End the return call as connected: the resident's leg was accepted. Return whether one was under way."""
        return_call = self._under_way.get(call.call_id)
        if return_call is None:
            return False
        return_call.connected()
        self._leg_arrived(call)
        return True

    def arrived(self, call: Call) -> None:
        """A leg is there that must press a key before it is the resident's, see `joined` and `unconfirmed`."""
        return_call = self._under_way.get(call.call_id)
        if return_call is not None:
            return_call.arrived()
            self._leg_arrived(call)

    def unconfirmed(self, call: Call, reason: str) -> None:
        """The leg that was to press a key is over; the next number is rung."""
        return_call = self._under_way.get(call.call_id)
        if return_call is not None:
            return_call.unconfirmed(reason)

    def _leg_arrived(self, call: Call) -> None:
        self._waiting.answered(call.call_id)
        if self._arrived is not None:
            self._arrived(call.call_id)

    def visitor_left(self, call: Call) -> None:
        """Stop what rings: the visitor's leg has ended."""
        self._unreported.pop(call.call_id, None)
        return_call = self._under_way.get(call.call_id)
        if return_call is not None:
            return_call.cancel("the visitor left")

    def visitor_resumed(self, call: Call) -> None:
        """Report to a leg that resumed after a restart what has ended meanwhile, and ring what waited for it."""
        missed = self._unreported.pop(call.call_id, None)
        if missed is not None:
            self._return_call_ended(missed)
        return_call = self._under_way.get(call.call_id)
        if return_call is not None:
            return_call.visitor_resumed()

    def close(self) -> None:
        """Stop everything that rings."""
        for return_call in list(self._under_way.values()):
            return_call.cancel("the server is stopping")

    def interrupt(self) -> None:
        """Stop everything that rings; where a journal is kept, the next process rings it again."""
        for return_call in list(self._under_way.values()):
            if return_call.call.journal is None:
                return_call.cancel("the server is stopping")
            else:
                return_call.interrupt()
        self._under_way.clear()

    def leave(self, call: Call) -> None:
        """Forget the return call of a call that another node has taken over."""
        self._unreported.pop(call.call_id, None)
        return_call = self._under_way.pop(call.call_id, None)
        if return_call is not None:
            return_call.leave()

    def restore(self, call: Call, returns: Sequence[SavedReturn], offset: float) -> None:
        """Take over the return calls of a call of the previous process.

        ``returns`` are in the time of day, ``offset`` is steady time less the time of day, in seconds.
        """
        for number, saved in enumerate(returns, 1):
            return_call = ReturnCall.restored(self._context, call, saved.shifted(offset), number)
            call.return_calls += (return_call,)
            if not return_call.has_ended:
                self._under_way[call.call_id] = return_call
                return_call.resume()

    def _return_call_ended(self, return_call: ReturnCall) -> None:
        # reported in a turn of its own: an app may place another one then
        self._under_way.pop(return_call.call.call_id, None)
        self._context.clock.callLater(0, self._report_end, return_call)

    def _report_end(self, return_call: ReturnCall) -> None:
        if not self._ended(return_call.call, return_call.outcome):
            self._unreported[return_call.call.call_id] = return_call


def _check_numbers(numbers: Sequence[str]) -> None:
    if not 0 < len(numbers) <= MAX_NUMBERS:
        raise InvalidNumber(f"there are {len(numbers)} numbers; give 1 to {MAX_NUMBERS}")
    for number in numbers:
        try:
            checked_number(number)
        except LocalProtocolError as problem:
            raise InvalidNumber(str(problem)) from None
