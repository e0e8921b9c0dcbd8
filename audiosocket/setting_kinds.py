"""What the text of a setting may be: functions that return its value, or raise `ValueError` with what is wrong.

The texts of errors complete a sentence that begins with the name of the setting and its value.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_HOST_NAME = 253
#: A label of a host name; an underscore is common in the names of containers.
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)
#: What connects as a whole: a URL, or libpq's keywords.
_CONNECTION_STRING = re.compile(
    r"://|\b(?:host|hostaddr|port|user|password|dbname|service|sslmode)\s*=", re.IGNORECASE
)
PORTEIRO_LANGUAGES = ("pt_BR", "en")


def text(value: str) -> str:
    """Return any text unchanged."""
    return value


def flag(value: str) -> bool:
    """Return whether the text means yes, in English or Portuguese."""
    lowered = value.lower()
    if lowered in {"true", "1", "yes", "on", "sim"}:
        return True
    if lowered in {"false", "0", "no", "off", "nao", "não"}:
        return False
    raise ValueError("is neither true nor false")


def whole(low: int, high: int, what: str) -> Callable[[str], int]:
    """Return a check for a whole number from ``low`` to ``high``; ``what`` names it in errors."""

    def parse(value: str) -> int:
        digits = (value.lstrip("0") or "0") if value.isascii() and value.isdigit() else ""
        # int() rejects thousands of digits with an error about something else
        if not digits or len(digits) > len(str(high)) or not low <= int(digits) <= high:
            raise ValueError(f"is not {what} ({low} to {high})")
        return int(digits)

    return parse


def choice(*known: str) -> Callable[[str], str]:
    """Return a check for one of the known words, in any case."""

    def parse(value: str) -> str:
        if value.lower() not in known:
            raise ValueError(f"is none of {', '.join(known)}")
        return value.lower()

    return parse


class HostError(ValueError):
    """A value that is not a host or a network; repeated only if it looks like one."""


def language(value: str) -> str:
    """Return one of `PORTEIRO_LANGUAGES`, given in any case and with a hyphen or an underscore."""
    languages = {language.lower(): language for language in PORTEIRO_LANGUAGES}
    try:
        return languages[value.lower().replace("-", "_")]
    except KeyError:
        raise ValueError(f"is none of {', '.join(PORTEIRO_LANGUAGES)}") from None


def keys(value: str) -> str:
    """Return keys of a telephone in capitals, 32 at most."""
    if not re.fullmatch(r"[0-9*#A-Da-d]{0,32}", value, re.ASCII):
        raise ValueError("is not keys of a telephone (0-9, *, #, A-D; 32 at most)")
    return value.upper()


def address(value: str) -> str:
    """Return an IP address in its usual form; localhost is 127.0.0.1."""
    literal = "127.0.0.1" if value == "localhost" else value.strip("[]")
    try:
        return str(ipaddress.ip_address(literal))
    except ValueError:
        raise HostError("is not an IP address") from None


def host(value: str) -> str:
    """Return a host name or an IP address."""
    literal = value.strip("[]")
    try:
        ipaddress.ip_address(literal)
    except ValueError:
        labels = value.removesuffix(".").split(".")
        if value and (len(value) > MAX_HOST_NAME or not all(map(_HOST_LABEL.fullmatch, labels))):
            raise HostError("is not a host name or an IP address") from None
        return value
    return literal


def plain_name(value: str) -> str:
    """Check the name of a database or a user; a whole connection string there would show its password."""
    if _CONNECTION_STRING.search(value):
        raise HostError("is a URL or key=value; host, port, user and password have settings of their own")
    return value


def database_host(value: str) -> str:
    """Return a host name, an IP address or the directory of a Unix socket."""
    if value.startswith("/") and value.isprintable() and "=" not in value:
        return value  # the directory of a Unix socket, as libpq takes it
    try:
        return host(value)
    except ValueError:
        raise HostError(
            "is not a host name, an IP address or the directory of a socket; "
            "port, database, user and password have settings of their own"
        ) from None


def networks(value: str) -> tuple[Network, ...]:
    """Return networks of IP addresses, separated by commas."""
    try:
        return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip())
    except ValueError:
        raise HostError("is not a list of networks like 10.0.0.0/8,192.168.0.0/16") from None


def names(value: str) -> tuple[str, ...]:
    """Return host names in lower case, separated by commas."""
    found = tuple(part.strip().lower() for part in value.split(",") if part.strip())
    for name in found:
        host(name)
    return found


def limit(what: str, high: int = 1_000_000) -> Callable[[str], int]:
    """Return a check for a number from 0 (no limit) to ``high``."""
    return whole(0, high, f"a number of {what}")


port = whole(1, 65_535, "a TCP port")


def ports(value: str) -> range | None:
    """Return a range of TCP ports, None for an empty text."""
    low, dash, high = value.partition("-")
    try:
        found = range(port(low.strip()), port(high.strip()) + 1) if dash else range(0)
    except ValueError:
        found = range(0)
    if value and not found:
        raise ValueError("is not a range of TCP ports like 8101-8300")
    return found or None


def node_name(value: str) -> str:
    """Return the name of a node; empty: the server makes one."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,100}", value, re.ASCII):
        raise ValueError("is not a name of at most 100 letters, digits, dots, hyphens and underscores")
    return value
