"""Routes for the state of the server: the status, and the probes of a supervisor or a load balancer."""

from __future__ import annotations

from klein import Klein

from admin.problems import RECENT_SECONDS, find_problems
from admin.responses import HTTPError, reply
from admin.site import AdminRequest
from admin.uncancelled import maybe_await
from audiosocket.control_interface import Control
from audiosocket.runtime.event_feed import EventFeed


def add_routes(app: Klein, control: Control, feed: EventFeed) -> None:
    """Add the status and the probes to ``app``."""

    @app.route("/api/status", methods=["GET"])
    async def status(request: AdminRequest) -> bytes:
        """Return extensions, listeners, calls and counters, from memory."""
        return reply(request, await maybe_await(control.status()))

    @app.route("/api/problems", methods=["GET"])
    async def list_problems(request: AdminRequest) -> bytes:
        """Return what is wrong now, and what to do about it."""
        problems = find_problems(await maybe_await(control.status()), feed.since(RECENT_SECONDS))
        return reply(request, {"total": len(problems), "problems": problems})

    @app.route("/healthz", methods=["GET"])
    def healthz(request: AdminRequest) -> bytes:
        """Answer 200 while the reactor keeps up, else 503."""
        return _probe(request, *control.healthy())

    @app.route("/readyz", methods=["GET"])
    def readyz(request: AdminRequest) -> bytes:
        """Answer 200 while the listeners match the desired state and no stop is in progress, else 503."""
        return _probe(request, *control.ready())


def _probe(request: AdminRequest, good: bool, reason: str) -> bytes:
    if not good:
        raise HTTPError(503, reason or "Not ready.")
    return reply(request, {"status": "ok"})
