"""Other people's web servers: one in memory for clocks that a test turns, and real ones on loopback."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from twisted.internet import protocol, reactor, task
from twisted.internet.defer import Deferred, succeed
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from audiosocket.outbound.http_client import Answer, HTTPClient, RequestFailed


@dataclass
class SentRequest:
    """A request as the server got it."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"null")


class FakeHTTPClient:
    """Stands in for `HTTPClient`: ``answer(asked)`` gives an `Answer`, an exception, or None for silence."""

    def __init__(self, clock: task.Clock, answer: Callable[[SentRequest], Answer | Exception | None]) -> None:
        self.clock = clock
        self.answer = answer
        self.requests: list[SentRequest] = []
        self.closed = False

    def ask(self, method, url, headers, body=None, *, seconds=5.0, keep=False):
        asked = SentRequest(method, url, dict(headers), body, seconds)
        self.requests.append(asked)
        said = self.answer(asked)
        if isinstance(said, Answer):
            return succeed(said)
        waiting: Deferred[Answer] = Deferred()
        if said is not None:
            waiting.errback(said)
            return waiting

        def too_late(failure, _):
            raise RequestFailed(f"no whole answer within {seconds:g} s")

        return waiting.addTimeout(seconds, self.clock, too_late)

    def close(self):
        self.closed = True
        return succeed(None)

    def pass_time(self, seconds: float) -> None:
        """In steps that are exact in binary: a quarter of a second stays one, however often it is added."""
        for _ in range(math.ceil(seconds * 32)):
            self.clock.advance(1 / 32)


class _Anything(Resource):
    isLeaf = True

    def __init__(self, answer: Callable[[Request, bytes], tuple[int, bytes] | int]) -> None:
        super().__init__()
        self._answer = answer

    def render(self, request):
        said = self._answer(request, request.content.read())
        if said == NOT_DONE_YET:
            return NOT_DONE_YET
        request.setResponseCode(said[0])
        return said[1]


@asynccontextmanager
async def listening_server(factory: protocol.Factory) -> AsyncIterator[str]:
    """A real server on loopback; its address."""
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    try:
        yield f"http://127.0.0.1:{port.getHost().port}"
    finally:
        await port.stopListening()


@asynccontextmanager
async def http_server(answer: Callable[[Request, bytes], tuple[int, bytes] | int]) -> AsyncIterator[str]:
    """A real twisted.web server; ``answer`` gives status and body, or NOT_DONE_YET to stay silent."""
    site = Site(_Anything(answer))
    site.displayTracebacks = False
    async with listening_server(site) as url:
        yield url


def raw_server(said: bytes, then: str = "keep") -> protocol.Factory:
    """A server that says these bytes to whatever it reads, then keeps, closes or resets the connection."""

    class Speaker(protocol.Protocol):
        def dataReceived(self, data: bytes) -> None:
            self.transport.write(said)
            if then == "close":
                self.transport.loseConnection()
            elif then == "reset":
                self.transport.abortConnection()

    return protocol.Factory.forProtocol(Speaker)


@asynccontextmanager
async def web_client() -> AsyncIterator[HTTPClient]:
    client = HTTPClient(reactor)
    try:
        yield client
    finally:
        await client.close()
