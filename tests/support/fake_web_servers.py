"""Web servers for the HTTP client: one in memory for a clock that the test moves, and real ones on loopback."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from twisted.internet import protocol, task
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import ITCPTransport
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site

from audiosocket.outbound.http_client import Answer, HTTPClient, NoAnswerInTime
from tests.support.reactor import reactor


@dataclass
class SentRequest:
    """A request as the server received it."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"null")


class FakeHTTPClient:
    """An `HTTPClient` whose ``answer(request)`` returns an `Answer`, an exception, or None for no response."""

    def __init__(self, clock: task.Clock, answer: Callable[[SentRequest], Answer | Exception | None]) -> None:
        self.clock = clock
        self.answer = answer
        self.requests: list[SentRequest] = []
        self.closed = False

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        seconds: float = 5.0,
        keep: bool = False,
    ) -> Deferred[Answer]:
        request = SentRequest(method, url, dict(headers), body, seconds)
        self.requests.append(request)
        answer = self.answer(request)
        if isinstance(answer, Answer):
            return succeed(answer)
        waiting: Deferred[Answer] = Deferred()
        if answer is not None:
            waiting.errback(answer)
            return waiting

        def too_late(result: Answer | Failure, _: float) -> Answer:
            raise NoAnswerInTime(f"no complete answer within {seconds:g} s")

        return waiting.addTimeout(seconds, self.clock, too_late)

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)

    def pass_time(self, seconds: float) -> None:
        """Advance the clock in steps of 1/32 s, which add up exactly in binary."""
        for _ in range(math.ceil(seconds * 32)):
            self.clock.advance(1 / 32)


#: Status and body of a response to a request and its body, or NOT_DONE_YET for no response.
WebAnswer = Callable[[Request, bytes], tuple[int, bytes] | int]


class _AnyPath(Resource):
    isLeaf = True

    def __init__(self, answer: WebAnswer) -> None:
        super().__init__()
        self._answer = answer

    def render(self, request: Request) -> bytes | int:
        content = request.content
        answer = self._answer(request, content.read() if content else b"")
        if isinstance(answer, int):
            return answer
        status, body = answer
        request.setResponseCode(status)
        return body


@asynccontextmanager
async def listening_server(factory: protocol.Factory | Site) -> AsyncIterator[str]:
    """Listen on a free loopback port, and give the URL."""
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    try:
        yield f"http://127.0.0.1:{port.getHost().port}"
    finally:
        await port.stopListening()


@asynccontextmanager
async def http_server(answer: WebAnswer) -> AsyncIterator[str]:
    """Serve HTTP with twisted.web on a free loopback port, and give the URL."""
    site = Site(_AnyPath(answer))
    site.displayTracebacks = False
    async with listening_server(site) as url:
        yield url


def raw_server(response: bytes, then: str = "keep") -> protocol.Factory:
    """Return a server that answers any data with these bytes, then keeps, closes or resets the connection."""

    class RawProtocol(protocol.Protocol):
        transport: ITCPTransport

        def dataReceived(self, data: bytes) -> None:
            self.transport.write(response)
            if then == "close":
                self.transport.loseConnection()
            elif then == "reset":
                self.transport.abortConnection()

    return protocol.Factory.forProtocol(RawProtocol)


@asynccontextmanager
async def web_client() -> AsyncIterator[HTTPClient]:
    client = HTTPClient(reactor)
    try:
        yield client
    finally:
        await client.close()
