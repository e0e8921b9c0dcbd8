"""The HTTP API as one Klein resource; its routes are in `admin.routes`."""

from __future__ import annotations

from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.routing import BaseConverter

from admin.forwarding import answer_of_another
from admin.page_files import load_page_files
from admin.phones.phone import Dial
from admin.responses import MESSAGES, HTTPError, reply_error, to_http_error
from admin.routes import (
    calls,
    description,
    events,
    extensions,
    fleet,
    health,
    metrics,
    page,
    phone,
    records,
    session,
)
from admin.sessions import Sessions
from admin.shared_answers import SharedAnswers
from admin.site import AdminRequest
from audiosocket.control_interface import COMMAND_NAMES, Control
from audiosocket.runtime.event_feed import EventFeed

_log = Logger()


class AdminAPI:
    """The API over one server; ``app.resource()`` is its Twisted resource."""

    def __init__(
        self,
        control: Control,
        sessions: Sessions,
        feed: EventFeed,
        clock: IReactorTime,
        dial: Dial | None = None,
    ) -> None:
        self.app = Klein()
        # Werkzeug would answer a doubled slash with a redirect; `AccessCheck` has rejected it before.
        self.app.url_map.merge_slashes = False
        self.app.url_map.converters = {**self.app.url_map.converters, "command": _CommandConverter}
        shared = SharedAnswers(clock)
        health.add_routes(self.app, control, feed, clock, shared)
        calls.add_routes(self.app, control, clock, shared)
        fleet.add_routes(self.app, control, shared)
        for subject in (extensions, records):
            subject.add_routes(self.app, control)
        session.add_routes(self.app, sessions)
        phone.add_routes(self.app, control, dial, feed, clock)
        page.add_routes(self.app, load_page_files())
        events.add_routes(self.app, feed, clock)
        metrics.add_routes(self.app, control, feed, clock)
        description.add_routes(self.app)

        async def answer_failure(request: AdminRequest, failure: Failure) -> bytes:
            try:
                found = await answer_of_another(request, control, failure.value)
            except CancelledError:  # the client has disconnected
                raise
            except Exception:  # noqa: BLE001 - answered as every failure of a route is
                return _answer_error(request, Failure())
            return _answer_error(request, failure) if found is None else found

        self.app.handle_errors(Exception)(answer_failure)  # type: ignore[arg-type]  # Klein types it as any IRequest


class _CommandConverter(BaseConverter):
    """The part of a path that is the name of a command for a call."""

    regex = "|".join(COMMAND_NAMES)


def _answer_error(request: AdminRequest, failure: Failure) -> bytes:
    """Answer an expected error with its own status, any other one with 500, and log that one."""
    path = request.path.decode("latin-1")
    error = to_http_error(failure.value, path)
    if error is None:
        _log.failure("{method} {path} failed", failure, method=request.method.decode("ascii"), path=path)
        error = HTTPError(500, MESSAGES[500])
    return reply_error(request, error)
