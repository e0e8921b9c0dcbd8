"""Which scope a request needs: ``read``, ``operate`` or ``admin``."""

from __future__ import annotations

from collections.abc import Sequence

from audiosocket.api_tokens import SCOPES

READING_METHODS = (b"GET", b"HEAD", b"OPTIONS")

#: What an operator may do, as method and path below ``/api``; ``*`` is any segment. All else that is not reading
#: needs ``admin``, a route that is added later included.
_OPERATE = (
    (b"POST", (b"hangup",)),
    (b"POST", (b"calls", b"*", b"*")),
    (b"DELETE", (b"calls", b"*", b"return")),
    (b"POST", (b"attempts", b"*")),
    (b"POST", (b"refresh",)),
    (b"POST", (b"restart",)),
    (b"POST", (b"drain",)),
    (b"POST", (b"fleet", b"commands")),
    (b"DELETE", (b"drain",)),
)


def needed_scope(method: bytes, segments: Sequence[bytes], *, upgrade: bool) -> str:
    """Return the scope for a request with these decoded segments; an upgrade (a telephone) is operating."""
    if method in READING_METHODS:
        return "operate" if upgrade else "read"
    if segments[0] != b"api":
        return "read"
    below = segments[1:]
    for wanted, path in _OPERATE:
        if method == wanted and len(path) == len(below) and all(map(_fits, path, below)):
            return "operate"
    return "admin"


def allows(scope: str, needed: str) -> bool:
    """Return whether a token with ``scope`` may do what needs ``needed``."""
    return SCOPES.index(scope) >= SCOPES.index(needed)


def _fits(pattern: bytes, segment: bytes) -> bool:
    return pattern in (b"*", segment)
