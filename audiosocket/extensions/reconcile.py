"""The plan that turns the running listeners into the desired ones.

The unit is a socket, not a row: a listener whose address and port stay keeps its socket, whatever else in its
row has changed; only listeners that move are closed and opened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from audiosocket.extensions.model import Extension, Role
from audiosocket.json_shapes import RefreshStatsJSON


@dataclass(frozen=True)
class SocketAddress:
    """Bind address and configured port of one listener."""

    bind: str
    port: int


#: One listener's identity: extension id and role.
Slot = tuple[int, Role]
T = TypeVar("T")


@dataclass(frozen=True)
class Placed:
    """A listener as it is: the address its row wants, and the port it has (None: it could not be opened)."""

    address: SocketAddress
    port: int | None

    @property
    def settled(self) -> bool:
        """Whether it has its configured port."""
        return self.port == self.address.port


@dataclass(frozen=True)
class Plan:
    """The steps, to be taken in this order: close, relabel, open, retry.

    All sockets in ``close`` must be closed before the first one in ``open`` is opened, so that two rows can swap
    ports. ``relabel`` are extensions whose values have changed. ``retry`` are listeners without a socket or on an
    alternative port, which are to be tried again.
    """

    close: tuple[Slot, ...]
    relabel: tuple[int, ...]
    open: tuple[Slot, ...]
    retry: tuple[Slot, ...]
    added: tuple[int, ...]
    updated: tuple[int, ...]
    removed: tuple[int, ...]
    kept: tuple[int, ...]

    def stats(self) -> RefreshStatsJSON:
        """Return the ``stats`` of ``POST /api/refresh``."""
        return {
            "removed": len(self.removed),
            "updated": len(self.updated),
            "added": len(self.added),
            "total_active": len(self.kept) + len(self.updated) + len(self.added),
        }

    @property
    def empty(self) -> bool:
        """True when nothing differs, apart from retries."""
        return not (self.added or self.updated or self.removed)


def plan(
    desired: Mapping[int, Extension],
    running: Mapping[int, Extension],
    wanted: Mapping[Slot, SocketAddress],
    placed: Mapping[Slot, SocketAddress],
    unsettled: frozenset[Slot] = frozenset(),
) -> Plan:
    """Return the steps from the ``running`` extensions to the ``desired`` ones.

    ``wanted`` has the address that each listener should have, ``placed`` the one it was last given;
    ``unsettled`` are placed listeners that did not get their configured port.
    """
    moved = {slot for slot in placed if wanted.get(slot) != placed[slot]}
    opened = {slot for slot in wanted if placed.get(slot) != wanted[slot]}
    both = desired.keys() & running.keys()
    touched = {extension_id for extension_id, _ in moved | opened}
    updated = {key for key in both if desired[key] != running[key] or key in touched}
    return Plan(
        close=tuple(sorted(moved)),
        relabel=tuple(sorted(key for key in both if desired[key] != running[key])),
        open=tuple(sorted(opened)),
        retry=tuple(sorted(unsettled - moved)),
        added=tuple(sorted(desired.keys() - running.keys())),
        updated=tuple(sorted(updated)),
        removed=tuple(sorted(running.keys() - desired.keys())),
        kept=tuple(sorted(both - updated)),
    )


def plan_changes(
    desired: Mapping[int, Extension],
    running: Mapping[int, Extension],
    changed: Collection[int],
    wanted: Mapping[Slot, SocketAddress],
    placed: Mapping[Slot, Placed],
    claimed: frozenset[int],
) -> Plan:
    """Return the steps for the extensions with ids in ``changed``; all other running ones are kept.

    ``wanted`` and ``placed`` are those of the changed extensions. A listener on an alternative port that is
    ``claimed`` by a row now has to move.
    """
    before = {
        slot: SocketAddress(listener.address.bind, 0) if _is_in_the_way(listener, claimed) else listener.address
        for slot, listener in placed.items()
    }
    unsettled = frozenset(slot for slot, listener in placed.items() if not listener.settled)
    changes = plan(only(desired, changed), only(running, changed), wanted, before, unsettled)
    return replace(changes, kept=tuple(sorted((running.keys() - set(changed)) | set(changes.kept))))


def _is_in_the_way(listener: Placed, claimed: frozenset[int]) -> bool:
    return not listener.settled and listener.port in claimed


def wanted_addresses(
    desired: Mapping[int, Extension], bind: Callable[[Extension], str]
) -> dict[Slot, SocketAddress]:
    """Return the address of each listener that should exist; ``bind`` chooses an extension's bind address."""
    return {
        (extension.id, role): SocketAddress(address, port)
        for extension in desired.values()
        for address in [bind(extension)]
        for role, port in extension.ports().items()
    }


def claimed_ports(extensions: Collection[Extension], reserved: frozenset[int]) -> frozenset[int]:
    """Return the ports that no listener may have as its alternative: those of the rows, and ``reserved`` ones."""
    return reserved.union(port for extension in extensions for port in extension.ports().values())


def only(items: Mapping[int, T], keys: Collection[int]) -> dict[int, T]:
    """Return the items with these keys, as far as they exist."""
    return {key: items[key] for key in keys if key in items}


def alternatives(port: int, claimed: frozenset[int], limit: int = 50) -> list[int]:
    """Return the ports to try, upward, when ``port`` is in use: at most ``limit``, none that a row claims."""
    return [p for p in range(port + 1, min(port + limit, 65_535) + 1) if p not in claimed]


def shrinks(desired: int, running: int) -> bool:
    """Return whether the table has suspiciously few extensions: none, or less than half of the running ones."""
    return running > 0 and (desired == 0 or desired * 2 < running)
