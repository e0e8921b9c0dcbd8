"""Which worker has a call: known to everybody from the UUID alone, so nobody needs to be asked."""

from __future__ import annotations

from hashlib import blake2b
from uuid import UUID


def owner(call_id: UUID, workers: int) -> int:
    """The index of the worker that has the call, of ``workers`` many.

    A hash, because the bits of a UUID that was not drawn at random are uneven (those of version 1 are a time
    and a network card's number).
    """
    return int.from_bytes(blake2b(call_id.bytes, digest_size=4).digest(), "big") % workers
