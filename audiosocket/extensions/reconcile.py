"""The plan that turns the running listeners into the desired ones.

The unit is a socket, not a row: a listener whose address and port stay keeps its socket, whatever else in its
row has changed; only listeners that move are closed and opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from audiosocket.extensions.model import Extension, Role
from audiosocket.json_shapes import RefreshStatsJSON


@dataclass(frozen=True)
class SocketAddress:
    """Bind address and configured port of one listener."""

    bind: str
    port: int


#: One listener's identity: extension id and role.
Slot = tuple[int, Role]


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


def alternatives(port: int, claimed: frozenset[int], limit: int = 50) -> list[int]:
    """Return the ports to try, upward, when ``port`` is in use: at most ``limit``, none that a row claims."""
    return [p for p in range(port + 1, min(port + limit, 65_535) + 1) if p not in claimed]


def shrinks(desired: int, running: int) -> bool:
    """Return whether the table has suspiciously few extensions: none, or less than half of the running ones."""
    return running > 0 and (desired == 0 or desired * 2 < running)
