"""The URL of a bot: places such as ``{ramal}`` in its path and query, which each call fills.

What fills a place is percent-encoded and can change neither scheme, host nor port, nor leave its part of the path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from audiosocket.errors import InvalidParameter, InvalidSetting
from audiosocket.outbound.websocket_request import peer_of

PLACES = ("ramal", "retorno", "condominio", "role", "call_id")
_PLACE = re.compile("{(" + "|".join(PLACES) + ")}")
_AUTHORITY = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#]*", re.IGNORECASE)


def check_url(template: str) -> str:
    """Return the template; raises `InvalidParameter`, which does not show the URL, as it may hold a token."""
    if set("{}") & set(_PLACE.sub("", template)):
        known = ", ".join(f"{{{place}}}" for place in PLACES)
        raise InvalidParameter(f"url has braces that mean nothing; there are {known}", "url")
    authority = _AUTHORITY.match(template)
    if authority is None:
        raise InvalidParameter("url must look like wss://host/path", "url")
    if "{" in authority[0]:
        raise InvalidParameter(
            "url may have places in its path and query only, not in scheme, host or port", "url"
        )
    try:
        peer_of(fill_url(template, dict.fromkeys(PLACES, "x")))
    except InvalidSetting as problem:
        raise InvalidParameter(f"url: {problem}", "url") from None
    return template


def fill_url(template: str, values: Mapping[str, str]) -> str:
    """Return the URL for one call. A value that would be a step in the path (``..``) is left out."""

    def value(place: re.Match[str]) -> str:
        found = values[place[1]]
        return "" if set(found) <= {"."} else quote(found, safe="")

    return _PLACE.sub(value, template)
