"""Tokens with which a bot may use the API for one call, and no other."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from uuid import UUID

from audiosocket.settings import Settings

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104

_CALL = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class CallTokens:
    """Tokens derived from a secret that lives as long as the server. ``base_url`` is that of the API."""

    base_url: str
    secret: str = field(repr=False)

    def token(self, call_id: UUID) -> str:
        """Return the token of a call: its id and what only this server can add to it."""
        code = hmac.new(self.secret.encode(), f"call {call_id}".encode(), hashlib.sha256).hexdigest()
        return f"{call_id.hex}.{code}"

    def call_of(self, token: str) -> UUID | None:
        """Return the call that a token was made for; None if this server has not made it."""
        named = token.partition(".")[0]
        if not _CALL.fullmatch(named):
            return None
        call_id = UUID(hex=named)
        made = hmac.compare_digest(self.token(call_id).encode(), token.encode("utf-8", "replace"))
        return call_id if made else None

    def access(self, call_id: UUID) -> tuple[str, str]:
        """Return the URL of the call in the API, and its token; implements `AppContext.call_access`."""
        return f"{self.base_url}/api/calls/{call_id}", self.token(call_id)


def new_call_tokens(settings: Settings) -> CallTokens:
    """Return tokens with a new secret, for the API of these settings."""
    host = _WILDCARDS.get(settings.api_host, settings.api_host)
    if ":" in host:
        host = f"[{host}]"
    return CallTokens(f"http://{host}:{settings.api_port}", secrets.token_hex(32))
