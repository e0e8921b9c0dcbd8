"""Desired state against running state, as a plan: pure, so that every swap and shift can be tested.

The unit is a socket, not a row: a listener whose address and port stay keeps its very socket, whatever
else in its row changed; only what really moved is closed and opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from audiosocket.extensions.model import Extension, Role
from audiosocket.json_shapes import RefreshStatsJSON


@dataclass(frozen=True)
class SocketAddress:
    """Where one listener should be: bind address and configured port."""

    bind: str
    port: int


#: One listener's identity: extension id and role.
Slot = tuple[int, Role]


@dataclass(frozen=True)
class Plan:
    """What to do, in this order: close, relabel, open, retry.

    ``close`` all sockets in it before ``open``: two rows that swap ports need both gone first.
    ``relabel`` are extensions whose values changed while at least one socket stays. ``retry`` are
    listeners that are not where they should be (no socket, or an alternative port) and try again.
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
        """The numbers of ``POST /api/refresh``."""
        return {
            "removed": len(self.removed),
            "updated": len(self.updated),
            "added": len(self.added),
            "total_active": len(self.kept) + len(self.updated) + len(self.added),
        }

    @property
    def empty(self) -> bool:
        """True when nothing differs (retries aside)."""
        return not (self.added or self.updated or self.removed)


def plan(
    desired: Mapping[int, Extension],
    running: Mapping[int, Extension],
    wanted: Mapping[Slot, SocketAddress],
    placed: Mapping[Slot, SocketAddress],
    unsettled: frozenset[Slot] = frozenset(),
) -> Plan:
    """The steps from what runs to what is desired.

    ``wanted`` and ``placed`` say where each listener should be and where it was last asked to be;
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


def alternatives(port: int, claimed: frozenset[int], most: int = 50) -> list[int]:
    """The ports to try, upward, when ``port`` is taken: at most ``most``, none that a row claims."""
    return [p for p in range(port + 1, min(port + most, 65_535) + 1) if p not in claimed]


def shrinks(desired: int, running: int) -> bool:
    """True for a result too small to be believed at first sight: none, or less than half of what runs."""
    return running > 0 and (desired == 0 or desired * 2 < running)
