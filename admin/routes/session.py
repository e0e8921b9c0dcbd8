"""Routes for signing in with a browser: a cookie instead of the token."""

from __future__ import annotations

from klein import Klein

from admin.responses import HTTPError, reply
from admin.sessions import SESSION_SECONDS, Sessions
from admin.site import AdminRequest


def add_routes(app: Klein, sessions: Sessions) -> None:
    """Add the routes for signing in and out to ``app``."""

    @app.route("/session", methods=["GET"])
    def who_am_i(request: AdminRequest) -> bytes:
        """Return the name and the scope of the caller."""
        return reply(request, _described(request))

    @app.route("/session", methods=["POST"])
    def sign_in(request: AdminRequest) -> bytes:
        """Set the cookie that stands for the token of this request."""
        caller = request.caller
        if caller.by == "cookie":
            raise HTTPError(401, "Sign in with the token: send 'Authorization: Bearer ...'.", _BEARER)
        if caller.by == "token" and caller.token is not None:
            sessions.open(request, caller.token)
        return reply(request, {**_described(request), "expires_seconds": SESSION_SECONDS})

    @app.route("/session", methods=["DELETE"])
    def sign_out(request: AdminRequest) -> bytes:
        """Make the browser forget its cookie."""
        sessions.close(request)
        return reply(request, {})


_BEARER = {"WWW-Authenticate": "Bearer"}


def _described(request: AdminRequest) -> dict[str, object]:
    caller = request.caller
    return {"name": caller.name, "scope": caller.scope, "token_required": bool(caller.by)}
