"""HTTP responses: JSON with one shape for every error, and the HTTP status and the message of each error."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.http import RESPONSES
from twisted.web.http_headers import Headers
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from admin.language import say_error
from audiosocket.errors import (
    AudioSocketError,
    ChangeNotAllowed,
    CommandRefused,
    ExtensionTaken,
    InvalidCommand,
    InvalidExtension,
    InvalidNumber,
    InvalidReport,
    NodeTimeout,
    NodeUnavailable,
    ReturnTaken,
    ReturnUnavailable,
    SourceUnavailable,
    TelephonyUnavailable,
    UnknownAttempt,
    UnknownCall,
    UnknownExtension,
    WorkerGone,
)

JSON_TYPE = "application/json; charset=utf-8"
#: Entries of a list that are encoded between two turns of the reactor: less than a millisecond.
ENCODED_PER_TURN = 8
TEXT_TYPE = "text/plain; charset=utf-8"

#: Status of each error that `audiosocket.control_interface.Control` raises, and the message for one without a
#: text.
ERRORS: Mapping[type[AudioSocketError], tuple[int, str]] = {
    InvalidExtension: (422, "The extension is not valid."),
    ExtensionTaken: (409, "Another extension has this number or port."),
    UnknownExtension: (404, "There is no such extension."),
    UnknownCall: (404, "There is no such call, or it has no such live leg."),
    ChangeNotAllowed: (403, "The database does not allow this change."),
    SourceUnavailable: (503, "The database is not available."),
    InvalidNumber: (422, "The number is not valid."),
    ReturnTaken: (409, "The state of the call does not allow this now."),
    ReturnUnavailable: (503, "Return calls cannot be placed now."),
    WorkerGone: (503, "The worker process does not answer; try again."),
    InvalidCommand: (422, "The command is not valid."),
    CommandRefused: (409, "The command was not carried out."),
    TelephonyUnavailable: (503, "Asterisk did not do it."),
    UnknownAttempt: (404, "There is no such attempt, or it has ended."),
    InvalidReport: (400, "The report is not valid."),
    NodeTimeout: (504, "The node that was asked does not answer."),
    NodeUnavailable: (502, "The node that was asked cannot be reached."),
}
_PHRASES = {421: b"Misdirected Request", 422: b"Unprocessable Content", 429: b"Too Many Requests"}
#: The message of a status that an error without a text of its own is answered with.
MESSAGES: Mapping[int, str] = {
    500: "The server failed; its log has the reason.",
    **{code: f"{name.decode('ascii')}." for code, name in RESPONSES.items() if code != 500},
}


class HTTPError(AudioSocketError):
    """The error that a request is answered with.

    ``code`` is the HTTP status, ``headers`` are added to the response, ``field`` is the JSON name of the invalid
    key or empty.
    """

    def __init__(self, code: int, message: str, headers: Mapping[str, str] | None = None, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.headers = dict(headers or {})
        self.field = field

    def body(self, wanted: Headers, headers: Headers) -> bytes:
        """Return the JSON of the response to a request with the headers ``wanted``.

        The language of its message is set in ``headers``, those of the response.
        """
        answer = {"status": "error", "message": say_error(str(self), wanted, headers)}
        if self.field:
            answer["field"] = self.field
        return encode(answer)


def encode(answer: Mapping[str, Any]) -> bytes:
    """Return one line of JSON in UTF-8, with spaces after separators as the replaced service wrote it.

    A value that JSON cannot express is converted to text: an app may put anything into a timeline.
    """
    return _to_utf8(json.dumps(answer, default=str, ensure_ascii=False)) + b"\n"


def _to_utf8(text: str) -> bytes:
    return text.encode(
        "utf-8", "backslashreplace"
    )  # an unpaired surrogate becomes the escape that JSON has for it


def reply(request: Request, answer: Mapping[str, Any], code: int = 200) -> bytes:
    """Set the status and the headers of a successful response; return its body, for Klein to write."""
    return _prepare(request, code, encode({"status": "success", **answer}))


def reply_tagged(request: Request, answer: Mapping[str, Any]) -> bytes:
    """As `reply`, with an ETag: a client that has this answer already, as its If-None-Match says, gets 304."""
    body = encode({"status": "success", **answer})
    request.setHeader("Cache-Control", "private, no-cache")
    tag = f'"{sha256(body).hexdigest()[:32]}"'.encode("ascii")
    return b"" if request.setETag(tag) else _prepare(request, 200, body)


def reply_encoded(request: Request, body: bytes, code: int = 200) -> bytes:
    """As `reply`, with JSON that is encoded already."""
    return _prepare(request, code, body)


async def encode_list(answer: Mapping[str, Any], key: str, values: Sequence[object], clock: IReactorTime) -> bytes:
    """Return a successful answer with the list ``values`` at the end as ``key``, encoded in several turns."""
    pieces: list[bytes] = []
    for first in range(0, len(values), ENCODED_PER_TURN):
        if first:
            await deferLater(clock, 0)
        encoded = json.dumps(values[first : first + ENCODED_PER_TURN], default=str, ensure_ascii=False)
        pieces.append(_to_utf8(encoded[1:-1]))
    start = encode({"status": "success", **answer, key: []})
    end = b"]}\n"
    return start.removesuffix(end) + b", ".join(pieces) + end


def reply_text(request: Request, text: str) -> bytes:
    """As `reply`, with plain text instead of JSON."""
    return _prepare(request, 200, text.encode("utf-8"), TEXT_TYPE)


def reply_error(request: Request, error: HTTPError) -> bytes:
    """Set the status and the headers of an error response; return its body, for Klein to write."""
    for name, value in error.headers.items():
        request.setHeader(name, value)
    return _prepare(request, error.code, error.body(request.requestHeaders, request.responseHeaders))


def to_http_error(error: BaseException | None, path: str) -> HTTPError | None:
    """Return the HTTP error for an exception, None for an exception that is a bug of ours."""
    if isinstance(error, HTTPError):
        return error
    if isinstance(error, NotFound):
        return HTTPError(404, f"There is no resource {quoted(path)}.")
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return HTTPError(405, f"{quoted(path)} allows only {allowed}.", {"Allow": allowed})
    if isinstance(error, HTTPException):
        return HTTPError(error.code or 500, "The server refuses this request.")
    for kind, (code, message) in ERRORS.items():
        if isinstance(error, kind):
            return HTTPError(code, str(error) or message, field=getattr(error, "field", ""))
    return None


def quoted(value: object, max_length: int = 60) -> str:
    """Return a value of a request for an error message, printable and at most ``max_length`` characters."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= max_length else text[: max_length - 3] + "..."


def reason_phrase(code: int) -> bytes:
    """Return the text of a status; Twisted does not know all of them."""
    return _PHRASES.get(code) or RESPONSES.get(code, b"Error")


def _prepare(request: Request, code: int, body: bytes, content_type: str = JSON_TYPE) -> bytes:
    request.setResponseCode(code, reason_phrase(code))
    request.setHeader("Content-Type", content_type)
    request.setHeader("Content-Length", str(len(body)))
    return body
