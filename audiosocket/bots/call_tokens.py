"""Tokens with which a bot may use the API for one call, and no other."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from uuid import UUID

from audiosocket.settings import Settings

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


@dataclass(frozen=True)
class CallTokens:
    """Tokens derived from a secret that lives as long as the server. ``base_url`` is that of the API."""

    base_url: str
    secret: str = field(repr=False)

    def token(self, call_id: UUID) -> str:
        """Return the token of a call."""
        return hmac.new(self.secret.encode(), f"call {call_id}".encode(), hashlib.sha256).hexdigest()

    def is_valid(self, call_id: UUID, token: str) -> bool:
        """Return whether a token is that of the call."""
        return hmac.compare_digest(self.token(call_id).encode(), token.encode("utf-8", "replace"))

    def access(self, call_id: UUID) -> tuple[str, str]:
        """Return the URL of the call in the API, and its token; implements `AppContext.call_access`."""
        return f"{self.base_url}/api/calls/{call_id}", self.token(call_id)


def new_call_tokens(settings: Settings) -> CallTokens:
    """Return tokens with a new secret, for the API of these settings."""
    host = _WILDCARDS.get(settings.api_host, settings.api_host)
    if ":" in host:
        host = f"[{host}]"
    return CallTokens(f"http://{host}:{settings.api_port}", secrets.token_hex(32))
