"""Calls: everything that carries one UUID. No sockets, no clock: the time is an argument in seconds.

The registry holds the rules of who may join a call (contract, section 8); a `Call` holds its legs, its
timeline and exactly one outcome: the first cause wins, later ones are its echoes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Any, Protocol
from uuid import UUID

from audiosocket.events import EventLog
from audiosocket.extensions import Extension, Role
from audiosocket.replay import TIMELINE_MOST as KEPT_MOST
from audiosocket.replay import KeptCall, KeptLeg, Replayed

#: A leg that delivered a frame this recently is alive and cannot be taken over, in seconds.
ALIVE_SECONDS = 1.0
#: How long an ended call's UUID is answered with a hangup frame, in seconds.
REMEMBER_SECONDS = 60.0
#: Ended UUIDs remembered at most; an Asterisk that churns faster loses the oldest early.
REMEMBER_MOST = 50_000
#: Ended calls the API can still show in full.
RECENT_MOST = 500
TIMELINE_MOST = KEPT_MOST


class Ending(str, Enum):
    """Why a leg is over."""

    CALLER_HANGUP = "caller_hangup"  #: Asterisk closed the connection, or sent a hangup
    SERVER_HANGUP = "server_hangup"  #: the app was done
    ADMIN_HANGUP = "admin_hangup"  #: somebody asked for it through the API
    APP_FAILED = "app_failed"  #: the app raised
    PROTOCOL_ERROR = "protocol_error"  #: the peer sent what is not AudioSocket
    PEER_ERROR = "peer_error"  #: the peer reported an error (0xff)
    CONNECTION_LOST = "connection_lost"  #: the connection was reset or timed out
    SLOW_READER = "slow_reader"  #: the peer did not take our audio for 2 s
    SHUTDOWN = "shutdown"  #: the server stopped
    LOST = "lost"  #: it did not come back after the server's restart


#: Endings of a visitor's leg after which nobody waits for a resident that a restart cut off.
GONE_FOR_GOOD = frozenset({Ending.CALLER_HANGUP, Ending.SERVER_HANGUP, Ending.ADMIN_HANGUP, Ending.LOST})

#: Endings with which a leg was sent away: it has heard a goodbye, or is no Asterisk, and does not resume.
SENT_AWAY = frozenset(
    {Ending.SERVER_HANGUP, Ending.ADMIN_HANGUP, Ending.APP_FAILED, Ending.PROTOCOL_ERROR, Ending.PEER_ERROR}
)


class ShownInJson(Protocol):
    """Something of a call that the API shows: `returncall.Run`."""

    def as_json(self, now: float) -> dict[str, Any]:
        """As shown by the API; durations in seconds."""


class Journal(Protocol):
    """Where changes are kept, so that calls outlive the process: `journal.CallJournal`.

    Within ``with journal:`` lines may be kept together, and are kept when it ends.
    """

    def __enter__(self) -> object:
        """Several lines follow at once."""

    def __exit__(self, *exception: object) -> None:
        """That was all."""

    def write(self, line: Mapping[str, Any]) -> None:
        """Keep one line of those that ``replay.py`` reads; never raises."""


@dataclass(slots=True)
class LegRecord:
    """One leg as the books know it; the counters are moved by the leg itself."""

    role: Role
    peer: str
    port: int
    joined: float
    last_heard: float
    rate: int = 8000
    frames_in: int = 0
    frames_out: int = 0
    silence_out: int = 0
    digits: int = 0
    ignored: int = 0
    resumes: int = 0
    ending: Ending | None = None
    ended: float | None = None
    #: It was up when the server before this one died, and has not come back yet.
    dormant: bool = False

    def alive(self, now: float) -> bool:
        """True when it delivered a frame within the last second and is not over."""
        return self.ending is None and now - self.last_heard <= ALIVE_SECONDS

    def as_json(self, now: float) -> dict[str, Any]:
        """As shown by the API; durations in seconds."""
        return {
            "role": self.role.value,
            "peer": self.peer,
            "port": self.port,
            "state": "dormant" if self.dormant else "live" if self.ending is None else "ended",
            "outcome": None if self.ending is None else self.ending.value,
            "duration_seconds": round((self.ended if self.ended is not None else now) - self.joined, 3),
            "rate": self.rate,
            "frames_in": self.frames_in,
            "frames_out": self.frames_out,
            "silence_out": self.silence_out,
            "digits": self.digits,
            "ignored": self.ignored,
            "resumes": self.resumes,
        }


@dataclass(slots=True)
class Call:
    """One UUID's conversation; ``extension`` is a snapshot that later changes of the table leave alone."""

    call_id: UUID
    extension: Extension
    started: float
    started_at: str
    events: EventLog
    legs: dict[Role, LegRecord] = field(default_factory=dict)
    #: Events with their time, the oldest first, `TIMELINE_MOST` at most. Most calls have a few.
    timeline: list[dict[str, Any]] = field(default_factory=list)
    outcome: str | None = None
    ended: float | None = None
    #: What apps want back after a restart, by role and app name.
    states: dict[tuple[Role, str], Any] = field(default_factory=dict)
    journal: Journal | None = None
    #: The return calls to residents, the latest last.
    return_calls: list[ShownInJson] = field(default_factory=list)
    #: The UUID as text, for everything that is written down.
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = str(self.call_id)

    def note(self, event: str, now: float, /, **fields: Any) -> None:
        """Write an event into the timeline and to the event sinks; no field hides what it is and when it was."""
        identity = {"call_id": self.name, "extension": self.extension.id, "number": self.extension.number}
        self.events.emit(event, identity, fields)
        own = {"at_seconds": round(now - self.started, 3), "event": event}
        if len(self.timeline) >= TIMELINE_MOST:
            del self.timeline[0]
        entry = {**own, **fields, **own} if fields else own
        self.timeline.append(entry)
        self._keep("event", entry=entry)

    def decide(self, outcome: str) -> bool:
        """Set the outcome unless there is one; false when somebody was first."""
        if self.outcome is not None:
            return False
        self.outcome = outcome
        self._keep("outcome", outcome=outcome)
        return True

    def remember(self, role: Role, app: str, state: Any) -> None:
        """Keep what an app wants back when this leg resumes after a restart; ``state`` is as JSON gives it."""
        if self.states.get((role, app)) != state:
            self.states[role, app] = state
            self._keep("state", role=role.value, app=app, state=state)

    def keep_return(self, number: int, state: Mapping[str, Any]) -> None:
        """Keep how the ``number``-th return call of this call stands, see `replay.KeptReturn`."""
        self._keep("return", number=number, **state)

    def _keep(self, kind: str, **fields: Any) -> None:
        if self.journal is not None:
            self.journal.write({"kind": kind, "call": self.name, **fields})

    def open_journal(self, journal: Journal | None) -> None:
        """Keep every change from now on; the first line says what the call is."""
        self.journal = journal
        self._keep("opened", extension=self.extension.as_json(), started_at=self.started_at)

    @property
    def dormant(self) -> bool:
        """True after a restart until the first of its legs has come back."""
        live = self.live_legs
        return bool(live) and all(leg.dormant for leg in live)

    @property
    def live_legs(self) -> list[LegRecord]:
        """The legs that are not over, dormant ones among them."""
        return [leg for leg in self.legs.values() if leg.ending is None]

    def as_json(self, now: float, *, timeline: bool = False) -> dict[str, Any]:
        """As shown by the API; durations in seconds."""
        shown: dict[str, Any] = {
            "call_id": self.name,
            "state": "dormant" if self.dormant else "live" if self.ended is None else "ended",
            "outcome": self.outcome,
            "extension": self.extension.as_json(),
            "started_at": self.started_at,
            "duration_seconds": round((self.ended if self.ended is not None else now) - self.started, 3),
            "legs": [leg.as_json(now) for leg in self.legs.values()],
            **self._returns_as_json(now),
        }
        if timeline:
            shown["timeline"] = list(self.timeline)
        return shown

    def _returns_as_json(self, now: float) -> dict[str, Any]:
        """The latest return call and, oldest first, those before it, each with all its attempts."""
        shown = [one.as_json(now) for one in self.return_calls]
        return {"return": shown[-1] if shown else None, "earlier_returns": shown[:-1]}

    def note_end(self, now: float) -> None:
        """Write down the one end of the call, with every attempt to reach a resident, if there were any."""
        returns = self._returns_as_json(now) if self.return_calls else {}
        duration = round(now - self.started, 3)
        self.note("call.ended", now, **{"outcome": self.outcome, "duration_seconds": duration, **returns})


@dataclass(frozen=True)
class Admission:
    """The registry's answer to a leg that wants in; ``call`` is None exactly when it is refused."""

    call: Call | None
    reason: str = ""
    resumes: bool = False


class CallRegistry:
    """All live calls, the recently ended ones, and the UUIDs that are over."""

    def __init__(
        self, events: EventLog, *, accept_unexpected_resident: bool = False, journal: Journal | None = None
    ) -> None:
        self._events = events
        self._journal = journal
        self._interrupted = False
        self._accept_unexpected = accept_unexpected_resident
        #: Whether a call waits for a resident's leg; a resident may open a gate.
        self.awaits_resident: Callable[[Call], bool] = lambda call: True
        #: Whether it is certain that one will come: a return call is pending.
        self.return_pending: Callable[[Call], bool] = lambda call: False
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
        self._forget(now)
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
        if role is Role.RESIDENT and call.extension.id != extension.id:
            reason = f"the call belongs to extension {call.extension.id}, not {extension.id}"
            return self._refuse(call, role, now, reason)
        first = call.legs.get(role)
        unknown = first is None or not first.dormant
        if role is Role.RESIDENT and call.dormant and unknown and not self.return_pending(call):
            return self._refuse(call, role, now, "the call's visitor has not come back after the restart")
        if first is not None and first.alive(now):
            return self._refuse(call, role, now, f"its {role.value} leg is alive")
        if first is not None and first.ending in SENT_AWAY and not self._begins_anew(call, first, now):
            return self._refuse(call, role, now, f"its {role.value} leg was sent away")
        newcomer = first is None or first.ending is not None
        if role is Role.RESIDENT and newcomer and not self._accept_unexpected and not self.awaits_resident(call):
            return self._refuse(call, role, now, "no return call is waiting for a resident")
        return Admission(call, resumes=first is not None)

    def _begins_anew(self, call: Call, gone: LegRecord, now: float) -> bool:
        """Is this somebody else than the one who was sent away? The dialplan presents a UUID again at once.

        Only residents change, and where nobody announces them only time tells.
        """
        if gone.role is Role.VISITOR:
            return False
        return self.return_pending(call) or now - (gone.ended or now) > REMEMBER_SECONDS

    def together(self) -> AbstractContextManager[object]:
        """Within it changes are written to the journal in one piece."""
        return nullcontext() if self._journal is None else self._journal

    def leg_over(self, call: Call, role: Role, ending: Ending, now: float) -> None:
        """A leg is over; the call is, too, when it was the last one. Only the first cause counts."""
        with self.together():
            self._leg_over(call, role, ending, now)

    def _leg_over(self, call: Call, role: Role, ending: Ending, now: float) -> None:
        leg = call.legs[role]
        if leg.ending is not None:
            return
        leg.ending, leg.ended, leg.dormant = ending, now, False
        call.note("leg.left", now, role=role.value, outcome=ending.value, remaining=len(call.live_legs))
        resident = call.legs.get(Role.RESIDENT)
        if resident is not None and resident.dormant and ending in GONE_FOR_GOOD:
            self.leg_over(call, Role.RESIDENT, Ending.LOST, now)  # nobody is left to come back to
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

    def _restored(self, old: KeptCall, kept: Replayed, now: float) -> Call:
        started = now - max(0.0, kept.at - old.started)
        legs = {role: _restored_leg(role, leg, started) for role, leg in old.legs.items()}
        call = Call(old.call_id, old.extension, started, old.started_at, self._events, legs)
        call.timeline.extend(old.timeline)
        call.outcome, call.states, call.journal = old.outcome, dict(old.states), self._journal
        return call

    def expire(self, now: float) -> int:
        """Close every leg that has not come back after a restart; returns how many there were."""
        late = [(call, leg.role) for call in self for leg in call.live_legs if leg.dormant]
        for call, role in late:
            self.leg_over(call, role, Ending.LOST, now)
        return len(late)

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
        call.decide(main.ending.value if main.ending else Ending.CONNECTION_LOST.value)
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

    def _forget(self, now: float) -> None:
        while self._over:
            call_id, ended = next(iter(self._over.items()))
            if now - ended <= REMEMBER_SECONDS:
                return
            del self._over[call_id]

    def _refuse(self, call: Call | None, role: Role, now: float, reason: str) -> Admission:
        self.refused_total += 1
        if call is not None:
            call.note("leg.refused", now, role=role.value, reason=reason)
        return Admission(None, reason)


def _restored_leg(role: Role, kept: KeptLeg, started: float) -> LegRecord:
    ended = None if kept.ended is None else started + kept.ended
    ending = next((ending for ending in Ending if ending.value == kept.ending), Ending.CONNECTION_LOST)
    return LegRecord(
        role,
        kept.peer,
        kept.port,
        joined=started + kept.joined,
        last_heard=-inf,
        resumes=kept.resumes,
        ending=None if kept.ending is None else ending,
        ended=ended,
        dormant=kept.ending is None,
    )
