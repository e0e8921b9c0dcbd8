"""The PROXY header that a load balancer puts before the first byte of a connection: who the caller is.

Versions 1 (one line of text) and 2 (binary), as HAProxy's ``doc/proxy-protocol.txt`` describes them. Pure: bytes
in, values out. It is only looked for on connections from PROXY_PEERS.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from audiosocket.errors import InvalidProxyHeader

#: The first bytes of version 2.
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
#: The first bytes of version 1.
KEYWORD = b"PROXY "
#: The longest line of version 1, with its end, in bytes.
MAX_LINE = 107
#: The longest addresses and extensions of version 2 that every sender must keep to, in bytes.
MAX_LENGTH = 536 - 16

_FIXED_BYTES = 16
_LOCAL, _PROXY = 0, 1
_UNSPECIFIED = 0
_STREAM = 1
#: Family of version 2 to the bytes of one address.
_ADDRESS_BYTES = {1: 4, 2: 16}
#: Family of version 1 to the kind of its addresses.
_KINDS: dict[str, type[IPv4Address] | type[IPv6Address]] = {"TCP4": IPv4Address, "TCP6": IPv6Address}


@dataclass(frozen=True)
class ProxyHeader:
    """A complete header of ``length`` bytes.

    ``caller`` is the address and the port of the caller; None when the balancer speaks for itself, as for a health
    check (LOCAL in version 2, UNKNOWN in version 1).
    """

    length: int
    caller: tuple[str, int] | None


def looks_like_header(data: bytes) -> bool:
    """Return whether ``data`` begins as a PROXY header, of which it may be a part; no AudioSocket message does."""
    return bool(data) and (_begins(data, SIGNATURE) or _begins(data, KEYWORD))


def parse_header(data: bytes) -> ProxyHeader | None:
    """Return the header at the beginning of ``data``, None while more is needed.

    Raises `InvalidProxyHeader` for anything else; nothing longer than 536 bytes is waited for.
    """
    if not data:
        return None
    if _begins(data, SIGNATURE):
        return _parse_binary(data)
    if _begins(data, KEYWORD):
        return _parse_line(data)
    raise InvalidProxyHeader(f"it begins with {data[: len(SIGNATURE)].hex(' ')}, not with a PROXY header")


def _begins(data: bytes, start: bytes) -> bool:
    return data[: len(start)] == start[: len(data)]


def _parse_binary(data: bytes) -> ProxyHeader | None:
    if len(data) < _FIXED_BYTES:
        return None
    version, command = divmod(data[12], 16)
    family, transport = divmod(data[13], 16)
    length = int.from_bytes(data[14:_FIXED_BYTES], "big")
    if version != 2 or command not in (_LOCAL, _PROXY):
        raise InvalidProxyHeader(f"its PROXY header has version {version} and command {command}")
    if length > MAX_LENGTH:
        raise InvalidProxyHeader(f"its PROXY header announces {length} bytes, more than {MAX_LENGTH}")
    end = _FIXED_BYTES + length
    if len(data) < end:
        return None
    if command == _LOCAL or family == _UNSPECIFIED:
        return ProxyHeader(end, None)
    size = _ADDRESS_BYTES.get(family, 0)
    if not size or transport != _STREAM or length < 2 * size + 4:
        raise InvalidProxyHeader(f"its PROXY header is not about TCP: family {family}, {length} bytes")
    body = data[_FIXED_BYTES:end]
    port = int.from_bytes(body[2 * size : 2 * size + 2], "big")
    return ProxyHeader(end, (str(ip_address(body[:size])), port))


def _parse_line(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, MAX_LINE)
    if end < 0:
        if len(data) >= MAX_LINE:
            raise InvalidProxyHeader(f"its PROXY line does not end within {MAX_LINE} bytes")
        return None
    words = data[:end].decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return ProxyHeader(end + 2, None)
    try:
        _, family, caller, destination, port, destination_port = words
        kind = _KINDS[family]
        address = str(kind(caller))
        kind(destination)
        _parse_port(destination_port)
        return ProxyHeader(end + 2, (address, _parse_port(port)))
    except (ValueError, KeyError):
        raise InvalidProxyHeader("its PROXY line is not family, two addresses and two ports") from None


def _parse_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535):
        raise ValueError("not a port")
    return int(text)
