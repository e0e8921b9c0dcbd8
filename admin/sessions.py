"""Sessions of browsers: a signed cookie that stands for a token, without a store.

The cookie is ``audiosocket_PORT=UNTIL.NAME.SIGNATURE``. The signature covers the digest of the token, so that the
cookie is void once the token is changed or removed. The port is in the name as cookies do not know ports.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256

from twisted.web.server import Request

from audiosocket.api_tokens import ApiToken, KnownTokens

SESSION_SECONDS = 12 * 3600


class Sessions:
    """Makes and checks the cookies for ``tokens``. ``clock`` is the time of day in seconds."""

    def __init__(self, key: bytes, tokens: KnownTokens, clock: Callable[[], float]) -> None:
        self._key = key
        self._tokens = tokens
        self._clock = clock

    def open(self, request: Request, token: ApiToken) -> None:
        """Set the cookie of a session for the token."""
        until = int(self._clock()) + SESSION_SECONDS
        value = f"{until}.{token.name}.{self._signature(until, token)}"
        _set_cookie(request, value, SESSION_SECONDS)

    def close(self, request: Request) -> None:
        """Make the browser forget its cookie."""
        _set_cookie(request, "", 0)

    def find(self, request: Request) -> tuple[ApiToken, float] | None:
        """Return the token that the request's cookie stands for, and the time of day at which the cookie ends.

        None without a valid cookie.
        """
        value = request.getCookie(_cookie_name(request).encode("ascii"))
        parts = (value or b"").decode("latin-1").split(".")
        if len(parts) != 3 or not parts[0].isdecimal() or not parts[0].isascii() or len(parts[0]) > 15:
            return None
        until, token = int(parts[0]), self._tokens.get(parts[1])
        if token is None:
            return None
        right = hmac.compare_digest(parts[2].encode("latin-1"), self._signature(until, token).encode("ascii"))
        return (token, until) if right and self._clock() < until else None

    def _signature(self, until: int, token: ApiToken) -> str:
        text = b"session 1 %d %s " % (until, token.name.encode("ascii"))
        return hmac.new(self._key, text + token.digest, sha256).hexdigest()


def _cookie_name(request: Request) -> str:
    return f"audiosocket_{getattr(request.getHost(), 'port', 0)}"


def _set_cookie(request: Request, value: str, seconds: int) -> None:
    forwarded = request.getHeader("X-Forwarded-Proto") or ""
    secure = "; Secure" if request.isSecure() or forwarded.strip().lower() == "https" else ""
    cookie = f"{_cookie_name(request)}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    request.responseHeaders.addRawHeader("Set-Cookie", cookie)
