"""Which worker has a call: computed from the UUID alone, so that no process has to be asked."""

from __future__ import annotations

from hashlib import blake2b
from uuid import UUID


def owner(call_id: UUID, workers: int) -> int:
    """Return the index of the worker that has the call, of ``workers`` many.

    A hash, because the bits of a UUID that is not random are uneven: those of version 1 are a time and the number
    of a network card.
    """
    return int.from_bytes(blake2b(call_id.bytes, digest_size=4).digest(), "big") % workers
