"""From an English message to the same one in Portuguese. Pure.

Errors come as texts, also from other processes, so that the English text is compared with the templates of the
catalogue: what stands for ``{name}`` is taken over, and translated itself where it is a message, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

from admin.catalogue.request_errors import MUST_BE, REQUEST_ERRORS
from admin.catalogue.server_errors import SERVER_ERRORS

#: Longer texts are not searched for; the longest message has less.
MAX_LENGTH = 2000
#: Between several reasons in one message.
SEPARATOR = "; "
_PLACE = re.compile(r"\{([a-z_]+)\}")
#: Places whose value may be a message itself.
_NESTED = frozenset({"problem", "reason", "must_be", "one", "other"})


def in_portuguese(message: str) -> str | None:
    """Return an error's message in Portuguese, None for one that the catalogue does not have."""
    if len(message) > MAX_LENGTH:
        return None
    # Several reasons first: a template that ends in a place would take the others for its value.
    parts = [_translated(part) for part in message.split(SEPARATOR)]
    if None in parts:
        return _translated(message)
    return SEPARATOR.join(part for part in parts if part is not None)


def filled(template: str, values: Mapping[str, object]) -> str:
    """Return a template with its places filled; other braces, as of JSON, stay."""
    return _PLACE.sub(lambda place: str(values.get(place[1], place[0])), template)


def pattern(template: str) -> re.Pattern[str]:
    """Return the expression that a message made from a template matches."""
    pieces = _PLACE.split(template)
    text = "".join(f"(?P<{piece}>.*?)" if place % 2 else re.escape(piece) for place, piece in enumerate(pieces))
    return re.compile(text, re.DOTALL)


def _translated(message: str) -> str | None:
    for english, portuguese in _templates():
        match = english.fullmatch(message)
        if match is not None:
            values = match.groupdict()
            nested = {name: _translated(values[name]) or values[name] for name in _NESTED & values.keys()}
            return filled(portuguese, {**values, **nested})
    return None


@cache
def _templates() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return the catalogue of errors; what says most comes first, so that it is not taken for another message."""
    both = {**MUST_BE, **SERVER_ERRORS, **REQUEST_ERRORS}
    return tuple((pattern(english), both[english]) for english in _most_text_first(both))


def _most_text_first(templates: Iterable[str]) -> list[str]:
    return sorted(templates, key=lambda template: len(_PLACE.sub("", template)), reverse=True)
