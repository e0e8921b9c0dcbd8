"""Routes for what is kept of visits: apartments, the audit file, recordings and transcripts."""

from __future__ import annotations

from klein import Klein

from admin import requests
from admin.language import say
from admin.responses import reply
from admin.site import AdminRequest
from audiosocket.control_interface import Control


def add_routes(app: Klein, control: Control) -> None:
    """Add the routes for what is kept to ``app``."""

    @app.route("/api/apartments", methods=["GET"])
    def list_apartments(request: AdminRequest) -> bytes:
        """Return a page of the apartments that porteiro knows, numbers masked."""
        condominium_id, limit, offset = requests.apartment_page(request.uri)
        return reply(request, control.records.apartments(condominium_id, limit, offset))

    @app.route("/api/audit", methods=["GET"])
    async def read_audit(request: AdminRequest) -> bytes:
        """Return lines of the audit file: who let whom in, and what the gate answered."""
        since, limit = requests.audit_page(request.uri)
        lines = await control.records.audit(since, limit)
        return reply(request, {"total": len(lines), "entries": lines})

    @app.route("/api/calls/<call_id>/media", methods=["GET"])
    async def list_media(request: AdminRequest, call_id: str) -> bytes:
        """Return the recordings and transcripts of a call."""
        files = await control.records.media(requests.parse_call_id(call_id))
        return reply(request, {"total": len(files), "files": files})

    @app.route("/api/calls/<call_id>/media", methods=["DELETE"])
    async def erase_media(request: AdminRequest, call_id: str) -> bytes:
        """Erase every recording and transcript of a call."""
        parsed_id = requests.parse_call_id(call_id)
        erased = await control.records.erase_media(parsed_id)
        message = say(request, "Media of {call_id} erased", call_id=parsed_id)
        return reply(request, {"message": message, "total": len(erased), "files": erased})
