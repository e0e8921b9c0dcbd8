"""HTTP requests with a time-out and a limit for the answer; no redirect is followed, no proxy used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakSet

from twisted.internet import defer, error
from twisted.internet.interfaces import (
    IConsumer,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    HTTPConnectionPool,
    ResponseDone,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from audiosocket.errors import AudioSocketError
from audiosocket.outbound.endpoints import Endpoints, IConnectingReactor, split_url

#: Seconds for one whole request, name lookup and body included.
REQUEST_SECONDS = 5.0
MAX_BODY_BYTES = 65_536
#: Seconds that an idle connection is kept; Asterisk closes its end after 15.
IDLE_SECONDS = 5.0


class RequestFailed(AudioSocketError):
    """There is no complete answer; the text says why. The request may or may not have been carried out.

    ``unsent`` is True when it was not sent, as there was no connection.
    """

    def __init__(self, message: str, *, unsent: bool = False) -> None:
        super().__init__(message)
        self.unsent = unsent


class NoAnswerInTime(RequestFailed):
    """There was no complete answer in the time that was given."""


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer; ``body`` has at most `MAX_BODY_BYTES`, or what the client was made with."""

    status: int
    body: bytes = b""


class HTTPClientProtocol(Protocol):
    """What makes HTTP requests: `HTTPClient`, or a double of it in tests."""

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        seconds: float = REQUEST_SECONDS,
        keep: bool = False,
    ) -> defer.Deferred[Answer]:
        """See `HTTPClient.ask`."""

    def close(self) -> defer.Deferred[None]:
        """See `HTTPClient.close`."""


def checked_url(url: str, what: str) -> str:
    """Return the http or https address of a server without a slash at its end, checked as by `split_url`."""
    split_url(url, what, ("http", "https"), "http://host:8088/path")
    return url.rstrip("/")


class HTTPClient:
    """Makes HTTP requests over connections of its own, which `close` ends.

    A longer body than ``max_body_bytes`` fails the request.
    """

    def __init__(
        self,
        reactor: IConnectingReactor,
        clock: IReactorTime | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._clock: IReactorTime = reactor if clock is None else clock
        self._pool = HTTPConnectionPool(reactor)
        self._pool.cachedConnectionTimeout = IDLE_SECONDS  # type: ignore[assignment]
        self._pool.maxPersistentPerHost = 8
        self._connections: WeakSet[Any] = WeakSet()
        self._endpoints = Endpoints(reactor, self._connections.add)
        endpoints = _AgentEndpoints(self._endpoints)
        self._kept = Agent.usingEndpointFactory(reactor, endpoints, self._pool)
        self._once = Agent.usingEndpointFactory(reactor, endpoints, HTTPConnectionPool(reactor, persistent=False))
        self._running: set[defer.Deferred[Answer]] = set()

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        seconds: float = REQUEST_SECONDS,
        keep: bool = False,
    ) -> defer.Deferred[Answer]:
        """Return the answer, whatever its status; fails with `RequestFailed` after ``seconds`` at the latest.

        ``keep`` shares a connection with other requests to the same host. That the server has just closed it is
        noticed too late, so only a request that may be repeated belongs on it. Cancelling drops the connection.
        """
        agent = self._kept if keep else self._once
        lines = Headers({name: [value] for name, value in headers.items()})
        content = None if body is None else _Content(body)

        async def exchange() -> Answer:
            response: IResponse = await agent.request(method.encode(), url.encode(), lines, content)
            return Answer(response.code, await _body(response, self._max_body_bytes))

        asked = defer.Deferred.fromCoroutine(exchange())
        self._running.add(asked)

        def over(result: Answer | Failure) -> Answer | Failure:
            self._running.discard(asked)
            return Failure(_failed(result)) if isinstance(result, Failure) else result

        def too_late(result: Answer | Failure, _: float) -> Answer | Failure:
            if isinstance(result, Failure):
                return Failure(NoAnswerInTime(f"no complete answer within {seconds:g} s"))
            return result

        return asked.addTimeout(seconds, self._clock, too_late).addBoth(over)

    def endpoint(self, url: str, ca_file: str = "") -> IStreamClientEndpoint:
        """Return the endpoint of a URL, for a connection of another kind; `close` ends that, too."""
        return self._endpoints.for_url(url, ca_file)

    def close(self) -> defer.Deferred[None]:
        """Cancel the requests in progress; fires when the connections are closed."""
        for asked in list(self._running):
            asked.cancel()
        closed: defer.Deferred[None] = self._pool.closeCachedConnections()
        for connection in list(self._connections):
            if connection.transport is not None:  # closing TLS would wait for the peer
                connection.transport.abortConnection()
        return closed


def _failed(failure: Failure) -> Exception:
    if isinstance(failure.value, RequestFailed):
        return failure.value
    if failure.check(error.ConnectingCancelledError):
        return defer.CancelledError()
    if failure.check(error.DNSLookupError, error.ConnectError, error.UserError):
        return RequestFailed(f"no connection: {failure.getErrorMessage()}", unsent=True)
    # Twisted wraps the reasons why a connection ended in one or two exceptions
    causes: list[Failure] = getattr(failure.value, "reasons", [failure])
    if any(cause.check(defer.CancelledError) for cause in causes):
        return defer.CancelledError()
    text = "; ".join(f"{type(cause.value).__name__}: {cause.getErrorMessage()}" for cause in causes)
    return RequestFailed(f"the connection broke: {text[:200]}")


def _body(response: IResponse, limit: int) -> defer.Deferred[bytes]:
    body = _Body(limit)
    response.deliverBody(body)
    return body.whole


class _Body(StreamProtocol):
    """Collects the body of an answer, and drops the connection when it is too long."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.whole: defer.Deferred[bytes] = defer.Deferred(self._cancelled)
        self._got = bytearray()

    def dataReceived(self, data: bytes) -> None:
        if self.whole.called:
            return
        self._got += data
        if len(self._got) > self._limit:
            self.whole.errback(RequestFailed(f"the answer has more than {self._limit} bytes"))
            self._drop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._got))
        else:
            self.whole.errback(reason)

    def _cancelled(self, whole: defer.Deferred[bytes]) -> None:
        whole.errback(defer.CancelledError())
        self._drop()

    def _drop(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


@implementer(IBodyProducer)
class _Content:
    """A small body, written at once; another request with it writes it again."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = len(content)

    def startProducing(self, consumer: IConsumer) -> defer.Deferred[None]:
        consumer.write(self._content)
        return defer.succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to pause."""

    def resumeProducing(self) -> None:
        """Nothing is left to resume."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


@implementer(IAgentEndpointFactory)
class _AgentEndpoints:
    """`Endpoints`, as twisted.web asks for them."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self._endpoints.for_url(uri.toBytes().decode("ascii"))
