"""The switchboard: connects a connection that has sent its UUID to a call, and the call to its apps.

Which leg may join which call is decided by the registry (``calls/registry.py``), which peer may connect by
``admission.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from time import time
from uuid import UUID

from audiosocket.calls.call import Call, LegState
from audiosocket.calls.call_limits import LegFacts
from audiosocket.calls.journal_replay import Replayed
from audiosocket.calls.leg import Leg
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.payload_decoder import MislabelledCodecs
from audiosocket.calls.protocol.connection import AudioSocketProtocol
from audiosocket.calls.registry import CallRegistry
from audiosocket.errors import UnknownCall
from audiosocket.extensions.model import Extension, Role
from audiosocket.interfaces import App, CallPolicy
from audiosocket.media.playout_queue import Converter
from audiosocket.returncalls.service import ReturnCalls
from audiosocket.runtime.event_feed import rfc3339
from audiosocket.runtime.logs import FrequentLogger
from audiosocket.server.admission import ConnectionAdmission
from audiosocket.server.app_instances import AppInstances
from audiosocket.server.caller_identification import CallerIdentification
from audiosocket.server.confirmation import NAME as CONFIRMATION
from audiosocket.server.live_legs import LiveLegs, is_suspended
from audiosocket.transport.clock import MediaClock

#: Of the module: as an attribute of the class it would be made anew for every line.
_log = FrequentLogger()

#: Why a connection is refused whose leg raised before it was connected.
NOT_SET_UP = "its leg could not be set up; the log has the failure"
#: Makes the app that asks for a key on a leg that is to run the apps named in the text.
MakeConfirmation = Callable[[Call, str, ReturnCalls], App]


class Switchboard:
    """Connects legs, calls and apps. ``legs`` holds the live legs, ``admission`` their connections.

    Without ``returns`` a resident may join any call of the same extension.
    """

    def __init__(
        self,
        registry: CallRegistry,
        apps: AppInstances,
        *,
        legs: LiveLegs,
        admission: ConnectionAdmission,
        clock: MediaClock,
        make_converter: Callable[[int, int], Converter],
        returns: ReturnCalls | None = None,
        callers: CallerIdentification | None = None,
        confirmation: MakeConfirmation | None = None,
    ) -> None:
        self.registry = registry
        self.admission = admission
        self.returns = returns
        self._callers = callers
        #: Makes the app that asks for a key before a leg counts as the resident's.
        self._confirmation = confirmation
        self._apps = apps
        self._clock = clock
        self._legs = legs
        self._make_leg = partial(
            Leg,
            clock=clock,
            make_converter=make_converter,
            owner=self,
        )
        self.codecs = MislabelledCodecs()
        self._closed = False
        self._refuses_new_calls = False

    def join(self, connection: AudioSocketProtocol, role: Role, extension: Extension, call_id: UUID) -> Leg | str:
        """Return the leg of a connection that has sent its UUID, or the reason why it is refused."""
        if self._closed:
            return "the server is stopping"
        if self._refuses_new_calls and not self._is_live(call_id):
            return "the server is stopping and takes no new calls"
        now = self._clock.now_ms() / 1000
        wall = rfc3339(time())
        peer, port = connection.peer, connection.transport.getHost().port
        old = self._legs.get(call_id, role)
        with self.registry.together():
            admission = self.registry.admit(call_id, role, extension, now, wall, peer.rpartition(":")[0])
            call = admission.call
            if call is None:
                return admission.reason
            restored = call.legs[role].suspended if role in call.legs else False
            try:
                leg = old or self._new_leg(call, role, peer, port, now)
            except Exception:  # noqa: BLE001 - a call must not stay without anybody who ends it
                _log.failure("the {role} leg of {call_id} cannot be made", role=role.value, call_id=call.name)
                self.registry.give_up(call, role, now)
                self._apps.forget(call_id)
                return NOT_SET_UP
            if old is not None:
                old.state.peer, old.state.port, old.state.resumes = peer, port, old.state.resumes + 1
                call.note("leg.resumed", now, role=role.value, peer=peer, port=port)
        try:
            if old is not None:
                leg.resume(connection)
            elif restored:
                self._restart(leg, connection)
            else:
                leg.start(connection)
            if self._callers is not None:
                self._callers.joined(leg)
        except Exception:  # noqa: BLE001 - until this returns the connection cannot end the leg
            _log.failure("{leg} cannot be set up", leg=leg)
            leg.end(LegOutcome.APP_FAILED)
            return NOT_SET_UP
        _log.info(
            "{role} leg of {call_id} from {peer} on port {port} belongs to extension {extension} ({number})",
            role=role.value,
            call_id=call.name,
            peer=peer,
            port=port,
            extension=call.extension.id,
            number=call.extension.number,
        )
        return leg

    def _restart(self, leg: Leg, connection: AudioSocketProtocol) -> None:
        """Connect a leg that was cut off by a restart for the first time since."""
        call = leg.call
        leg.restart(connection, call.states_of(leg.role))
        if leg.role is Role.VISITOR and self.returns is not None:
            self.returns.visitor_resumed(call)
        other = call.legs.get(_other(leg.role))
        # Its apps were not notified of a leg that ended before they began, or while this one was suspended.
        if other is not None and other.outcome is not None and not self._return_pending(call):
            leg.other_gone(other.outcome)

    def _return_pending(self, call: Call) -> bool:
        return self.returns is not None and self.returns.pending(call)

    def _is_live(self, call_id: UUID) -> bool:
        call = self.registry.get(call_id)
        return call is not None and call.ended is None

    def _new_leg(self, call: Call, role: Role, peer: str, port: int, now: float) -> Leg:
        before = call.legs.get(role)
        state = LegState(role, peer, port, joined=now, last_received=now)
        if before is not None:  # it ended while the other leg kept the call alive, or the server was restarted
            state.continue_from(before)
        if before is not None and before.suspended:
            state.joined = before.joined
        if call.suspended:
            call.note("call.resumed", now)
        call.legs[role] = state
        call.note("leg.resumed" if before else "leg.joined", now, role=role.value, peer=peer, port=port)
        leg = self._make_leg(call, state, self._apps_of(call, role), residents=self.returns)
        self._legs.add(leg)
        return leg

    def _apps_of(self, call: Call, role: Role) -> Sequence[tuple[str, App]]:
        """The apps of a leg that begins; with RETURN_CONFIRM first the one that asks for a key."""
        apps = self._apps.of(call, role)
        if role is not Role.RESIDENT or self.returns is None:
            return apps
        asked = call.states.get((role, CONFIRMATION))  # when a restart cut it off
        if self._confirmation is None or not (asked or (self.returns.confirm and self.returns.pending(call))):
            self.returns.joined(call)
            return apps
        self.returns.arrived(call)
        spec = "+".join(name for name, _ in apps)
        return ((CONFIRMATION, self._confirmation(call, spec, self.returns)),)

    def leg_over(self, leg: Leg, outcome: LegOutcome) -> None:
        self._legs.remove(leg)
        if self._callers is not None:
            self._callers.left(leg)
        if leg.role is Role.VISITOR and self.returns is not None:
            self.returns.visitor_left(leg.call)
        self.registry.leg_over(leg.call, leg.role, outcome, self._clock.now_ms() / 1000)
        if leg.call.ended is not None:
            self._apps.forget(leg.call_id)

    def leg_suspended(self, leg: Leg) -> None:
        """End a leg whose channel is gone as soon as that is known; implements `LegOwner`."""
        if self._callers is not None:
            self._callers.suspended(leg.call, leg.role, self._hung_up_meanwhile)

    def tells_end(self, leg: Leg) -> bool:
        """Return whether AMI or ARI reports the end of the leg's channel; implements `LegOwner`."""
        return self._callers is not None and self._callers.tells_end(leg)

    def mislabelled(self, leg: Leg, codec: str) -> None:
        """Note the codec of a leg whose frames are labelled as slin; implements `LegOwner`."""
        self.codecs.count(leg.extension, codec)

    def app_failed(self, leg: Leg) -> None:
        """End the call of a leg, one of whose apps raised; implements `LegOwner`."""
        self.end_call(leg.call_id, LegOutcome.APP_FAILED)

    def replacement(self, leg: Leg, names: str) -> Sequence[tuple[str, App]]:
        """Return the apps that take the place of one that handed its leg over; implements `LegOwner`."""
        return self._apps.replacement(leg.call, names)

    def other_leg(self, leg: Leg) -> Leg | None:
        """Return the other leg of the same call, None when it has none; implements `LegOwner`."""
        return self._legs.get(leg.call_id, _other(leg.role))

    def end_call(self, call_id: UUID, outcome: LegOutcome) -> None:
        """End all legs of a call, also those that a restart has suspended."""
        for role in Role:
            leg = self._legs.get(call_id, role)
            if leg is not None:
                leg.end(outcome)
        call = self.registry.get(call_id)
        if call is not None:
            for role in Role:
                self._give_up(call, role, outcome)

    def leg_for_commands(self, call_id: UUID, role: Role) -> tuple[Leg, CallPolicy]:
        """Return a live leg and the policy of its call; raises `UnknownCall`."""
        leg = self._legs.get(call_id, role)
        if leg is None:
            raise UnknownCall(f"no live {role.value} leg with call_id {call_id}")
        return leg, self._apps.policy(leg.call)

    def hang_up(self, call_id: UUID, role: Role, outcome: LegOutcome) -> None:
        """End one leg; raises `UnknownCall` when there is no such live leg."""
        leg = self._legs.get(call_id, role)
        if leg is not None:
            leg.end(outcome)
            return
        call = self.registry.get(call_id)
        if call is None or not is_suspended(call, role):
            raise UnknownCall(f"no live {role.value} leg with call_id {call_id}")
        self._give_up(call, role, outcome)

    def _give_up(self, call: Call, role: Role, outcome: LegOutcome) -> None:
        """End a leg that a restart has suspended; notify the apps of the other leg if that is connected."""
        if not is_suspended(call, role):
            return
        if role is Role.VISITOR and self.returns is not None:
            self.returns.visitor_left(call)
        self.registry.leg_over(call, role, outcome, self._clock.now_ms() / 1000)
        other = self._legs.get(call.call_id, _other(role))
        if other is not None:
            other.other_gone(outcome)
        elif call.ended is not None:
            self._apps.forget(call.call_id)

    @property
    def legs(self) -> LiveLegs:
        """The legs with a connection."""
        return self._legs

    @property
    def late_turns(self) -> int:
        """Ticks of the clock that came more than a frame (20 ms) late, for all legs of the process."""
        return self._clock.late_turns

    @property
    def clock_silent_seconds(self) -> float:
        """How long the clock of all legs has not ticked although it should have, in seconds."""
        return self._clock.silent_seconds

    @property
    def live_legs(self) -> int:
        """The number of legs with a connection; legs that a restart has suspended are not counted."""
        return len(self._legs)

    def end_overdue(self) -> None:
        """End the legs that last too long, or on which nothing was said for too long."""
        legs = [(leg, _facts(leg)) for leg in self._legs]
        for leg, outcome, why in self.registry.limits.overdue(legs, self._clock.now_ms() / 1000):
            self.admission.warn(leg.state.peer, f"{leg} is ended: {why}")
            leg.end(outcome)

    def forget(self) -> bool:
        """Drop the UUIDs of calls that ended long enough ago; return true when there were any."""
        return self.registry.forget(self._clock.now_ms() / 1000)

    def restore(self, kept: Replayed) -> None:
        """Restore the calls of the previous process, and the return calls that were in progress."""
        now = self._clock.now_ms() / 1000
        # A call that came here while the previous process still had the journal has begun anew.
        kept = replace(
            kept,
            calls=tuple(old for old in kept.calls if not self._is_live(old.call_id)),
            ended={call_id: age for call_id, age in kept.ended.items() if not self._is_live(call_id)},
        )
        self.registry.restore(kept, now)
        for old in kept.calls:
            call = self.registry.get(old.call_id)
            if call is not None and self.returns is not None:
                self.returns.restore(call, old.returns, now - kept.at)
        if self._callers is not None:
            self._callers.restored(self.registry, self._hung_up_meanwhile)

    def expire(self, calls: Iterable[Call] | None = None) -> int:
        """End the legs of ``calls`` (None: of all) that did not resume after a restart; return their number."""
        looked_at = self.registry if calls is None else calls
        lost = [(call, leg.role) for call in looked_at for leg in call.live_legs if leg.suspended]
        for call, role in lost:
            self._will_not_resume(call, role, LegOutcome.LOST)
        return len(lost)

    def _hung_up_meanwhile(self, call: Call, role: Role) -> None:
        leg = self._legs.get(call.call_id, role)
        if leg is not None:  # a proxy closed its connection
            leg.end(LegOutcome.CALLER_HANGUP)
            return
        _log.info("{call_id}: the {role} hung up while no server was running", call_id=call.name, role=role.value)
        self._will_not_resume(call, role, LegOutcome.CALLER_HANGUP)

    def _will_not_resume(self, call: Call, role: Role, outcome: LegOutcome) -> None:
        """End a suspended leg; a resident whose visitor will not come back is hung up."""
        self._give_up(call, role, outcome)
        if role is Role.VISITOR:
            self.end_call(call.call_id, LegOutcome.SERVER_HANGUP)

    def takes_new_calls(self) -> bool:
        """Return whether a UUID that is not known may begin or continue a call here."""
        return not (self._closed or self._refuses_new_calls)

    def leave(self, call: Call) -> None:
        """Close the legs of a call that another node has taken over, without a goodbye, and announce nothing."""
        if self.returns is not None:
            self.returns.leave(call)
        self.registry.leave(call, self._clock.now_ms() / 1000)
        for leg in [leg for leg in self._legs if leg.call is call]:
            leg.end(LegOutcome.SHUTDOWN)
        self._apps.forget(call.call_id)

    def refuse_new_calls(self) -> None:
        """From now on answer connections with a hangup frame unless their UUID is that of a live call."""
        self._refuses_new_calls = True

    def close(self) -> None:
        """Refuse new connections and end every leg; with a journal the calls resume after a restart."""
        self._closed = True
        if self.returns is not None:
            self.returns.interrupt()
        self.registry.interrupt(self._clock.now_ms() / 1000)
        for leg in self._legs:
            leg.end(LegOutcome.SHUTDOWN)
        self.admission.abort_waiting()


def _facts(leg: Leg) -> LegFacts:
    state = leg.state
    spoken = state.frames_out - state.silence_out
    return LegFacts((leg.call_id, leg.role), leg.call.started, state.last_received, spoken)


def _other(role: Role) -> Role:
    return Role.RESIDENT if role is Role.VISITOR else Role.VISITOR
