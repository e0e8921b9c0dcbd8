"""Bearer tokens, and a limit on attempts to guess one."""

from __future__ import annotations

import hmac
import ipaddress
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from hashlib import sha256

from twisted.logger import Logger

from admin.responses import HTTPError
from audiosocket.api_tokens import ApiToken, KnownTokens

#: Wrong tokens a peer may send within `WINDOW_SECONDS`; after that its wrong ones are answered 429.
MAX_WRONG = 10
WINDOW_SECONDS = 60.0
#: Peers whose wrong tokens are counted; above that the peer with the oldest wrong token is dropped.
MAX_PEERS = 1000


class TokenAuth:
    """A check of tokens in constant time; a peer with too many wrong ones is answered 429.

    A right token always passes: whoever shares its sender's address must not be able to lock it out. ``clock``
    returns steady time in seconds.
    """

    _log = Logger()

    def __init__(self, tokens: KnownTokens, clock: Callable[[], float]) -> None:
        self._known = tokens
        self._clock = clock
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, peer: str, headers: Sequence[bytes]) -> ApiToken:
        """Return the token in the Authorization ``headers``; raise `HTTPError` (401, 429) without a known one."""
        if not headers:
            raise self._unauthorized("This server requires its API_TOKEN: send 'Authorization: Bearer ...'.")
        scheme, _, given = headers[0].partition(b" ")
        digest = sha256(given.strip()).digest()
        found = [token for token in self._known if hmac.compare_digest(digest, token.digest)]
        if found and len(headers) == 1 and scheme.lower() == b"bearer":
            return found[0]
        peer, now = _network(peer), self._clock()
        self._check_limit(peer, now)
        self._count_wrong(peer, now)
        raise self._unauthorized("The token in the Authorization header is not one of this server's tokens.")

    def _unauthorized(self, message: str) -> HTTPError:
        return HTTPError(401, message, {"WWW-Authenticate": "Bearer"})

    def _check_limit(self, peer: str, now: float) -> None:
        times = self._wrong.get(peer)
        while times and now - times[0] >= WINDOW_SECONDS:
            times.popleft()
        if times and len(times) >= MAX_WRONG:
            seconds = max(1, math.ceil(times[0] + WINDOW_SECONDS - now))
            message = f"Too many wrong tokens from {peer}; wait {seconds} s."
            raise HTTPError(429, message, {"Retry-After": str(seconds)})

    def _count_wrong(self, peer: str, now: float) -> None:
        times = self._wrong.setdefault(peer, deque(maxlen=MAX_WRONG))
        self._wrong.move_to_end(peer)
        times.append(now)
        if len(times) == MAX_WRONG:
            self._log.warn(
                "{peer} sent {n} wrong tokens within a minute; its wrong ones are answered 429 for a minute",
                peer=peer,
                n=MAX_WRONG,
            )
        while len(self._wrong) > MAX_PEERS:
            self._wrong.popitem(last=False)


def _network(peer: str) -> str:
    """Return an IPv4 address unchanged, an IPv6 address as its /64, of which a host can use any address."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return peer
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
