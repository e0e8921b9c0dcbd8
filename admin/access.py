"""Access checks that run before any route, in the order of `AccessCheck.admit`.

The check of Host stops DNS rebinding (web pages whose name resolves to our address), that of Origin stops web
pages that post to us from a browser, and the token, or the cookie that stands for one, stops every other client.
"""

from __future__ import annotations

import ipaddress
import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes
from uuid import UUID

from twisted.web.server import Request

from admin.responses import HTTPError, quoted
from admin.scopes import READING_METHODS, allows, needed_scope
from admin.sessions import Sessions
from admin.token_auth import TokenAuth
from audiosocket.api_tokens import ApiToken, KnownTokens

#: The first segments of the paths that need a token.
_PROTECTED = (b"api", b"metrics", b"session")

#: The path of reports on attempts, without its last segment, the attempt's id.
_REPORTS = [b"api", b"attempts"]
#: The path of what is done with a call begins so; the call's UUID and one segment follow.
_CALLS = [b"api", b"calls"]

_OUR_HOSTS = ("localhost", "127.0.0.1", "::1")
_AUTHORITY = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+(?:%[^\[\]]*)?\]|[^\[\]:/@\s]+)(?::(?P<port>[0-9]{0,5}))?")
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>.+)", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Caller:
    """Who sent a request: the name of the token, how it was given, and what it allows.

    ``by`` is "token", "cookie", "signature", "call token", or "" where the server has no tokens or the path needs
    none. ``token`` is the token, where there is one, ``until`` the time of day in seconds at which a cookie ends.
    """

    name: str
    scope: str
    by: str = ""
    token: ApiToken | None = None
    until: float = math.inf


#: A request to a server without tokens, or for a path that needs none.
ANYBODY = Caller("", "admin")
_SIGNED = Caller("webhook", "operate", "signature")
_BOT = Caller("bot", "operate", "call token")


class AccessCheck:
    """The checks of a request; a request that fails one is answered with an `HTTPError`.

    ``hosts`` are names of this server besides localhost and the local address of a connection; wildcard addresses
    among them are ignored. ``clock`` returns steady time in seconds, ``now`` the time of day. Without ``tokens``
    every request may do everything. ``session_key`` signs cookies. ``vouches`` returns whether the signature of a
    report, taken from the header ``signature_header``, is valid for its body and the attempt in its path; such a
    report needs no token. ``call_of_token`` returns the call whose bot was given a token, which
    admits to commands for this call and to nothing else.
    """

    def __init__(
        self,
        *,
        tokens: KnownTokens,
        session_key: bytes,
        hosts: Iterable[str],
        clock: Callable[[], float],
        signature_header: str,
        vouches: Callable[[str, str, bytes], bool],
        now: Callable[[], float] = time.time,
        call_of_token: Callable[[str], UUID | None] = lambda token: None,
    ) -> None:
        names = {canonical_host(host) for host in (*_OUR_HOSTS, *hosts)}
        self._hosts = frozenset(names - {"", "0.0.0.0", "::"})  # noqa: S104
        self._tokens = tokens
        self._now = now
        self._token_auth = TokenAuth(tokens, clock)
        self.sessions = Sessions(session_key, tokens, now)
        self._signature_header = signature_header.encode("ascii")
        self._vouches = vouches
        self._call_of_token = call_of_token

    def admit(self, request: Request) -> Caller:
        """Check Host, path, token or cookie, Origin and scope; return who sent it. Raises `HTTPError`."""
        self._check_host(request)
        segments = _segments(request.path)
        upgrade = request.requestHeaders.hasHeader(b"upgrade")
        caller = self._identify(request, segments)
        if request.method not in READING_METHODS or upgrade or caller.by == "cookie":
            _check_origin(request, required=caller.by == "cookie" and _changes(request, upgrade))
        if segments[0] in _PROTECTED:
            _check_fetching_site(request)
            needed = needed_scope(request.method, segments, upgrade=upgrade)
            if not allows(caller.scope, needed):
                raise HTTPError(
                    403, f"The token {caller.name} has the scope {caller.scope}; this request needs {needed}."
                )
        return caller

    def is_current(self, caller: Caller) -> bool:
        """Return whether the token of an admitted caller is still in force, and its cookie has not ended.

        What lasts longer than a request asks this again: a stream of events may be open for days.
        """
        token = caller.token
        return token is None or (self._tokens.get(token.name) == token and self._now() < caller.until)

    def _identify(self, request: Request, segments: list[bytes]) -> Caller:
        if not self._tokens.required or segments[0] not in _PROTECTED:
            return ANYBODY
        if self._is_signed_report(request, segments):
            return _SIGNED
        if self._is_bot(request, segments):
            return _BOT
        headers = request.requestHeaders.getRawHeaders(b"authorization", [])
        session = None if headers else self.sessions.find(request)
        if session is not None:
            token, until = session
            return Caller(token.name, token.scope, "cookie", token, until)
        if segments[0] == b"session" and request.method == b"DELETE" and not headers:
            return ANYBODY  # signing out with a cookie that has expired
        token = self._token_auth.check(peer_of(request), headers)
        return Caller(token.name, token.scope, "token", token)

    def _is_signed_report(self, request: Request, segments: list[bytes]) -> bool:
        signatures = _header(request, self._signature_header)
        if request.method != b"POST" or segments[:-1] != _REPORTS or len(signatures) != 1:
            return False
        if request.content is None:
            return False
        body = request.content.read()
        request.content.seek(0)
        return self._vouches(signatures[0], segments[-1].decode(), body)

    def _is_bot(self, request: Request, segments: list[bytes]) -> bool:
        """Return whether the request has the token of a call; raise `HTTPError` (403) for another request.

        Such a request is no attempt to guess a token and does not count as one: a bot that confuses its calls must
        not cost the next one its access.
        """
        scheme, _, token = "".join(_header(request, b"authorization")).partition(" ")
        call_id = self._call_of_token(token.strip()) if scheme.lower() == "bearer" else None
        if call_id is None:
            return False
        if _named_call(request.method, segments) != call_id:
            raise HTTPError(403, "The token of a call is valid for commands to that call only.")
        return True

    def _check_host(self, request: Request) -> None:
        hosts = _header(request, b"host")
        if not hosts and request.clientproto == b"HTTP/1.0":
            return
        if len(hosts) != 1:
            raise HTTPError(400, f"The request has {len(hosts)} Host headers; HTTP/1.1 requires exactly one.")
        authority = _AUTHORITY.fullmatch(hosts[0])
        name = canonical_host(authority["name"]) if authority else ""
        if name not in self._hosts and name != canonical_host(getattr(request.getHost(), "host", "")):
            raise HTTPError(
                421,
                f"Host {quoted(hosts[0])} is not a name of this server; use its address, or add the name to"
                " API_ALLOWED_HOSTS.",
            )


def _named_call(method: bytes, segments: list[bytes]) -> UUID | None:
    """Return the call that a command is for; None for a request that is no command for a call."""
    if segments[:2] != _CALLS or len(segments) != 4:
        return None
    if method != b"POST" and (method, segments[3]) != (b"DELETE", b"return"):
        return None
    try:
        return UUID(segments[2].decode("ascii"))
    except ValueError:
        return None


def needs_token(segments: Sequence[bytes]) -> bool:
    """Return whether the path with these decoded segments needs a token, where the server has any."""
    return segments[0] in _PROTECTED


def peer_of(request: Request) -> str:
    """Return the address that a request came from."""
    return str(getattr(request.getClientAddress(), "host", "a local socket"))


def requested_host(request: Request) -> str:
    """Return the name or address of this server that an admitted request was sent to."""
    authority = _AUTHORITY.fullmatch("".join(_header(request, b"host")))
    return canonical_host(authority["name"] if authority else getattr(request.getHost(), "host", ""))


def canonical_host(name: str) -> str:
    """Return a host name or address in its canonical form, for comparing."""
    name = name.strip().strip("[]").lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def _segments(path: bytes) -> list[bytes]:
    """Return the decoded segments of a path; raise `HTTPError` for an invalid or ambiguous one.

    Routers merge slashes that are doubled or encoded, so that the check of the token could see another path than
    the router; such a path is answered 404.
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
        raise HTTPError(404, f"There is no resource {quoted(path.decode('latin-1'))}.")
    return segments


def _changes(request: Request, upgrade: bool) -> bool:
    return upgrade or request.method not in (b"GET", b"HEAD")


def _check_fetching_site(request: Request) -> None:
    """Reject what a page of another origin makes a browser send; following a link is allowed."""
    site = "".join(_header(request, b"sec-fetch-site")).lower()
    followed = "".join(_header(request, b"sec-fetch-dest")).lower() == "document"
    if site in ("cross-site", "same-site") and not (followed and request.method == b"GET"):
        raise HTTPError(403, "Web pages of other sites may not send this request.")


def _check_origin(request: Request, *, required: bool) -> None:
    origins = _header(request, b"origin")
    if not origins:
        if required:
            raise HTTPError(
                403, "With a cookie this request needs an Origin header; scripts send a token instead."
            )
        return
    # Without a Host (HTTP/1.0) no Origin can match.
    host = "".join(_header(request, b"host"))
    for origin in origins:
        parts = _ORIGIN.fullmatch(origin)
        scheme = parts["scheme"].lower() if parts else ""
        address = _host_and_port(parts["authority"], scheme) if parts else None
        if address is None or address != _host_and_port(host, scheme):
            raise HTTPError(403, f"Web pages of {quoted(origin)} may not send this request.")


def _host_and_port(authority: str, scheme: str) -> tuple[str, int] | None:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        return None
    return canonical_host(parts["name"]), int(parts["port"] or _DEFAULT_PORTS[scheme])


def _header(request: Request, name: bytes) -> list[str]:
    return [value.decode("latin-1") for value in request.requestHeaders.getRawHeaders(name, [])]
