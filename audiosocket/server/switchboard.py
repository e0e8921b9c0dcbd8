"""The switchboard: joins connections to calls, calls to apps, and keeps the doors.

It is the one place where a UUID becomes a leg. The rules are the registry's (``calls.py``), the audio is
the leg's (``legs.py``); this module only brings them together and counts who was turned away.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from uuid import UUID

from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from audiosocket.calls.call import Call, LegState
from audiosocket.calls.journal_replay import Replayed
from audiosocket.calls.leg import Leg
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.protocol import AudioSocketProtocol
from audiosocket.calls.registry import CallRegistry
from audiosocket.errors import UnknownCall
from audiosocket.extensions.model import Extension, Role
from audiosocket.interfaces import App, AppContext, AppFactory, ReturnOutcome
from audiosocket.interfaces import Leg as LegForApps
from audiosocket.media.playout_queue import Converter
from audiosocket.returncalls.service import ReturnCalls
from audiosocket.runtime.rate_limit import RateLimit
from audiosocket.server.caller_identification import CallerIdentification
from audiosocket.settings import Network
from audiosocket.transport.clock import MediaClock

#: Connections that may be waiting for their UUID; beyond it the one that waits longest is cut off.
WAITING_MOST = 2_048
#: Addresses whose verdict is remembered.
HOSTS_MOST = 4_096
#: Log lines about strangers and misbehaving peers per second; the rest is counted.
LINES_PER_SECOND = 5


class _Unmade(App):
    """Stands for an app whose constructor raised: ends its call through the same door as any other fault."""

    def joined(self, leg: LegForApps) -> None:
        raise LookupError("this app could not be made; the failure before this one says why")


def _is_in(host: str, networks: tuple[Network, ...]) -> bool:
    try:
        peer = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return any(peer in network for network in networks)


class Switchboard:
    """Answers every port's factory; implements `protocol.ConnectionObserver`."""

    _log = Logger()

    def __init__(
        self,
        registry: CallRegistry,
        apps: Mapping[Role, Sequence[tuple[str, AppFactory]]],
        context: AppContext,
        *,
        clock: MediaClock,
        make_converter: Callable[[int, int], Converter],
        allowed_peers: Sequence[Network],
        returns: ReturnCalls | None = None,
        callers: CallerIdentification | None = None,
    ) -> None:
        self.registry = registry
        self._callers = callers
        #: None: a resident may join any call of the same extension.
        self.returns: ReturnCalls | None = None
        if returns is not None:
            self.use(returns)
        self._apps = apps
        self._context = context
        self._clock = clock
        self._make_leg = partial(  # once: a bound method of its own for each leg would weigh more than its audio
            Leg,
            clock=clock,
            make_converter=make_converter,
            over=self._leg_over,
            failed=self._app_failed,
            mislabelled=self._mislabelled,
        )
        self._allowed = tuple(allowed_peers)
        #: Addresses, and whether they may connect: the networks do not change while we run.
        self._known_hosts: dict[str, bool] = {}
        self._legs: dict[tuple[UUID, Role], Leg] = {}
        #: The apps of each call, by name.
        self._instances: dict[UUID, tuple[tuple[str, App], ...]] = {}
        self._waiting: OrderedDict[AudioSocketProtocol, None] = OrderedDict()
        #: Every open connection, legs or not.
        self.connections: set[AudioSocketProtocol] = set()
        self._lines = RateLimit(LINES_PER_SECOND, 1.0, lambda: clock.now_ms() / 1000)
        #: Connections that never became a leg, by what was wrong.
        self.turned_away_total = {"peer": 0, "handshake": 0, "crowded": 0}
        #: Extensions whose callers' audio is not the slin it is labelled as, and what it was last.
        self.codecs: dict[int, str] = {}
        #: What of that has been in the log: callers of one extension may bring codecs in turn.
        self._reported: set[tuple[int, str]] = set()
        #: While false every newcomer is answered with a hangup frame.
        self.open = True
        #: While true only legs of calls that are there may join.
        self.draining = False

    def use(self, returns: ReturnCalls) -> None:
        """From now on these return calls say which resident is waited for."""
        self.returns = returns
        self.registry.awaits_resident = returns.awaits
        self.registry.return_pending = returns.pending
        returns.tell = self._return_ended

    # the doors

    def may_connect(self, address: IAddress) -> bool:
        host = str(getattr(address, "host", ""))
        allowed = self._known_hosts.get(host)
        if allowed is None:
            if len(self._known_hosts) >= HOSTS_MOST:
                self._known_hosts.clear()
            allowed = self._known_hosts[host] = _is_in(host, self._allowed)
        if allowed:
            return True
        self.turn_away("peer", f"{host} is in none of the networks of ALLOWED_PEERS")
        return False

    def connected(self, connection: AudioSocketProtocol) -> None:
        self.connections.add(connection)
        self._waiting[connection] = None
        if len(self._waiting) > WAITING_MOST:
            oldest = next(iter(self._waiting))
            self.identified(oldest)
            self.turn_away("crowded", f"more than {WAITING_MOST} connections without a UUID")
            oldest.abort()

    def identified(self, connection: AudioSocketProtocol) -> None:
        self._waiting.pop(connection, None)

    def disconnected(self, connection: AudioSocketProtocol) -> None:
        self.connections.discard(connection)
        self._waiting.pop(connection, None)

    def turned_away(self, connection: AudioSocketProtocol, why: str) -> None:
        self.turn_away("handshake", f"{connection.peer} on port {connection.transport.getHost().port}: {why}")

    def refused(self, connection: AudioSocketProtocol, call_id: UUID, why: str) -> None:
        factory = connection.factory
        self._complain(
            f"refused the {factory.role.value} leg of {call_id} from {connection.peer} on extension "
            f"{factory.extension.id}: {why}"
        )

    def misbehaved(self, connection: AudioSocketProtocol, why: str) -> None:
        self._complain(f"{connection.peer} on port {connection.transport.getHost().port}: {why}")

    def turn_away(self, kind: str, why: str) -> None:
        """Count and log a connection that became no leg; ``kind`` is a key of `turned_away_total`."""
        self.turned_away_total[kind] += 1
        self._complain(f"turned a connection away ({sum(self.turned_away_total.values())} so far): {why}")

    def _complain(self, what: str) -> None:
        if self._lines.take():
            unsaid = self._lines.told()
            more = f" (and {unsaid} more lines like this since the last)" if unsaid else ""
            self._log.warn("{what}{more}", what=what, more=more)

    # the calls

    def join(self, connection: AudioSocketProtocol, role: Role, extension: Extension, call_id: UUID) -> Leg | str:
        """The leg for a connection that said its UUID, or the reason why it is refused."""
        if not self.open:
            return "the server is stopping"
        if self.draining and not self._belongs_to_a_call(call_id):
            return "the server is stopping and takes no new calls"
        now = self._clock.now_ms() / 1000
        wall = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        peer, port = connection.peer, connection.transport.getHost().port
        old = self._legs.get((call_id, role))
        with self.registry.together():
            admission = self.registry.admit(call_id, role, extension, now, wall)
            call = admission.call
            if call is None:
                return admission.reason
            restored = call.legs[role].dormant if role in call.legs else False
            leg = old or self._new_leg(call, role, peer, port, now)
            if old is not None:
                old.record.peer, old.record.port, old.record.resumes = peer, port, old.record.resumes + 1
                call.note("leg.resumed", now, role=role.value, peer=peer, port=port)
        if old is not None:
            leg.resume(connection)
        elif restored:
            self._restart(leg, connection)
        else:
            leg.start(connection)
        if self._callers is not None:
            self._callers.joined(leg)
        self._log.info(
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
        """The first connection of a leg that a restart cut off."""
        call = leg.call
        leg.restart(connection, {app: state for (role, app), state in call.states.items() if role is leg.role})
        if leg.role is Role.VISITOR and self.returns is not None:
            self.returns.visitor_back(call)
        other = call.legs.get(_other(leg.role))
        # Its apps know nothing of a leg that ended before they began, or while this one was away.
        if other is not None and other.ending is not None and not self.registry.return_pending(call):
            leg.other_gone(other.ending)

    def _belongs_to_a_call(self, call_id: UUID) -> bool:
        call = self.registry.get(call_id)
        return call is not None and call.ended is None

    def _new_leg(self, call: Call, role: Role, peer: str, port: int, now: float) -> Leg:
        before = call.legs.get(role)
        record = LegState(role, peer, port, joined=now, last_heard=now)
        if before is not None:  # it left while the other leg kept the call alive, or the server was restarted
            record.resumes = before.resumes + 1
        if before is not None and before.dormant:
            record.joined = before.joined
        if call.dormant:
            call.note("call.resumed", now)
        call.legs[role] = record
        call.note("leg.resumed" if before else "leg.joined", now, role=role.value, peer=peer, port=port)
        if role is Role.RESIDENT and self.returns is not None:
            self.returns.joined(call)
        apps = tuple([self._instance(call, name, factory) for name, factory in self._apps[role]])
        leg = self._make_leg(call, record, apps, residents=self.returns)
        self._legs[call.call_id, role] = leg
        return leg

    def _instance(self, call: Call, name: str, factory: AppFactory) -> tuple[str, App]:
        """The name and the app, the same for both legs of the call. Pairs: a dictionary is larger than an app."""
        made = self._instances.get(call.call_id, ())
        for pair in made:
            if pair[0] == name:
                return pair
        try:
            app = factory(self._context)
        except Exception:  # noqa: BLE001 - a plug-in's constructor costs its own call
            self._log.failure("app {name} cannot be made for {call_id}", name=name, call_id=str(call.call_id))
            app = _Unmade(self._context)
        pair = (name, app)
        self._instances[call.call_id] = (*made, pair)
        return pair

    def _leg_over(self, leg: Leg, ending: LegOutcome) -> None:
        del self._legs[leg.call_id, leg.role]
        if self._callers is not None:
            self._callers.left(leg)
        if leg.role is Role.VISITOR and self.returns is not None:
            self.returns.visitor_left(leg.call)
        self.registry.leg_over(leg.call, leg.role, ending, self._clock.now_ms() / 1000)
        if leg.call.ended is not None:
            self._instances.pop(leg.call_id, None)

    def _return_ended(self, call: Call, outcome: ReturnOutcome) -> bool:
        """Tell the visitor's apps; false when they are not there yet after a restart."""
        leg = self._legs.get((call.call_id, Role.VISITOR))
        if leg is not None:
            leg.return_ended(outcome)
        return leg is not None or not _sleeps(call, Role.VISITOR)

    def _mislabelled(self, leg: Leg, codec: str) -> None:
        extension = leg.extension
        self.codecs[extension.id] = codec
        if (extension.id, codec) in self._reported:
            return
        self._reported.add((extension.id, codec))
        self._log.error(
            "extension {id} ({number}): Asterisk sends {codec} under the name of slin{decoded}; write c(slin) or "
            "c(slin16) as the third part of Dial(AudioSocket/host:port/uuid/c(slin)) in the dialplan",
            id=extension.id,
            number=extension.number,
            codec=codec,
            decoded=", which cannot be decoded" if codec == "unknown" else "; it is decoded for now",
        )

    def _app_failed(self, leg: Leg) -> None:
        self.end_call(leg.call_id, LegOutcome.APP_FAILED)

    def end_call(self, call_id: UUID, ending: LegOutcome) -> None:
        """End all legs of a call, also those that have not come back after a restart."""
        for role in Role:
            leg = self._legs.get((call_id, role))
            if leg is not None:
                leg.end(ending)
        call = self.registry.get(call_id)
        if call is not None:
            for role in Role:
                self._give_up(call, role, ending)

    def hang_up(self, call_id: UUID, role: Role, ending: LegOutcome) -> None:
        """End one leg; raises `UnknownCall` when there is no such live leg."""
        leg = self._legs.get((call_id, role))
        if leg is not None:
            leg.end(ending)
            return
        call = self.registry.get(call_id)
        if call is None or not _sleeps(call, role):
            raise UnknownCall(f"no live {role.value} leg with call_id {call_id}")
        self._give_up(call, role, ending)

    def _give_up(self, call: Call, role: Role, ending: LegOutcome) -> None:
        """Wait no longer for a leg that a restart cut off; the apps of the other one, if it is back, are told."""
        if not _sleeps(call, role):
            return
        if role is Role.VISITOR and self.returns is not None:
            self.returns.visitor_left(call)
        self.registry.leg_over(call, role, ending, self._clock.now_ms() / 1000)
        other = self._legs.get((call.call_id, _other(role)))
        if other is not None:
            other.other_gone(ending)
        elif call.ended is not None:
            self._instances.pop(call.call_id, None)

    @property
    def late_turns(self) -> int:
        """Turns of the clock that came more than a frame (20 ms) late, for all legs of the process."""
        return self._clock.late_turns

    @property
    def live_legs(self) -> int:
        """Legs with a connection; not those that a restart cut off and that have not come back."""
        return len(self._legs)

    def forget(self) -> bool:
        """Drop the UUIDs of calls that have been over long enough; true when there were any."""
        return self.registry.forget(self._clock.now_ms() / 1000)

    def restore(self, kept: Replayed) -> None:
        """Take over the calls of the process before this one, and the return calls that were under way."""
        now = self._clock.now_ms() / 1000
        self.registry.restore(kept, now)
        for old in kept.calls:
            call = self.registry.get(old.call_id)
            if call is not None and self.returns is not None:
                self.returns.restore(call, old.returns, now - kept.at)

    def expire(self) -> int:
        """Close what did not come back after a restart; returns how many legs that were.

        A resident whose visitor is lost is told goodbye: there is nobody to talk to.
        """
        lost = [(call, leg.role) for call in self.registry for leg in call.live_legs if leg.dormant]
        for call, role in lost:
            self._give_up(call, role, LegOutcome.LOST)
            if role is Role.VISITOR:
                self.end_call(call.call_id, LegOutcome.SERVER_HANGUP)
        return len(lost)

    def close(self) -> None:
        """Refuse newcomers from now on and end every leg; with a journal the calls resume after a restart."""
        self.open = False
        if self.returns is not None:
            self.returns.interrupt()
        self.registry.interrupt(self._clock.now_ms() / 1000)
        for leg in list(self._legs.values()):
            leg.end(LegOutcome.SHUTDOWN)
        for connection in list(self._waiting):
            connection.abort()


def _other(role: Role) -> Role:
    return Role.RESIDENT if role is Role.VISITOR else Role.VISITOR


def _sleeps(call: Call, role: Role) -> bool:
    """True when this leg was cut off by a restart and has not come back."""
    leg = call.legs.get(role)
    return leg is not None and leg.dormant
