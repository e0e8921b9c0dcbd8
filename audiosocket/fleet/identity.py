"""Which node this is. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

#: Heartbeats in a row that were refused because another node has the name. A node that was killed is gone after
#: 5 s, so that only one that lives refuses more of them.
MAX_REFUSED = 7
#: Heartbeats for which a name counts as shared after the last sign of it.
REMEMBERED = 30


@dataclass(frozen=True)
class Node:
    """A process of the fleet.

    ``life`` is random, another at each start. ``place`` stands for machine and data directory, of which a second
    process cannot make use: who has the same place is the same node after a restart.
    """

    name: str
    life: str
    place: str


def node(name: str, host: str, data_dir: str, life: str) -> Node:
    """Return this node; without ``name`` it is called after ``host`` and the absolute path ``data_dir``."""
    place = hashlib.sha256(f"{host}\0{data_dir}".encode()).hexdigest()[:8]
    return Node(name or f"{host}-{place}", life, place)


class NameWatch:
    """Whether another node uses the same name, as the answers to the heartbeats show."""

    def __init__(self, life: str) -> None:
        self._life = life
        self._registered = False
        self._refused = 0
        self._remembered = 0

    def answered(self, before: str | None, now: str | None) -> None:
        """Note the answer to a heartbeat: whose the name was before, and whose it is now (None: not written)."""
        self._remembered = max(0, self._remembered - 1)
        if now != self._life:
            self._refused += 1
            if self._refused >= MAX_REFUSED:
                self._remembered = REMEMBERED
            return
        if self._registered and before not in (None, self._life):
            self._remembered = REMEMBERED
        self._registered, self._refused = True, 0

    @property
    def shared(self) -> bool:
        """Whether another node uses the name."""
        return self._remembered > 0
