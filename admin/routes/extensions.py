"""Routes for extensions: the rows of the table, applying them, and their dialplan.

What changes the table or the listeners is shielded: Klein cancels a handler when its client disconnects, and half
a change would be worse than a whole one.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from admin import requests
from admin.access import requested_host
from admin.language import say
from admin.responses import reply, reply_tagged, reply_text
from admin.site import AdminRequest
from audiosocket.control_interface import Control
from audiosocket.errors import AudioSocketError
from audiosocket.runtime.deferreds import shielded

T = TypeVar("T")
_log = Logger()


def add_routes(app: Klein, control: Control) -> None:
    """Add the routes for extensions to ``app``."""
    extensions = control.extensions

    @app.route("/api/refresh", methods=["POST"])
    async def refresh(request: AdminRequest) -> bytes:
        """Read the table and apply it, or report what would change."""
        options = requests.refresh_options(request.content.read(), request.uri)
        request.remark = " ".join(name for name, chosen in options.items() if chosen)
        work = extensions.refresh(force=options["force"], dry_run=options["dry_run"])
        result = await _to_the_end(work, "POST /api/refresh", request)
        if options["dry_run"]:
            message = say(request, "Simulated, nothing was changed")
        elif result.get("result") == "held_back":
            message = say(request, "Nothing was changed: {reason}", reason=result.get("reason"))
        else:
            message = say(request, "Configuration updated")
        return reply(request, {"message": message, **result})

    @app.route("/api/restart", methods=["POST"])
    async def restart(request: AdminRequest) -> bytes:
        """Reopen the listeners of an extension."""
        extension_id, number = requests.which_extension(request.content.read())
        work = extensions.restart(extension_id=extension_id, number=number)
        await _to_the_end(work, "POST /api/restart", request)
        name = number if extension_id is None else f"ID {extension_id}"
        request.remark = f"extension {name}"
        return reply(request, {"message": say(request, "Extension {name} restarted", name=name)})

    @app.route("/api/extensions", methods=["GET"])
    async def list_extensions(request: AdminRequest) -> bytes:
        """Return the rows of the database."""
        rows = await _to_the_end(extensions.rows(), "GET /api/extensions", request)
        return reply_tagged(request, rows)

    @app.route("/api/extensions/<extension_id>", methods=["GET"])
    async def show_extension(request: AdminRequest, extension_id: str) -> bytes:
        """Return the row of one extension."""
        parsed_id = requests.parse_extension_id(extension_id)
        row = await _to_the_end(extensions.row(parsed_id), f"GET /api/extensions/{parsed_id}", request)
        return reply_tagged(request, {"extension": row})

    @app.route("/api/extensions", methods=["POST"])
    async def add_extension(request: AdminRequest) -> bytes:
        """Insert an extension and apply it."""
        fields = requests.extension_fields(request.content.read())
        extension = await _to_the_end(extensions.add(fields, request.log_change), "POST /api/extensions", request)
        request.setHeader("Location", f"/api/extensions/{extension.id}")
        message = say(request, "Extension {number} added", number=extension.number)
        return reply(request, {"message": message, "extension": extension.to_json()}, 201)

    @app.route("/api/extensions/<extension_id>", methods=["PUT"])
    async def change_extension(request: AdminRequest, extension_id: str) -> bytes:
        """Change the given fields of an extension and apply them."""
        parsed_id = requests.parse_extension_id(extension_id)
        fields = requests.changed_fields(request.content.read(), parsed_id)
        request.remark = f"extension {parsed_id}: {', '.join(fields)}"
        work = extensions.change(parsed_id, fields, request.log_change)
        extension = await _to_the_end(work, f"PUT /api/extensions/{parsed_id}", request)
        message = say(request, "Extension ID {id} updated", id=parsed_id)
        return reply(request, {"message": message, "extension": extension.to_json()})

    @app.route("/api/extensions/<extension_id>", methods=["DELETE"])
    async def remove_extension(request: AdminRequest, extension_id: str) -> bytes:
        """Delete an extension; its calls continue."""
        parsed_id = requests.parse_extension_id(extension_id)
        work = extensions.remove(parsed_id, request.log_change)
        await _to_the_end(work, f"DELETE /api/extensions/{parsed_id}", request)
        return reply(request, {"message": say(request, "Extension ID {id} removed", id=parsed_id)})

    _add_running_routes(app, control)


def _add_running_routes(app: Klein, control: Control) -> None:
    """Add the routes that show running extensions, from memory."""
    extensions = control.extensions

    @app.route("/api/extensions/<extension_id>/dialplan", methods=["GET"])
    def dialplan(request: AdminRequest, extension_id: str) -> bytes:
        """Return Asterisk's dialplan for one extension as text."""
        return reply_dialplan(request, requests.parse_extension_id(extension_id))

    @app.route("/api/extensions/dialplan", methods=["GET"])
    def whole_dialplan(request: AdminRequest) -> bytes:
        """Return Asterisk's dialplan for all running extensions as one text, with what they share once."""
        return reply_dialplan(request, None)

    @app.route("/api/extensions/<extension_id>/apps", methods=["GET"])
    def extension_apps(request: AdminRequest, extension_id: str) -> bytes:
        """Return the apps of an extension's legs, and the entry of ``apps.toml`` that chose them."""
        return reply_tagged(request, extensions.apps_of(requests.parse_extension_id(extension_id)))

    def reply_dialplan(request: AdminRequest, extension_id: int | None) -> bytes:
        style, wideband, host = requests.dialplan_options(request.uri)
        text = extensions.dialplan(extension_id, style, wideband, host, requested_host(request))
        return reply_text(request, text)


def _to_the_end(work: Awaitable[T], name: str, request: AdminRequest) -> Deferred[T]:
    """Return the result of ``work``, which goes on after its client has disconnected; log it then as ``name``."""
    name = f"{name} by {request.who}"

    def log(outcome: T | Failure) -> None:
        if not isinstance(outcome, Failure):
            _log.info(
                "{name} completed after its client had disconnected: {remark}", name=name, remark=request.remark
            )
        elif outcome.check(AudioSocketError):
            _log.warn("{name} failed after its client had disconnected: {error}", name=name, error=outcome.value)
        else:
            _log.failure("{name} failed after its client had disconnected", outcome, name=name)

    return shielded(work, log)
