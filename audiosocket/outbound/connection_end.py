"""Why a connection has ended, in words for an operator."""

from __future__ import annotations

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error
from twisted.python.failure import Failure


def explained(failure: Failure) -> str:
    """Return why a connection ended, for an operator."""
    reason = failure.value
    if isinstance(reason, error.ConnectionClosed):
        return "the connection was closed"
    if isinstance(reason, VerificationError):
        return "TLS: the certificate is not one of this host"
    if isinstance(reason, SSL.Error):
        return f"TLS: {reason.args[0][-1][-1] if reason.args and reason.args[0] else 'failed'}"
    return f"the connection broke: {failure.getErrorMessage()}"
