"""The file descriptors of the process: how many are open, and some that are kept for when they run out."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress

#: Descriptors kept in reserve, for the files and connections of calls that are established.
RESERVED = 8


def limit() -> int:
    """Return how many descriptors the process may have: the soft limit RLIMIT_NOFILE."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def used() -> int:
    """Return how many descriptors are open; the limit itself when there is none left to count them with.

    Linux has the number as the size of the directory since 6.2 (proc(5)). Listing thousands takes milliseconds.
    """
    try:
        counted = os.stat("/dev/fd").st_size if sys.platform == "linux" else 0
        return counted or len(os.listdir("/dev/fd")) - 1  # one is open for the listing
    except OSError:
        return limit()


class DescriptorReserve:
    """Some descriptors that are open for nothing, and can be given up for others."""

    def __init__(self, count: int = RESERVED) -> None:
        self._count = count
        self._kept: list[int] = []

    @property
    def is_full(self) -> bool:
        """Whether all of them are kept."""
        return len(self._kept) == self._count

    def fill(self) -> bool:
        """Keep all of them and leave one free at least; return false, and keep none, when there are too few."""
        while len(self._kept) <= self._count:
            try:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                self.give_up()
                return False
        os.close(self._kept.pop())
        return True

    def give_up(self) -> None:
        """Close all of them."""
        kept, self._kept = self._kept, []
        for descriptor in kept:
            with suppress(OSError):
                os.close(descriptor)
