"""What is allowed and yet likely wrong: dangerous values, and names that are almost a setting."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from audiosocket.api_address import is_local
from audiosocket.settings import Settings, catalogue

#: How similar (0 to 1) a name must be to a setting to be taken for it; of names so short that one wrong letter is
#: more than this, one letter.
MIN_SIMILARITY = 0.85
#: A shorter token is warned of: 16 random letters cannot be guessed at ten attempts a minute.
MIN_TOKEN_CHARACTERS = 16


def weaknesses(settings: Settings) -> list[str]:
    """Return what is allowed and yet dangerous, one sentence each with the cure."""
    found = []
    if any(network.prefixlen == 0 for network in settings.allowed_peers):
        found.append("ALLOWED_PEERS lets every address place calls; name the networks of your Asterisk")
    if 0 < len(settings.api_token) < MIN_TOKEN_CHARACTERS:
        found.append(
            f"API_TOKEN is shorter than {MIN_TOKEN_CHARACTERS} characters and can be guessed; use a random one"
        )
    if settings.fleet and is_local(settings):
        found.append(
            f"FLEET: other nodes do not reach the API at {settings.api_host}:{settings.api_port}; "
            "set API_HOST, or NODE_URL where something passes requests on"
        )
    return found


def misspelt(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of a name that is not a setting and the setting that it resembles, but for about one letter.

    Case is ignored.
    """
    known = [info.name for info in catalogue()]
    pairs: list[tuple[str, str]] = []
    for name in names:
        if name not in known:
            as_long = [each for each in known if abs(len(each) - len(name)) <= 1]
            enough = min(MIN_SIMILARITY, 1 - 1 / max(2, len(name)))
            pairs += [(name, each) for each in get_close_matches(name.upper(), as_long, 1, enough)]
    return pairs
