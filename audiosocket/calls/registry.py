"""All calls: which are live, which have ended, and which legs may join one.

The rules are in ``docs/calls.md``. No sockets, no clock: the time is an argument, in seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import inf
from typing import Protocol
from uuid import UUID

from audiosocket.calls.call import Call, JournalWriter, LegState
from audiosocket.calls.call_limits import CallLimits
from audiosocket.calls.events import EventLog
from audiosocket.calls.journal_records import MovedRecord, SavedLeg
from audiosocket.calls.journal_replay import Replayed, SavedCall
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.extensions.model import Extension, Role

#: How long an ended call's UUID is answered with a hangup frame, in seconds.
REMEMBER_SECONDS = 60.0
#: Ended UUIDs that are remembered: 333 calls a second for a minute. Beyond that the oldest are dropped early.
MAX_REMEMBERED = 20_000
#: Ended calls that the API can show in full.
MAX_RECENT = 500
#: Outcomes of a leg whose connection broke: the dialplan presents its UUID again.
BROKEN = frozenset({LegOutcome.CONNECTION_LOST, LegOutcome.SLOW_READER})
#: How long a resident whose connection broke, or a visitor whose proxy closed it, may take to reconnect, in
#: seconds: the shipped dialplan waits 0.1 to 0.5 s, then 3 s at most for the lock that lets one caller at a time
#: look for a server.
RECONNECT_SECONDS = 5.0
#: Outcomes after which a leg does not resume: the server has ended it, or its peer is no Asterisk.
FINAL = frozenset(
    {
        LegOutcome.SERVER_HANGUP,
        LegOutcome.ADMIN_HANGUP,
        LegOutcome.TOO_LONG,
        LegOutcome.IDLE,
        LegOutcome.APP_FAILED,
        LegOutcome.PROTOCOL_ERROR,
        LegOutcome.PEER_ERROR,
    }
)

#: Outcomes of a visitor's leg with which a suspended resident is lost.
VISITOR_GONE = FINAL | {LegOutcome.CALLER_HANGUP, LegOutcome.LOST}


@dataclass(frozen=True)
class Admission:
    """The answer to a leg that wants to join; ``call`` is None when it is refused, for the ``reason``."""

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
    """All live calls, the recently ended ones, and the UUIDs of calls that have ended."""

    def __init__(
        self,
        events: EventLog,
        *,
        accept_unexpected_resident: bool = False,
        journal: JournalWriter | None = None,
        returns: PendingReturns | None = None,
        limits: CallLimits | None = None,
    ) -> None:
        self.events = events
        self._journal = journal
        self._interrupted = False
        self._accept_unexpected = accept_unexpected_resident
        #: None: a resident may join any call of its extension.
        self._returns = returns
        self.limits = limits or CallLimits()
        self._live: dict[UUID, Call] = {}
        self._recent: OrderedDict[UUID, Call] = OrderedDict()
        self._over: OrderedDict[UUID, float] = OrderedDict()
        self.started_total = 0
        #: Calls taken over from the previous process.
        self.restored_total = 0
        self.refused_total = 0

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._live.values()))

    def __len__(self) -> int:
        return len(self._live)

    def get(self, call_id: UUID) -> Call | None:
        """Return a live or recently ended call; None when there is none."""
        return self._live.get(call_id) or self._recent.get(call_id)

    def is_suspended(self, call_id: UUID) -> bool:
        """Return whether a leg of this call may come back: after a restart, or after the end of a connection
        through a proxy.
        """
        call = self._live.get(call_id)
        return call is not None and any(leg.suspended or leg.reconnecting for leg in call.live_legs)

    def knows(self, call_id: UUID, now: float) -> bool:
        """Return whether this UUID is that of a live call, or of one that ended less than 60 s ago."""
        self.forget(now)
        return call_id in self._live or call_id in self._over

    def recent(self) -> Iterable[Call]:
        """Return the ended calls, the latest first."""
        return reversed(self._recent.values())

    def admit(
        self, call_id: UUID, role: Role, extension: Extension, now: float, wall: str, host: str = ""
    ) -> Admission:
        """Decide whether a leg of ``role`` on a port of ``extension`` may join the call ``call_id``.

        ``now`` is steady time in seconds, ``wall`` the time of day as text, ``host`` the address of the peer.
        """
        self.forget(now)
        if call_id in self._over:
            return self._refuse(None, role, now, "this call has ended")
        call = self._live.get(call_id)
        if call is None:
            if role is Role.RESIDENT and not self._accept_unexpected:
                return self._refuse(None, role, now, "no call with this UUID is waiting for a resident")
            reason = self.limits.refusal(host, extension.id, now)
            if reason:
                return self._refuse(None, role, now, reason)
            call = Call(call_id, extension, now, wall, self.events, host=host)
            self._live[call_id] = call
            self.limits.began(call.host, call.extension.id)
            self.started_total += 1
            call.open_journal(self._journal)
            call.note("call.started", now)
            return Admission(call)
        if not _belongs(call.extension, role, extension):
            reason = f"the call belongs to extension {call.extension.id}, not {extension.id}"
            return self._refuse(call, role, now, reason)
        first = call.legs.get(role)
        reconnects = first is not None and _reconnects(first, now)
        if role is Role.RESIDENT and call.suspended and not reconnects and not self._return_pending(call):
            return self._refuse(call, role, now, "the call's visitor has not resumed after the restart")
        if first is not None and first.alive(now):
            return self._refuse(call, role, now, f"its {role.value} leg is alive")
        if first is not None and first.outcome in FINAL and not self._is_another_resident(call, first, now):
            return self._refuse(call, role, now, f"its {role.value} leg was ended by the server")
        newcomer = not reconnects and (first is None or first.outcome is not None)
        if role is Role.RESIDENT and newcomer and not self._accept_unexpected and not self._awaits_resident(call):
            return self._refuse(call, role, now, "no return call is waiting for a resident")
        return Admission(call, resumes=first is not None)

    def _is_another_resident(self, call: Call, gone: LegState, now: float) -> bool:
        """Return whether this is another resident than the one whose leg has ended for good.

        The dialplan presents the UUID of the old one again at once; without a return call only the time since
        then tells the two apart.
        """
        if gone.role is Role.VISITOR:
            return False
        return self._return_pending(call) or now - (gone.ended or now) > REMEMBER_SECONDS

    def _awaits_resident(self, call: Call) -> bool:
        return self._returns is None or self._returns.awaits(call)

    def _return_pending(self, call: Call) -> bool:
        return self._returns is not None and self._returns.pending(call)

    def together(self) -> AbstractContextManager[object]:
        """Return a context in which changes are written to the journal at once when it ends."""
        return nullcontext() if self._journal is None else self._journal

    def leg_over(self, call: Call, role: Role, outcome: LegOutcome, now: float) -> None:
        """End a leg, and its call when it was the last one; do nothing when it has ended."""
        with self.together():
            self._leg_over(call, role, outcome, now)

    def _leg_over(self, call: Call, role: Role, outcome: LegOutcome, now: float) -> None:
        leg = call.legs[role]
        if leg.outcome is not None:
            return
        leg.outcome, leg.ended, leg.suspended = outcome, now, False
        leg.sound_in.forget()
        leg.sound_out.forget()
        call.note("leg.left", now, role=role.value, outcome=outcome.value, remaining=len(call.live_legs))
        resident = call.legs.get(Role.RESIDENT)
        if resident is not None and resident.suspended and outcome in VISITOR_GONE:
            self.leg_over(call, Role.RESIDENT, LegOutcome.LOST, now)
        elif not call.live_legs and call.ended is None:
            self._end(call, now)

    # restarts

    def restore(self, replayed: Replayed, now: float) -> None:
        """Take over the calls of the previous process; their legs are suspended until they resume."""
        for call_id, age in replayed.ended.items():
            self._over[call_id] = now - age
        for old in replayed.calls:
            call = self._live[old.call_id] = self._restored(old, replayed, now)
            self.limits.began(call.host, call.extension.id)
            self.restored_total += 1

    def _restored(self, old: SavedCall, replayed: Replayed, now: float) -> Call:
        started = now - max(0.0, replayed.at - old.started)
        legs = {role: _restored_leg(role, leg, started, now) for role, leg in old.legs.items()}
        visitor = legs.get(Role.VISITOR)
        host = "" if visitor is None else visitor.peer.rpartition(":")[0]
        call = Call(old.call_id, old.extension, started, old.started_at, self.events, legs, host=host)
        call.timeline.extend(old.timeline)
        call.outcome, call.states, call.journal = old.outcome, dict(old.states), self._journal
        return call

    def leave(self, call: Call, now: float) -> None:
        """Forget a live call that another node has taken over: its end here is announced to nobody."""
        if self._journal is not None:
            self._journal.write(MovedRecord(call.name))
        call.moved, call.journal, call.ended = True, None, now
        del self._live[call.call_id]
        self.limits.ended(call.host, call.extension.id)

    @property
    def over(self) -> Mapping[UUID, float]:
        """The UUIDs of calls that have ended, and when."""
        return self._over

    def take_over(self, calls: Iterable[Call], over: Mapping[UUID, float]) -> None:
        """Go on with the calls of the previous process, which has not ended them, and with its journal."""
        self._over.update(over)
        for call in calls:
            call.journal = self._journal
            self._live[call.call_id] = call
            self.limits.began(call.host, call.extension.id)
            self.restored_total += 1

    def interrupt(self, now: float) -> None:
        """Leave the live calls to the next process: no more is written of them, so that they resume there.

        Without a journal they end like any other.
        """
        if self._journal is None:
            return
        self._interrupted = True
        for call in self:
            call.note("call.interrupted", now)
            call.journal = None

    def give_up(self, call: Call, role: Role, now: float) -> None:
        """End a leg that was admitted and could not be set up, and its call when it has no other one."""
        with self.together():
            if role in call.legs:
                self._leg_over(call, role, LegOutcome.APP_FAILED, now)
            elif not call.live_legs and call.ended is None:
                self._end(call, now)

    def _end(self, call: Call, now: float) -> None:
        main = call.legs.get(Role.VISITOR) or next(iter(call.legs.values()), None)
        outcome = LegOutcome.APP_FAILED if main is None else main.outcome or LegOutcome.CONNECTION_LOST
        call.decide(call.presumed or outcome.value)
        call.ended = now
        if not self._interrupted:
            call.note_end(now)
        del self._live[call.call_id]
        self.limits.ended(call.host, call.extension.id)
        self._over[call.call_id] = now
        self._recent[call.call_id] = call
        self._recent.move_to_end(call.call_id)  # the UUID may have been used, and listed, before
        while len(self._recent) > MAX_RECENT:
            self._recent.popitem(last=False)
        while len(self._over) > MAX_REMEMBERED:
            self._over.popitem(last=False)

    def forget(self, now: float) -> bool:
        """Drop the UUIDs that ended more than 60 s ago; return whether there were any."""
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
    """Return whether a leg of a call on the row ``own`` may arrive on a port of the row ``extension``.

    The row of a visitor's port may have been written again, with another id, while the server was stopped. A
    resident may open a gate, and has to arrive on the same row.
    """
    return own.id == extension.id or (role is Role.VISITOR and own.port == extension.port)


def _reconnects(gone: LegState, now: float) -> bool:
    """Return whether a leg with the UUID and role of ``gone`` is the same one, cut off by a restart or an error.

    Its call is live, so the other leg is, too, or is suspended.
    """
    if gone.suspended or gone.reconnecting:
        return True
    return gone.outcome in BROKEN and gone.ended is not None and now - gone.ended <= RECONNECT_SECONDS


def _restored_leg(role: Role, saved: SavedLeg, started: float, now: float) -> LegState:
    # After the clock was set back it must not have ended in the future.
    ended = None if saved.ended is None else min(now, started + saved.ended)
    # An outcome that only a newer version knows is one after which no resident reconnects.
    outcome = next((outcome for outcome in LegOutcome if outcome.value == saved.outcome), LegOutcome.LOST)
    return LegState(
        role,
        saved.peer,
        saved.port,
        joined=started + saved.joined,
        last_received=-inf,
        resumes=saved.resumes,
        outcome=None if saved.outcome is None else outcome,
        ended=ended,
        suspended=saved.outcome is None,
    )
