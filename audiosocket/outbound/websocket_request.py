"""The request that opens a WebSocket, made from settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult

from wsproto import events as ws

from audiosocket.errors import InvalidSetting
from audiosocket.outbound.endpoints import split_url

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
#: Headers that the handshake sets itself, besides those that begin with Sec-WebSocket.
_OWN_HEADERS = {"host", "upgrade", "connection", "content-length", "transfer-encoding"}


def peer_of(url: str) -> str:
    """Return the server of a ws or wss URL as errors show it: without path and query, which may hold a token.

    Raises `InvalidSetting`.
    """
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc}"


def upgrade_request(url: str, headers: Mapping[str, str], subprotocols: Sequence[str]) -> ws.Request:
    """Return the request of the handshake; raises `InvalidSetting` without showing the value of a header."""
    parts = _split(url)
    for name in subprotocols:
        if not _TOKEN.fullmatch(name):
            raise InvalidSetting(f"{name!r} is not the name of a WebSocket subprotocol")
    return ws.Request(
        host=parts.netloc,
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        extra_headers=[_header(name, value) for name, value in headers.items()],
        subprotocols=list(subprotocols),
    )


def _split(url: str) -> SplitResult:
    parts = split_url(url, "a WebSocket's address", ("ws", "wss"), "ws://host:8080/path")
    try:
        parts.netloc.encode("idna")
    except UnicodeError:
        raise InvalidSetting(f"a WebSocket's address: {parts.netloc!r} is not a host") from None
    return parts


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    if not _TOKEN.fullmatch(name):
        raise InvalidSetting(f"{name!r} is not the name of an HTTP header")
    if name.lower() in _OWN_HEADERS or name.lower().startswith("sec-websocket-"):
        raise InvalidSetting(f"the header {name} is set by the WebSocket handshake itself")
    if not _VALUE.fullmatch(value):
        raise InvalidSetting(f"the value of the header {name} has characters that HTTP does not allow")
    return name.encode(), value.strip().encode()
