"""Templates in the settings of return calls: text with places such as ``{number}``, filled for each call.

The values come from requests and from the table, so they are restricted to characters without a meaning of their
own: no ``/ @ & ,`` of dial strings, no quotes, brackets or blanks, no line breaks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from audiosocket.errors import InvalidSetting, LocalProtocolError

#: The number that is rung, and of the call's extension ``ramal_ia``, ``ramal_retorno`` and ``condominio_id``.
PLACES = ("number", "ramal", "retorno", "condominio")
#: Those that a call has before any number is rung.
PLACES_OF_ROWS = PLACES[1:]

_PLACE = re.compile("{(" + "|".join(PLACES) + ")}")
_VALUE = re.compile(r"[0-9A-Za-z*#+][0-9A-Za-z*#+._-]{0,78}")


def check_template(template: str, setting: str, *, places: Sequence[str] = PLACES) -> None:
    """Raise `InvalidSetting`, naming the ``setting``, for a brace that does not belong to one of ``places``."""
    strange = [place for place in _PLACE.findall(template) if place not in places]
    if strange or set("{}") & set(_PLACE.sub("", template)):
        known = ", ".join(f"{{{place}}}" for place in places)
        raise InvalidSetting(f"{setting}: {template!r} has braces other than {known}")


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return the text of a checked template; raises `LocalProtocolError` for a missing or impossible value."""

    def value(place: re.Match[str]) -> str:
        found = values.get(place[1], "")
        if not found:
            raise LocalProtocolError(f"the call has no {place[0]}, which {template!r} needs")
        if not _VALUE.fullmatch(found):
            raise LocalProtocolError(f"{place[0]} is {found[:60]!r}, which cannot be used in {template!r}")
        return found

    return _PLACE.sub(value, template)
