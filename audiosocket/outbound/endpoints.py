"""Where a URL's server is: a TCP or TLS endpoint that resolves names without blocking the reactor."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from OpenSSL.SSL import TLS_CLIENT_METHOD, Context, Error
from twisted.internet import defer, error
from twisted.internet._sslverify import IOpenSSLTrustRoot
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import optionsForClientTLS, platformTrust
from zope.interface import implementer

from audiosocket.errors import InvalidSetting
from audiosocket.outbound.resolver import Resolver

#: Seconds for the lookup of a name, and for a connection to one address.
LOOKUP_SECONDS = 4.0
CONNECT_SECONDS = 2.0
#: TLS settings that are kept for further connections; making them reads the system's authorities.
MAX_KEPT_TLS = 64
_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class IConnectingReactor(IReactorTCP, IReactorTime, IReactorPluggableNameResolver):
    """The reactor, as far as outgoing connections need it."""


class EndpointFactory(Protocol):
    """Finds the endpoint of a URL: `Endpoints.for_url`, or a test's double."""

    def __call__(self, url: str, ca_file: str = "") -> IStreamClientEndpoint:
        """See `Endpoints.for_url`."""


#: Makes the endpoint of a numeric address and a port, with seconds for the connection.
MakeTCP = Callable[[str, int, float], IStreamClientEndpoint]


def split_url(url: str, what: str, schemes: tuple[str, str], example: str) -> SplitResult:
    """Return the parts of a server's URL; ``what`` names it in errors. Raises `InvalidSetting`.

    A fragment, blanks, or a user and password, which belong in settings of their own, are errors. The error never
    shows the user and password, nor a query, which may hold a token.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidSetting(f"{what}: write it in ASCII, without blanks")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidSetting(f"{what}: it is not a URL") from None
    if "@" in parts.netloc:
        raise InvalidSetting(f"{what}: user and password do not belong in the address")
    if parts.scheme not in schemes or not host or port == 0 or parts.fragment:
        without_query = url.partition("?")[0]
        shown = "it" if "@" in without_query else repr(without_query)
        raise InvalidSetting(f"{what}: {shown} does not look like {example}")
    return parts


class Endpoints:
    """Endpoints that share one `Resolver` and the TLS settings of each host.

    ``connected`` is given each connection when it is made. ``make_tcp`` makes the endpoint of one address, by
    default one of Twisted's.
    """

    def __init__(
        self,
        reactor: IConnectingReactor,
        connected: Callable[[IProtocol], None] | None = None,
        *,
        make_tcp: MakeTCP | None = None,
    ) -> None:
        self._resolver = Resolver(reactor, reactor)
        self._connected = connected
        self._make_tcp = make_tcp or partial(_stock_endpoint, reactor)
        self._tls = lru_cache(MAX_KEPT_TLS)(_tls_options)

    def for_url(self, url: str, ca_file: str = "") -> IStreamClientEndpoint:
        """Return the endpoint of an http, https, ws or wss URL.

        TLS is verified against the system's authorities, and those of the PEM file ``ca_file`` where one is named;
        raises `InvalidSetting` when that file cannot be used.
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        endpoint: IStreamClientEndpoint = HostEndpoint(self._resolver, host, port, self._make_tcp, self._connected)
        if parts.scheme in {"https", "wss"}:
            return wrapClientTLS(self._tls(host, ca_file, _modified(ca_file)), endpoint)
        return endpoint


@implementer(IStreamClientEndpoint)
class HostEndpoint:
    """A host and port; tries the addresses of the host in turn, each with a time-out of its own."""

    def __init__(
        self,
        resolver: Resolver,
        host: str,
        port: int,
        make_tcp: MakeTCP,
        connected: Callable[[IProtocol], None] | None = None,
    ) -> None:
        self._resolver = resolver
        self._host = host
        self._port = port
        self._make_tcp = make_tcp
        self._connected = connected

    def connect(self, protocolFactory: IProtocolFactory) -> defer.Deferred[IProtocol]:
        return defer.Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        try:
            addresses = await self._resolver.addresses(self._host, LOOKUP_SECONDS)
        except defer.TimeoutError:
            raise error.DNSLookupError(f"the name {self._host!r} was not looked up in time") from None
        refused: Exception = error.ConnectError()
        for address in addresses:
            try:
                endpoint = self._make_tcp(address, self._port, CONNECT_SECONDS)
                connected: IProtocol = await endpoint.connect(factory)
            except (error.ConnectError, error.TimeoutError) as problem:
                refused = problem
            else:
                if self._connected is not None:
                    self._connected(connected)
                return connected
        raise refused


def _stock_endpoint(reactor: IConnectingReactor, address: str, port: int, seconds: float) -> IStreamClientEndpoint:
    kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
    endpoint: IStreamClientEndpoint = kind(reactor, address, port, timeout=seconds)
    return endpoint


def _modified(path: str) -> int:
    """When a file was changed, in nanoseconds, so that a renewed one is read again; 0 without one."""
    try:
        return Path(path).stat().st_mtime_ns if path else 0
    except OSError:
        return 0


def _tls_options(host: str, ca_file: str, _modified_ns: int) -> IOpenSSLClientConnectionCreator:
    return optionsForClientTLS(host, trustRoot=_SystemAndFile(ca_file) if ca_file else platformTrust())


@implementer(IOpenSSLTrustRoot)
class _SystemAndFile:
    """The authorities of the system and those in a PEM file; Twisted has no public way to have both."""

    def __init__(self, ca_file: str) -> None:
        self._ca_file = ca_file
        try:  # Twisted asks for the authorities when a connection is made, too late for an error
            Context(TLS_CLIENT_METHOD).load_verify_locations(ca_file)
        except Error:
            raise InvalidSetting(
                f"{ca_file!r} cannot be read, or is not a PEM file with the certificates of authorities"
            ) from None

    def _addCACertsToContext(self, context: Context) -> None:
        platformTrust()._addCACertsToContext(context)
        context.load_verify_locations(self._ca_file)
