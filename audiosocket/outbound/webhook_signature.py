"""Signatures of requests to a webhook's program, and of its reports.

``X-Audiosocket-Signature: t=<unix seconds>,v1=<hex>`` has the HMAC-SHA256 of ``<t>.<body>`` under a shared secret.
"""

from __future__ import annotations

import hashlib
import hmac
import re

SIGNATURE_HEADER = "X-Audiosocket-Signature"
#: Seconds by which the clock of the signer may differ from this one.
SIGNED_SECONDS = 300
_SIGNATURE = re.compile(r"t=(?P<seconds>[0-9]{1,12}),v1=[0-9a-f]{64}", re.ASCII)


def signature(secret: str, seconds: int, body: bytes) -> str:
    """Return the value of `SIGNATURE_HEADER` for a body sent at ``seconds`` (Unix time)."""
    signed = hmac.new(secret.encode(), b"%d." % seconds + body, hashlib.sha256)
    return f"t={seconds},v1={signed.hexdigest()}"


def is_signed(secret: str, header: str, body: bytes, now: float) -> bool:
    """Return whether ``header`` is a signature of this body, not older than `SIGNED_SECONDS`."""
    given = _SIGNATURE.fullmatch(header)
    if given is None or abs(now - int(given["seconds"])) > SIGNED_SECONDS:
        return False
    return hmac.compare_digest(header, signature(secret, int(given["seconds"]), body))
