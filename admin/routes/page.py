"""Routes for the operator page: its document, and the files that the document loads.

They hold no data and need no token; what they show comes from ``/api``.
"""

from __future__ import annotations

from collections.abc import Mapping

from klein import Klein

from admin.page_files import PageFile
from admin.responses import HTTPError, quoted
from admin.site import AdminRequest

DOCUMENT = "index.html"

#: Only our own files and our own API, nothing inline, no frames. A WebSocket to our own origin is 'self', too.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": PAGE_POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
}


def add_routes(app: Klein, files: Mapping[str, PageFile]) -> None:
    """Add the page to ``app``; ``files`` are its files by name."""

    @app.route("/", methods=["GET"])
    def document(request: AdminRequest) -> bytes:
        """Return the document."""
        return _reply_file(request, files[DOCUMENT])

    @app.route("/page/<name>", methods=["GET"])
    def file(request: AdminRequest, name: str) -> bytes:
        """Return a file that the document loads."""
        if name not in files:
            raise HTTPError(404, f"The page has no file {quoted(name)}.")
        return _reply_file(request, files[name])


def _reply_file(request: AdminRequest, file: PageFile) -> bytes:
    for name, value in PAGE_HEADERS.items():
        request.setHeader(name, value)
    request.setHeader("Content-Type", file.content_type)
    if request.setETag(file.etag):
        return b""  # the client has this version: Twisted has set 304
    request.setHeader("Content-Length", str(len(file.content)))
    return file.content
