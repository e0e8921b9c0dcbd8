"""The route of the OpenAPI document."""

from __future__ import annotations

import json

from klein import Klein

from admin.openapi.document import describe
from admin.responses import JSON_TYPE
from admin.site import AdminRequest


def add_routes(app: Klein) -> None:
    """Add the description of all routes to ``app``."""
    made: list[bytes] = []

    @app.route("/api/openapi.json", methods=["GET"])
    def openapi(request: AdminRequest) -> bytes:
        """Return the OpenAPI document of exactly the routes that exist."""
        if not made:
            made.append(json.dumps(describe(app)).encode("ascii"))
        request.setHeader("Content-Type", JSON_TYPE)
        request.setHeader("Content-Length", str(len(made[0])))
        return made[0]
