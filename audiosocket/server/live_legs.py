"""The legs that have a connection, or had one until a moment ago, by call and role."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

from audiosocket.calls.call import Call
from audiosocket.calls.leg import Leg
from audiosocket.calls.traffic import Traffic
from audiosocket.extensions.model import Role
from audiosocket.interfaces import ReturnOutcome


class LiveLegs:
    """Legs from their first connection to their end; legs that a restart suspended are not among them."""

    def __init__(self) -> None:
        #: By the number of the UUID, as hashing a UUID is a call in Python.
        self._legs: dict[tuple[int, Role], Leg] = {}
        #: What the legs have counted.
        self.traffic = Traffic()

    def __len__(self) -> int:
        return len(self._legs)

    def __iter__(self) -> Iterator[Leg]:
        return iter(list(self._legs.values()))

    def get(self, call_id: UUID, role: Role) -> Leg | None:
        """Return the leg of that call and role, None when it has none."""
        return self._legs.get((call_id.int, role))

    def add(self, leg: Leg) -> None:
        """Add a leg; it must not be there yet."""
        self._legs[leg.call_id.int, leg.role] = leg

    def remove(self, leg: Leg) -> None:
        """Remove a leg that has ended."""
        del self._legs[leg.call_id.int, leg.role]
        self.traffic.leg_over(leg)

    def by_extension(self) -> dict[str, dict[str, int]]:
        """Return the number of legs of each role, by id of the extension."""
        found: dict[str, dict[str, int]] = {role.value: {} for role in Role}
        numbers = Counter((leg.role, leg.extension.id) for leg in self._legs.values())
        for (role, extension), number in numbers.items():
            found[role.value][str(extension)] = number
        return found

    def return_ended(self, call: Call, outcome: ReturnOutcome) -> bool:
        """Report the end of a return call to the visitor's apps; false while the visitor's leg is suspended."""
        leg = self.get(call.call_id, Role.VISITOR)
        if leg is not None:
            leg.return_ended(outcome)
        return leg is not None or not is_suspended(call, Role.VISITOR)


def is_suspended(call: Call, role: Role) -> bool:
    """Return whether this leg was cut off by a restart and has not resumed."""
    leg = call.legs.get(role)
    return leg is not None and leg.suspended
