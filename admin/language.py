"""The language of the messages of successful changes: Portuguese, as of the replaced service, or English."""

from __future__ import annotations

from twisted.web.server import Request


def say(request: Request, portuguese: str, english: str) -> str:
    """Return the text in the language that the client accepts more, Portuguese where it does not say."""
    english_wanted = prefers_english(request.getHeader("Accept-Language") or "")
    request.setHeader("Content-Language", "en" if english_wanted else "pt-BR")
    return english if english_wanted else portuguese


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
