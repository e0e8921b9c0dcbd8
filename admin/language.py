"""The language of messages, as the client's ``Accept-Language`` says: Portuguese, or English."""

from __future__ import annotations

from twisted.web.http_headers import Headers
from twisted.web.server import Request

from admin.catalogue.changes import CHANGES
from admin.catalogue.translation import filled, in_portuguese

ENGLISH, PORTUGUESE = "en", "pt-BR"
_VARY = "Accept-Language"


def say(request: Request, english: str, **values: object) -> str:
    """Return the message of a change, its places filled, in the client's language; Portuguese without one.

    Raises `KeyError` for a message that is not in `CHANGES`.
    """
    portuguese = CHANGES[english]
    if wants_english(request.requestHeaders):
        mark(request.responseHeaders, ENGLISH)
        return filled(english, values)
    mark(request.responseHeaders, PORTUGUESE)
    return filled(portuguese, {name: in_portuguese(str(value)) or value for name, value in values.items()})


def say_error(message: str, wanted: Headers, headers: Headers) -> str:
    """Return an error's message for a request with the headers ``wanted``; set the language in ``headers``.

    A message of another program, PostgreSQL for example, stays as it is.
    """
    portuguese = None if wants_english(wanted) else in_portuguese(message)
    mark(headers, ENGLISH if portuguese is None else PORTUGUESE)
    return message if portuguese is None else portuguese


def mark(headers: Headers, language: str) -> None:
    """Say in the headers of a response which language its message has, and that another client may get another."""
    headers.setRawHeaders("Content-Language", [language])
    varying = [value for value in headers.getRawHeaders("Vary", []) if value != _VARY]
    headers.setRawHeaders("Vary", [*varying, _VARY])


def wants_english(headers: Headers) -> bool:
    """Return whether the headers of a request ask for English rather than Portuguese."""
    return prefers_english(", ".join(headers.getRawHeaders("Accept-Language", [])))


def prefers_english(accepted: str) -> bool:
    """Return whether an ``Accept-Language`` (RFC 9110) has a higher weight for English than for Portuguese."""
    weights: dict[str, float] = {}
    for part in accepted.split(","):
        name, _, weight = part.partition(";")
        language = name.strip().lower().partition("-")[0]
        weights[language] = max(weights.get(language, 0.0), _weight(weight))
    rest = weights.get("*", 0.0)
    return weights.get("en", rest) > weights.get("pt", rest)


def _weight(parameter: str) -> float:
    """Return the number of ``q=0.8``, 1 without one, 0 for what cannot be read."""
    if not parameter.strip():
        return 1.0
    try:
        return min(1.0, float(parameter.strip().removeprefix("q=")))
    except ValueError:
        return 0.0
