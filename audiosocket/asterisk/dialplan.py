"""The lines of Asterisk's dialplan for extensions, as an administrator pastes them. Pure.

They are those of ``examples/asterisk`` with the values of a row: its host and ports are in its own lines and not
in settings, so that one file can have the lines of many rows and no row gets another's port.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from audiosocket.asterisk import dialplan_templates as text
from audiosocket.errors import InvalidExtension
from audiosocket.extensions.model import Extension

Style = Literal["plain", "freepbx"]
STYLES: tuple[Style, ...] = ("plain", "freepbx")

WIDEBAND_CODEC = "slin16"
MAX_HOST_CHARACTERS = 253

_NUMBER = re.compile(r"[0-9A-Za-z*#+][0-9A-Za-z*#+_.-]*", re.ASCII)
_HOST = re.compile(r"[0-9A-Za-z]([0-9A-Za-z._-]*[0-9A-Za-z])?", re.ASCII)
#: Extensions to which Asterisk goes by itself, for example at a hangup or a time-out.
_SPECIAL = frozenset({"a", "e", "h", "i", "o", "s", "t", "T"})
#: Extensions that a comment lists.
_MAX_LISTED = 10


@dataclass(frozen=True)
class ServerAddress:
    """Where Asterisk reaches the server when a row has no address, and where that is known from, as text."""

    host: str
    source: str


LOOPBACK = ServerAddress("127.0.0.1", "the server's own machine")


def place(bind_address: str, asked_at: str = "") -> ServerAddress:
    """Return the address for rows without one: BIND_ADDRESS, else that of the API request, else loopback.

    Either may be empty, or one that no other machine can connect to.
    """
    known = (bind_address, "BIND_ADDRESS"), (asked_at, "the address under which the HTTP API was asked")
    for given, source in known:
        try:
            host = address(given)
        except ValueError:
            continue
        if host in {"localhost", "[::1]"}:
            host = LOOPBACK.host  # the extensions without an address listen on 0.0.0.0
        if host:
            return ServerAddress(host, source)
    return LOOPBACK


@lru_cache(maxsize=1_000)
def address(given: str) -> str:
    """Return a host as it is written before a port, an IPv6 address in brackets; empty for an unspecified one.

    Raises ValueError for what is neither an IP address nor a host name.
    """
    try:
        parsed = ipaddress.ip_address(given[1:-1] if given[:1] + given[-1:] == "[]" else given)
    except ValueError:
        if given and (len(given) > MAX_HOST_CHARACTERS or not _HOST.fullmatch(given)):
            raise
        return given
    if parsed.is_unspecified:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        if given != str(parsed):
            raise ValueError("an IPv4 address in brackets")
        return given
    if parsed.scope_id is not None:
        raise ValueError("an address of one link only")
    return f"[{parsed}]"


def named(host: str) -> str:
    """Return the address of a host given in a request; raises `InvalidExtension` for one that cannot be used."""
    try:
        known = address(host)
    except ValueError:
        raise InvalidExtension(
            f"host is {host!r}, which is neither an IP address nor a host name", "host"
        ) from None
    if not known:
        raise InvalidExtension(f"host is {host!r}, which names no machine", "host")
    return known


def select_printable(extensions: Iterable[Extension], host: str = "") -> tuple[list[Extension], list[str]]:
    """Return the extensions that one dialplan can have, and a sentence about each left out, or its residents.

    ``host`` is as for `lines`: where it is given, the rows' own addresses are not used.
    """
    numbers: dict[str, int] = {}
    returns: dict[str, int] = {}
    good: list[Extension] = []
    wrong: list[str] = []
    for extension in extensions:
        try:
            if not host:
                _own(extension)
            _claim(numbers, extension.number, extension.id, "ramal_ia")
        except InvalidExtension as problem:
            wrong.append(f"extension {extension.id} is left out: {problem}")
            continue
        try:
            if _is_returning(extension):
                _claim(returns, extension.return_number, extension.id, "ramal_retorno")
        except InvalidExtension as problem:
            wrong.append(f"residents of extension {extension.id} are left out: {problem}")
            extension = replace(extension, return_port=None)  # noqa: PLW2901 - the same without residents
        good.append(extension)
    return good, wrong


def lines(
    *extensions: Extension,
    style: Style,
    host: str = "",
    otherwise: ServerAddress = LOOPBACK,
    wideband: bool = False,
    survive: bool = True,
    wrong: Sequence[str] = (),
) -> str:
    """Return the dialplan of these extensions, with the part that they share at the end.

    ``host`` is where Asterisk reaches the server, by default the row's own address, or ``otherwise`` for rows
    without one. ``wideband`` requests 16 kHz. Without ``survive`` a call ends with its connection. ``wrong`` are
    the sentences of `select_printable`. Raises `InvalidExtension` for a value that has a special meaning in a
    dialplan, and for a number that two of the extensions have.
    """
    given = named(host) if host else ""
    hosts = [given or _own(extension) or otherwise.host for extension in extensions]
    numbers: dict[str, int] = {}
    returns: dict[str, int] = {}
    freepbx = style == "freepbx"
    settings = text.USE_SETTINGS if freepbx and survive else ""
    visitors, residents = [], []
    for extension, its_host in zip(extensions, hosts, strict=True):
        values = {
            "id": str(extension.id),
            "condominium": str(extension.condominium_id),
            "number": _claim(numbers, extension.number, extension.id, "ramal_ia"),
            "settings": settings,
            "leg": _leg("${UUID()}", f"{its_host}:{extension.port}", wideband, survive),
            "status": text.STATUS if survive else "",
        }
        visitors.append(text.VISITOR % values)
        if not _is_returning(extension):
            residents.append(text.NO_RETURN % values)
            continue
        values["number"] = _claim(returns, extension.return_number, extension.id, "ramal_retorno")
        values["leg"] = _leg("${AUDIOSOCKET_CALL_ID}", f"{its_host}:{extension.return_port}", wideband, survive)
        residents.append(text.RESIDENT % values)
    parts = [
        text.INTRODUCTION_FREEPBX if freepbx else text.INTRODUCTION,
        *[f"; ATTENTION: {sentence}\n" for sentence in wrong],
        "\n" if wrong else "",
        _where(extensions, given, otherwise),
        text.VISITORS_FREEPBX if freepbx else text.VISITORS,
        *visitors,
        text.RESIDENTS,
        *residents,
    ]
    shared = (text.INCLUDED if freepbx else "") + (text.SURVIVAL if survive else "")
    if shared:
        parts.append(text.ONCE)
        if survive:
            parts.append(text.SETTINGS_FREEPBX if freepbx else text.SETTINGS)
        parts.append(shared)
    return "".join(parts)


def _where(extensions: Sequence[Extension], given: str, otherwise: ServerAddress) -> str:
    """Return a comment about addresses that are not the rows' own."""
    if given:
        return text.ASKED_FOR % {"host": given}
    without = [str(extension.id) for extension in extensions if not _own(extension)]
    if not without:
        return ""
    more = f" and {len(without) - _MAX_LISTED} more" if len(without) > _MAX_LISTED else ""
    ids = ", ".join(without[:_MAX_LISTED]) + more
    return text.OTHERWISE % {"host": otherwise.host, "source": otherwise.source, "ids": ids}


def _leg(call_id: str, where: str, wideband: bool, survive: bool) -> str:
    codec = WIDEBAND_CODEC if wideband else ""
    if survive:
        return f"Gosub(audiosocket-call,s,1({call_id},{where},{codec}))"
    if wideband:
        return f"Answer()\n same => n,Dial(AudioSocket/{where}/{call_id}/c({codec}),,g)"
    return f"Answer()\n same => n,AudioSocket({call_id},{where})"


def _is_returning(extension: Extension) -> bool:
    return bool(extension.return_number and extension.return_port)


def _own(extension: Extension) -> str:
    """Return the row's own address, empty when it has none."""
    try:
        return address(extension.server_ip)
    except ValueError:
        raise InvalidExtension(
            f"ip_servidor is {extension.server_ip!r}, which is neither an IP address nor a host name",
            "ip_servidor",
        ) from None


def _claim(owners: dict[str, int], number: str, extension_id: int, key: str) -> str:
    """Return the number after noting that it is this extension's."""
    if not _NUMBER.fullmatch(number):
        raise InvalidExtension(
            f"{key} is {number!r}, which cannot stand in a dialplan; it may have letters, digits and * # + and, "
            "but for its beginning, _ . -",
            key,
        )
    if number in _SPECIAL:
        raise InvalidExtension(f"{key} is {number!r}, which Asterisk keeps for its own purposes", key)
    if number in owners:
        raise InvalidExtension(
            f"{key} {number} belongs to extension {owners[number]} and to extension {extension_id}; "
            "Asterisk would send the calls of both to the first",
            key,
        )
    owners[number] = extension_id
    return number
