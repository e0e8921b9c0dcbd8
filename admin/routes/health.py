"""Routes for the state of the server: the status, and the probes of a supervisor or a load balancer."""

from __future__ import annotations

from klein import Klein
from twisted.internet.interfaces import IReactorTime

from admin import requests
from admin.language import say
from admin.problems import RECENT_SECONDS, find_problems
from admin.responses import HTTPError, encode_list, reply, reply_encoded
from admin.shared_answers import SharedAnswers
from admin.site import AdminRequest
from admin.uncancelled import maybe_await
from audiosocket.control_interface import Control
from audiosocket.runtime.event_feed import EventFeed


def add_routes(app: Klein, control: Control, feed: EventFeed, clock: IReactorTime, shared: SharedAnswers) -> None:
    """Add the status and the probes to ``app``."""

    @app.route("/api/status", methods=["GET"])
    async def status(request: AdminRequest) -> bytes:
        """Return extensions, listeners, calls and counters, from memory."""
        with_extensions = requests.status_options(request.uri)

        async def encoded() -> bytes:
            found = await maybe_await(control.status())
            extensions = found["extensions"] if with_extensions else []
            rest = {key: value for key, value in found.items() if key not in ("status", "extensions")}
            return await encode_list(rest, "extensions", extensions, clock)

        return reply_encoded(request, await shared.get(request, encoded))

    @app.route("/api/problems", methods=["GET"])
    async def list_problems(request: AdminRequest) -> bytes:
        """Return what is wrong now, and what to do about it."""

        async def encoded() -> bytes:
            problems = find_problems(await maybe_await(control.status()), feed.since(RECENT_SECONDS))
            return await encode_list({"total": len(problems)}, "problems", problems, clock)

        return reply_encoded(request, await shared.get(request, encoded))

    @app.route("/healthz", methods=["GET"])
    def healthz(request: AdminRequest) -> bytes:
        """Answer 200 while the reactor keeps up, else 503."""
        return _probe(request, *control.healthy())

    @app.route("/readyz", methods=["GET"])
    def readyz(request: AdminRequest) -> bytes:
        """Answer 200 while the listeners match the desired state and no stop is in progress, else 503."""
        return _probe(request, *control.ready())

    @app.route("/livez", methods=["GET"])
    def livez(request: AdminRequest) -> bytes:
        """Answer 200 while this node takes calls, 404 while it drains, 503 while it can take none."""
        leaving = control.drain.leaving()
        if leaving:  # not 503: what belongs to calls of this node must still come here
            raise HTTPError(404, leaving)
        return _probe(request, not control.drain.unable(), control.drain.unable())

    @app.route("/api/drain", methods=["POST"])
    def drain(request: AdminRequest) -> bytes:
        """Have the balancer send this node no new calls; those that it has go on."""
        began = control.drain.begin()
        message = (
            say(request, "The node takes no new calls any more")
            if began
            else say(request, "The node took no new calls already")
        )
        return reply(request, {"message": message, "drain": control.drain.to_json()})

    @app.route("/api/drain", methods=["DELETE"])
    def cancel_drain(request: AdminRequest) -> bytes:
        """Have the balancer send this node calls again."""
        ended = control.drain.cancel()
        message = (
            say(request, "The node takes new calls again")
            if ended
            else say(request, "The node took new calls already")
        )
        return reply(request, {"message": message, "drain": control.drain.to_json()})


def _probe(request: AdminRequest, good: bool, reason: str) -> bytes:
    if not good:
        raise HTTPError(503, reason or "Not ready.")
    return reply(request, {"status": "ok", **({"storage": reason} if reason else {})})
