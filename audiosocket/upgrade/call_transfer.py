"""All calls of a process as a value and sockets, and in the next process as live calls again.

Saving changes nothing, so that a process that cannot hand its calls over keeps them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from twisted.internet.interfaces import IReactorFDSet
from twisted.logger import Logger

from audiosocket.calls.journal_records import SavedReturn
from audiosocket.calls.leg import Leg
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.protocol.factory import AudioSocketFactory
from audiosocket.errors import UnknownCall
from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.parsing import parse_json
from audiosocket.returncalls.return_call import ReturnCall
from audiosocket.server.confirmation import NAME as CONFIRMATION
from audiosocket.server.switchboard import Switchboard
from audiosocket.transport.clock import MediaClock
from audiosocket.upgrade import connection_state
from audiosocket.upgrade.call_state import load_call, save_call
from audiosocket.upgrade.connection_state import AdoptedConnections

#: Returns the factory for a connection of this extension and role that came in on this port.
FactoryOf = Callable[[Extension, Role, int], AudioSocketFactory]


def save(switchboard: Switchboard, descriptors: list[int]) -> dict[str, Any]:
    """Return calls, legs, connections and UUIDs that are over; append their descriptors."""
    connections = []
    for connection in switchboard.admission.connections:
        found = connection_state.save(connection)
        if found is None:
            continue
        saved, skt = found
        leg = connection_state.leg_of(connection)
        live = isinstance(leg, Leg) and leg.connection is connection
        saved["ending"] = saved["ending"] or (leg is not None and not live)
        factory = connection.factory
        connections.append(
            {
                **saved,
                "extension": factory.extension.to_json(),
                "role": factory.role.value,
                "port": connection.transport.getHost().port,
                "leg": {"call_id": str(leg.call_id), "role": leg.role.value, **leg.save()}
                if isinstance(leg, Leg) and live
                else None,
                "socket": len(descriptors),
            }
        )
        descriptors.append(skt.fileno())
    calls = []
    for call in switchboard.registry:
        returns = [one.saved().to_line() for one in call.return_calls if isinstance(one, ReturnCall)]
        calls.append({**save_call(call), "returns": returns})
    over = [[call_id.hex, ended] for call_id, ended in switchboard.registry.over.items()]
    return {"calls": calls, "connections": connections, "over": over}


class TakenOverCalls:
    """Gives a switchboard the calls of the previous process."""

    _log = Logger()

    def __init__(self, switchboard: Switchboard, clock: MediaClock, reactor: IReactorFDSet) -> None:
        self._switchboard = switchboard
        self._connections = AdoptedConnections(clock, reactor)

    def load(self, saved: Mapping[str, Any], descriptors: Sequence[int], factory_of: FactoryOf) -> int:
        """Go on with all calls; return the number of legs. One that cannot go on costs itself only."""
        over = {UUID(hex=call_id): float(ended) for call_id, ended in saved["over"]}
        self._load_calls(saved["calls"], over)
        legs: list[tuple[Leg, Mapping[str, Any]]] = []
        for one in saved["connections"]:
            try:
                leg = self._take(one, socket.socket(fileno=descriptors[one["socket"]]), factory_of)
            except Exception:  # noqa: BLE001 - the others go on
                self._log.failure("a connection of the previous process cannot go on")
                continue
            if leg is not None:
                legs.append((leg, one))
        for leg, one in legs:
            if one["leg"]["connected"] and not leg.over:
                leg.connect_other(True)
        return len(legs)

    def _load_calls(self, saved: Sequence[Mapping[str, Any]], over: Mapping[UUID, float]) -> None:
        """Take the calls with their return calls, which ring or have ended; the legs follow."""
        switchboard = self._switchboard
        calls = [load_call(call, switchboard.registry.events) for call in saved]
        switchboard.registry.take_over(calls, over)
        returns = switchboard.returns
        if returns is not None:
            for call, one in zip(calls, saved, strict=True):
                returns.restore(call, [SavedReturn.from_line(line) for line in one["returns"]], 0.0)
        if switchboard._callers is not None:
            switchboard._callers.restored(switchboard.registry, switchboard._hung_up_meanwhile)

    def _take(self, one: Mapping[str, Any], skt: socket.socket, factory_of: FactoryOf) -> Leg | None:
        factory = factory_of(parse_json(one["extension"]), Role(one["role"]), int(one["port"]))
        connection = self._connections.open(factory, skt, one)
        saved = one["leg"]
        if saved is None:
            self._connections.go_on(connection, one, None)
            return None
        leg = self._leg(UUID(saved["call_id"]), Role(saved["role"]))
        self._connections.go_on(connection, one, leg)
        try:
            leg.take_over(connection, saved, leg.call.states_of(leg.role))
            if self._switchboard._callers is not None:
                self._switchboard._callers.joined(leg)
        except Exception:  # noqa: BLE001 - it costs its own call
            self._log.failure("{leg} cannot go on", leg=leg)
            leg.end(LegOutcome.APP_FAILED)
        return leg

    def _leg(self, call_id: UUID, role: Role) -> Leg:
        switchboard = self._switchboard
        call = switchboard.registry.get(call_id)
        if call is None:
            raise UnknownCall(f"no call {call_id} was taken over")
        asked = role is Role.RESIDENT and call.states.get((role, CONFIRMATION))
        apps = switchboard._apps_of(call, role) if asked else switchboard._apps.of(call, role)
        leg: Leg = switchboard._make_leg(call, call.legs[role], apps, residents=switchboard.returns)
        switchboard.legs.add(leg)
        return leg
