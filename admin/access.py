"""Who may pass: the checks that come before any route, in the order of `AccessCheck.admit`.

Host keeps web pages out that rebind their name to our address (DNS rebinding), Origin those that post
to us from a browser; the token is for everybody else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote_to_bytes

from twisted.web.server import Request

from admin.responses import HTTPError, quoted
from admin.token_auth import TokenAuth

SAFE_METHODS = (b"GET", b"HEAD", b"OPTIONS")

#: Carries a report's own signature; the path of reports, of which the last segment is the attempt's.
SIGNATURE_HEADER = b"x-audiosocket-signature"
_REPORTS = [b"api", b"attempts"]

_ALWAYS_OURS = ("localhost", "127.0.0.1", "::1")
_AUTHORITY = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+(?:%[^\[\]]*)?\]|[^\[\]:/@\s]+)(?::(?P<port>[0-9]{0,5}))?")
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>.+)", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class AccessCheck:
    """Lets requests in, or raises the `HTTPError` they are answered with.

    ``hosts`` are names of our own besides localhost and the address a connection came in on; wildcard
    addresses among them name nobody and are ignored. ``clock`` is steady time in seconds. ``vouches`` tells
    whether the signature of a report on a return call is right for its body; such a report needs no token.
    """

    def __init__(
        self,
        *,
        token: str,
        hosts: Iterable[str],
        clock: Callable[[], float],
        vouches: Callable[[str, bytes], bool] = lambda signature, body: False,
    ) -> None:
        names = {canonical_host(host) for host in (*_ALWAYS_OURS, *hosts)}
        self._hosts = frozenset(names - {"", "0.0.0.0", "::"})  # noqa: S104
        self._token = TokenAuth(token, clock)
        self._vouches = vouches

    def admit(self, request: Request) -> None:
        """Check Host, path, token and Origin; raises `HTTPError`."""
        self._check_host(request)
        segments = _segments(request.path)
        if segments[0] == b"api" and not self._is_signed_report(request, segments):
            peer = getattr(request.getClientAddress(), "host", "a local socket")
            self._token.check(peer, request.requestHeaders.getRawHeaders(b"authorization", []))
        if request.method not in SAFE_METHODS:
            _check_origin(request)

    def _is_signed_report(self, request: Request, segments: list[bytes]) -> bool:
        signatures = _header(request, SIGNATURE_HEADER)
        if request.method != b"POST" or segments[:-1] != _REPORTS or len(signatures) != 1:
            return False
        if request.content is None:
            return False
        body = request.content.read()
        request.content.seek(0)
        return self._vouches(signatures[0], body)

    def _check_host(self, request: Request) -> None:
        hosts = _header(request, b"host")
        if not hosts and request.clientproto == b"HTTP/1.0":
            return
        if len(hosts) != 1:
            raise HTTPError(400, f"The request has {len(hosts)} Host headers; HTTP/1.1 wants exactly one.")
        authority = _AUTHORITY.fullmatch(hosts[0])
        name = canonical_host(authority["name"]) if authority else ""
        if name not in self._hosts and name != canonical_host(getattr(request.getHost(), "host", "")):
            raise HTTPError(
                421,
                f"Host {quoted(hosts[0])} is not a name of this server; use its address, or add the name to"
                " API_ALLOWED_HOSTS.",
            )


def asked_at(request: Request) -> str:
    """The name or address of ours that an admitted request was sent to."""
    authority = _AUTHORITY.fullmatch("".join(_header(request, b"host")))
    return canonical_host(authority["name"] if authority else getattr(request.getHost(), "host", ""))


def canonical_host(name: str) -> str:
    """A host name or address in the one spelling in which two of them can be compared."""
    name = name.strip().strip("[]").lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def _segments(path: bytes) -> list[bytes]:
    """The decoded segments of a path that means one thing only.

    Routers fold slashes that are doubled or encoded; to the check of the token such a path could look
    like another one, so it is nobody's.
    """
    if not path.startswith(b"/"):
        raise HTTPError(400, f"The request is for {quoted(path.decode('latin-1'))}, which is not a path.")
    segments = [unquote_to_bytes(segment) for segment in path[1:].split(b"/")]
    try:
        b"/".join(segments).decode("utf-8")
    except UnicodeDecodeError:
        raise HTTPError(400, "The path is not UTF-8 text.") from None
    if _BAD_PERCENT.search(path):
        raise HTTPError(400, "The path has a % that is not followed by two hexadecimal digits.")
    if b"" in segments[:-1] or any(b"/" in segment for segment in segments):
        raise HTTPError(404, f"There is no {quoted(path.decode('latin-1'))} here.")
    return segments


def _check_origin(request: Request) -> None:
    origins = _header(request, b"origin")
    if not origins:
        return
    # Without a Host (HTTP/1.0) there is nothing an Origin could be equal to.
    ours = "".join(_header(request, b"host"))
    for origin in origins:
        parts = _ORIGIN.fullmatch(origin)
        scheme = parts["scheme"].lower() if parts else ""
        place = _place(parts["authority"], scheme) if parts else None
        if place is None or place != _place(ours, scheme):
            raise HTTPError(403, f"A page of {quoted(origin)} may not change anything here.")


def _place(authority: str, scheme: str) -> tuple[str, int] | None:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        return None
    return canonical_host(parts["name"]), int(parts["port"] or _DEFAULT_PORTS[scheme])


def _header(request: Request, name: bytes) -> list[str]:
    return [value.decode("latin-1") for value in request.requestHeaders.getRawHeaders(name, [])]
