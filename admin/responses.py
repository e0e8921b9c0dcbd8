"""What goes out: JSON, the same shape for every error, and which error is which HTTP status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.web.http import RESPONSES
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from audiosocket.errors import (
    AudioSocketError,
    ExtensionTaken,
    InvalidExtension,
    InvalidNumber,
    InvalidReport,
    ReturnTaken,
    ReturnUnavailable,
    SourceUnavailable,
    UnknownAttempt,
    UnknownCall,
    UnknownExtension,
    WorkerGone,
)

JSON_TYPE = "application/json; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"

#: Status of each error that `audiosocket.control_interface.Control` raises on purpose.
STATUS: Mapping[type[AudioSocketError], int] = {
    InvalidExtension: 422,
    ExtensionTaken: 409,
    UnknownExtension: 404,
    UnknownCall: 404,
    SourceUnavailable: 503,
    InvalidNumber: 422,
    ReturnTaken: 409,
    ReturnUnavailable: 503,
    WorkerGone: 503,
    UnknownAttempt: 404,
    InvalidReport: 400,
}


class HTTPError(AudioSocketError):
    """A request that is answered with an HTTP error.

    ``code`` is the HTTP status, ``headers`` go into the answer, ``field`` is the JSON name of the key at
    fault or empty.
    """

    def __init__(self, code: int, message: str, headers: Mapping[str, str] | None = None, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.headers = dict(headers or {})
        self.field = field

    def body(self) -> bytes:
        """The answer's JSON."""
        answer = {"status": "error", "message": str(self)}
        if self.field:
            answer["field"] = self.field
        return encode(answer)


def encode(answer: Mapping[str, Any]) -> bytes:
    """JSON as the old service wrote it (spaces after separators, ASCII only): scripts may grep it.

    A value JSON has no word for becomes its text: apps of other people may note anything in a timeline.
    """
    return json.dumps(answer, default=str).encode("ascii")


def reply(request: Request, answer: Mapping[str, Any], code: int = 200) -> bytes:
    """Set the status and the headers of a successful answer; returns its body, for Klein to write."""
    return _prepare(request, code, encode({"status": "success", **answer}))


def reply_text(request: Request, text: str) -> bytes:
    """As `reply`, for what is pasted somewhere and not parsed."""
    return _prepare(request, 200, text.encode("utf-8"), TEXT_TYPE)


def refuse(request: Request, refusal: HTTPError) -> bytes:
    """Set the status and the headers of an error; returns its body, for Klein to write."""
    for name, value in refusal.headers.items():
        request.setHeader(name, value)
    return _prepare(request, refusal.code, refusal.body())


def to_http_error(error: BaseException | None, path: str) -> HTTPError | None:
    """The HTTP error for an exception, None when the exception is a bug on our side."""
    if isinstance(error, HTTPError):
        return error
    if isinstance(error, NotFound):
        return HTTPError(404, f"There is no {quoted(path)} here.")
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return HTTPError(405, f"{quoted(path)} answers only {allowed}.", {"Allow": allowed})
    if isinstance(error, HTTPException):
        code = error.code or 500
        return HTTPError(code, RESPONSES.get(code, b"Error").decode("ascii") + ".")
    for kind, code in STATUS.items():
        if isinstance(error, kind):
            return HTTPError(code, str(error) or str(kind.__doc__), field=getattr(error, "field", ""))
    return None


def quoted(value: object, most: int = 60) -> str:
    """A value from a request as an error message quotes it, at most ``most`` characters."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def _prepare(request: Request, code: int, body: bytes, content_type: str = JSON_TYPE) -> bytes:
    request.setResponseCode(code)
    request.setHeader("Content-Type", content_type)
    request.setHeader("Content-Length", str(len(body)))
    return body
