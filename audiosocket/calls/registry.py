"""The books of all calls: which are live, which have ended, and who may join one (contract, section 8).

No sockets, no clock: the time is an argument in seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import inf
from typing import Protocol
from uuid import UUID

from audiosocket.calls.call import Call, JournalWriter, LegState
from audiosocket.calls.events import EventLog
from audiosocket.calls.journal_records import SavedLeg
from audiosocket.calls.journal_replay import Replayed, SavedCall
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.extensions.model import Extension, Role

#: How long an ended call's UUID is answered with a hangup frame, in seconds.
REMEMBER_SECONDS = 60.0
#: Ended UUIDs remembered at most: 333 calls a second for a minute. Beyond that the oldest are forgotten early.
REMEMBER_MOST = 20_000
#: Ended calls the API can still show in full.
RECENT_MOST = 500
#: Endings of a leg that did not want to leave: its connection broke, and the dialplan presents its UUID again.
BROKEN = frozenset({LegOutcome.CONNECTION_LOST, LegOutcome.SLOW_READER})
#: How long a resident whose connection broke may take to be back, in seconds: the shipped dialplan waits 0.1 to
#: 0.5 s, then 3 s at most for the lock that has one caller look at a time; a server that is there is met at once.
BACK_SECONDS = 5.0
#: Endings with which a leg was sent away: it has heard a goodbye, or is no Asterisk, and does not resume.
SENT_AWAY = frozenset(
    {
        LegOutcome.SERVER_HANGUP,
        LegOutcome.ADMIN_HANGUP,
        LegOutcome.APP_FAILED,
        LegOutcome.PROTOCOL_ERROR,
        LegOutcome.PEER_ERROR,
    }
)

#: Endings of a visitor's leg after which nobody waits for a resident that a restart cut off.
GONE_FOR_GOOD = SENT_AWAY | {LegOutcome.CALLER_HANGUP, LegOutcome.LOST}


@dataclass(frozen=True)
class Admission:
    """The registry's answer to a leg that wants in; ``call`` is None exactly when it is refused."""

    call: Call | None
    reason: str = ""
    resumes: bool = False


class PendingReturns(Protocol):
    """What the registry asks about return calls."""

    def awaits(self, call: Call) -> bool:
        """Return whether a resident's leg may join the call now; a resident may open a gate."""

    def pending(self, call: Call) -> bool:
        """Return whether a return call is under way that may bring the resident's leg of the call."""


class CallRegistry:
    """All live calls, the recently ended ones, and the UUIDs that are over."""

    def __init__(
        self,
        events: EventLog,
        *,
        accept_unexpected_resident: bool = False,
        journal: JournalWriter | None = None,
        returns: PendingReturns | None = None,
    ) -> None:
        self._events = events
        self._journal = journal
        self._interrupted = False
        self._accept_unexpected = accept_unexpected_resident
        #: None: a resident may join any call of its extension.
        self._returns = returns
        self._live: dict[UUID, Call] = {}
        self._recent: OrderedDict[UUID, Call] = OrderedDict()
        self._over: OrderedDict[UUID, float] = OrderedDict()
        self.started_total = 0
        #: Calls taken over from the process before this one.
        self.restored_total = 0
        self.refused_total = 0

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._live.values()))

    def __len__(self) -> int:
        return len(self._live)

    def get(self, call_id: UUID) -> Call | None:
        """A live or recently ended call."""
        return self._live.get(call_id) or self._recent.get(call_id)

    def recent(self) -> Iterable[Call]:
        """Ended calls, the latest first."""
        return reversed(self._recent.values())

    def admit(self, call_id: UUID, role: Role, extension: Extension, now: float, wall: str) -> Admission:
        """May a leg of ``role``, arriving on ``extension``, join the call ``call_id``?

        ``now`` is steady time in seconds, ``wall`` the time of day as text for people.
        """
        self.forget(now)
        if call_id in self._over:
            return self._refuse(None, role, now, "this call has ended")
        call = self._live.get(call_id)
        if call is None:
            if role is Role.RESIDENT and not self._accept_unexpected:
                return self._refuse(None, role, now, "no call with this UUID is waiting for a resident")
            call = Call(call_id, extension, now, wall, self._events)
            self._live[call_id] = call
            self.started_total += 1
            call.open_journal(self._journal)
            call.note("call.started", now)
            return Admission(call)
        if not _belongs(call.extension, role, extension):
            reason = f"the call belongs to extension {call.extension.id}, not {extension.id}"
            return self._refuse(call, role, now, reason)
        first = call.legs.get(role)
        back = first is not None and _comes_back(first, now)
        if role is Role.RESIDENT and call.suspended and not back and not self._return_pending(call):
            return self._refuse(call, role, now, "the call's visitor has not come back after the restart")
        if first is not None and first.alive(now):
            return self._refuse(call, role, now, f"its {role.value} leg is alive")
        if first is not None and first.outcome in SENT_AWAY and not self._begins_anew(call, first, now):
            return self._refuse(call, role, now, f"its {role.value} leg was sent away")
        newcomer = not back and (first is None or first.outcome is not None)
        if role is Role.RESIDENT and newcomer and not self._accept_unexpected and not self._awaits_resident(call):
            return self._refuse(call, role, now, "no return call is waiting for a resident")
        return Admission(call, resumes=first is not None)

    def _begins_anew(self, call: Call, gone: LegState, now: float) -> bool:
        """Is this somebody else than the one who was sent away? The dialplan presents a UUID again at once.

        Only residents change, and where nobody announces them only time tells.
        """
        if gone.role is Role.VISITOR:
            return False
        return self._return_pending(call) or now - (gone.ended or now) > REMEMBER_SECONDS

    def _awaits_resident(self, call: Call) -> bool:
        return self._returns is None or self._returns.awaits(call)

    def _return_pending(self, call: Call) -> bool:
        return self._returns is not None and self._returns.pending(call)

    def together(self) -> AbstractContextManager[object]:
        """Within it changes are written to the journal in one piece."""
        return nullcontext() if self._journal is None else self._journal

    def leg_over(self, call: Call, role: Role, outcome: LegOutcome, now: float) -> None:
        """A leg is over; the call is, too, when it was the last one. Only the first cause counts."""
        with self.together():
            self._leg_over(call, role, outcome, now)

    def _leg_over(self, call: Call, role: Role, outcome: LegOutcome, now: float) -> None:
        leg = call.legs[role]
        if leg.outcome is not None:
            return
        leg.outcome, leg.ended, leg.suspended = outcome, now, False
        call.note("leg.left", now, role=role.value, outcome=outcome.value, remaining=len(call.live_legs))
        resident = call.legs.get(Role.RESIDENT)
        if resident is not None and resident.suspended and outcome in GONE_FOR_GOOD:
            self.leg_over(call, Role.RESIDENT, LegOutcome.LOST, now)  # nobody is left to come back to
        elif not call.live_legs and call.ended is None:
            self._end(call, now)

    # restarts

    def restore(self, kept: Replayed, now: float) -> None:
        """Take over what the process before this one left; its legs are dormant until they come back."""
        for call_id, age in kept.ended.items():
            self._over[call_id] = now - age
        for old in kept.calls:
            self._live[old.call_id] = self._restored(old, kept, now)
            self.restored_total += 1

    def _restored(self, old: SavedCall, kept: Replayed, now: float) -> Call:
        started = now - max(0.0, kept.at - old.started)
        legs = {role: _restored_leg(role, leg, started, now) for role, leg in old.legs.items()}
        call = Call(old.call_id, old.extension, started, old.started_at, self._events, legs)
        call.timeline.extend(old.timeline)
        call.outcome, call.states, call.journal = old.outcome, dict(old.states), self._journal
        return call

    def interrupt(self, now: float) -> None:
        """The process is about to stop: what ends from here on is not over for its callers.

        Without a journal nobody could take the calls over, and they end like any other.
        """
        if self._journal is None:
            return
        self._interrupted = True
        for call in self:
            call.note("call.interrupted", now)
            call.journal = None

    def _end(self, call: Call, now: float) -> None:
        main = call.legs.get(Role.VISITOR) or next(iter(call.legs.values()))
        call.decide(main.outcome.value if main.outcome else LegOutcome.CONNECTION_LOST.value)
        call.ended = now
        if not self._interrupted:
            call.note_end(now)
        del self._live[call.call_id]
        self._over[call.call_id] = now
        self._recent[call.call_id] = call
        self._recent.move_to_end(call.call_id)  # the UUID may have been used, and listed, before
        while len(self._recent) > RECENT_MOST:
            self._recent.popitem(last=False)
        while len(self._over) > REMEMBER_MOST:
            self._over.popitem(last=False)

    def forget(self, now: float) -> bool:
        """Drop the UUIDs that have been over for 60 s; true when there were any."""
        before = len(self._over)
        while self._over:
            call_id, ended = next(iter(self._over.items()))
            if now - ended <= REMEMBER_SECONDS:
                break
            del self._over[call_id]
        return len(self._over) < before

    def _refuse(self, call: Call | None, role: Role, now: float, reason: str) -> Admission:
        self.refused_total += 1
        if call is not None:
            call.note("leg.refused", now, role=role.value, reason=reason)
        return Admission(None, reason)


def _belongs(own: Extension, role: Role, extension: Extension) -> bool:
    """May a leg of a call on ``own`` come in there?

    The row of a visitor's port may have been written anew, with another id, while the server was away. A leg that
    opens a gate is let in by the very row only.
    """
    return own.id == extension.id or (role is Role.VISITOR and own.port == extension.port)


def _comes_back(gone: LegState, now: float) -> bool:
    """Is a leg with this UUID and role the same one again, which a restart or its connection cut off?

    While its call is live the other leg is up, or will be back itself.
    """
    if gone.suspended:
        return True
    return gone.outcome in BROKEN and gone.ended is not None and now - gone.ended <= BACK_SECONDS


def _restored_leg(role: Role, kept: SavedLeg, started: float, now: float) -> LegState:
    # A clock that was set back must not let it have ended in the future, when its time would not have begun yet.
    ended = None if kept.ended is None else min(now, started + kept.ended)
    # What only a newer version knows is an outcome after which no resident comes back by himself.
    outcome = next((outcome for outcome in LegOutcome if outcome.value == kept.outcome), LegOutcome.LOST)
    return LegState(
        role,
        kept.peer,
        kept.port,
        joined=started + kept.joined,
        last_received=-inf,
        resumes=kept.resumes,
        outcome=None if kept.outcome is None else outcome,
        ended=ended,
        suspended=kept.outcome is None,
    )
