"""The connection between the supervisor and one worker: JSON messages, requests with responses, descriptors.

A message is a JSON object behind its length, over a pair of Unix sockets that the supervisor made before it
started the worker: no other process can reach it. Descriptors travel with the message that states their number.
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import (
    IConsumer,
    IFileDescriptorReceiver,
    IPushProducer,
    IReactorSocket,
    IReactorTime,
    ITCPTransport,
    IUNIXTransport,
)
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket import errors
from audiosocket.errors import AudioSocketError, WorkerGone

Message = dict[str, Any]
#: Handles a message and its descriptors; what it returns, or the `AudioSocketError` it raises, is the response.
MessageHandler = Callable[[Message, list[int]], "Awaitable[Any] | Any"]

#: A list of some 100,000 calls, in bytes.
MAX_MESSAGE_BYTES = 128_000_000
#: A request without a response fails after this many seconds: the other side is blocked.
RESPONSE_SECONDS = 2.0

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode
#: The errors that a response may bring, by name.
_ERRORS = {kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type)}


def attach(channel: Channel, end: socket.socket, reactor: IReactorSocket) -> None:
    """Connect a channel over ``end``, which the caller closes."""
    factory = ServerFactory()
    factory.protocol = lambda: channel
    factory.noisy = False
    reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, factory)


class UnixTransport(IUNIXTransport, ITCPTransport, IConsumer):
    """What a `Channel` needs of its transport."""


@implementer(IFileDescriptorReceiver, IPushProducer)
class Channel(Int32StringReceiver):
    """One end of the connection. ``name`` is the other side's, for log lines and errors.

    ``lost`` is called when the other side is gone, ``drained`` when it reads again after `full` was true.
    """

    MAX_LENGTH = MAX_MESSAGE_BYTES
    transport: UnixTransport
    _log = Logger()

    def __init__(
        self,
        name: str,
        handle: MessageHandler,
        lost: Callable[[], object],
        clock: IReactorTime,
        drained: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = name
        self._handle = handle
        self._lost = lost
        self._clock = clock
        self._drained = drained
        self._requests: dict[int, Deferred[Any]] = {}
        self._number = 0
        self._descriptors: deque[int] = deque()
        self.open = False
        #: True while the other side has not read what it was sent; messages that can wait should wait.
        self.full = False

    # sending

    def notify(self, kind: str, descriptors: Sequence[int] = (), /, **fields: Any) -> None:
        """Send a message without a response; do nothing when the channel is not open.

        ``descriptors`` must stay open until the other side has responded to a later request.
        """
        if not self.open:
            return
        for descriptor in descriptors:
            self.transport.sendFileDescriptor(descriptor)
        self.sendString(_encode({**fields, "kind": kind, "descriptors": len(descriptors)}).encode())

    def request(self, kind: str, descriptors: Sequence[int] = (), /, **fields: Any) -> Deferred[Any]:
        """Send a message; fires with the response.

        Fails with `WorkerGone`, or with the `AudioSocketError` that the other side raised.
        """
        self._number += 1
        number = self._number

        def cancelled(_: Deferred[Any]) -> None:
            self._requests.pop(number, None)

        response: Deferred[Any] = Deferred(cancelled)
        if not self.open:
            response.errback(WorkerGone(f"{self.name} is not connected; try again in a moment"))
            return response
        self._requests[number] = response
        self.notify(kind, descriptors, **fields, request=number)

        def timed_out(_: Failure, seconds: float) -> Failure:
            return Failure(WorkerGone(f"{self.name} did not respond within {seconds:g} s"))

        return response.addTimeout(RESPONSE_SECONDS, self._clock, timed_out)

    # receiving

    def connectionMade(self) -> None:
        self.open = True
        self.transport.registerProducer(self, True)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Keep a descriptor for the message it belongs to, which arrives after it."""
        os.set_inheritable(descriptor, False)
        self._descriptors.append(descriptor)

    def stringReceived(self, string: bytes) -> None:
        message = json.loads(string)
        if "response_to" in message:
            self._response_received(message)
            return
        descriptors = [self._descriptors.popleft() for _ in range(message["descriptors"])]
        done: Deferred[Any] = ensureDeferred(self._respond(message, descriptors))
        done.addErrback(lambda why: self._log.failure("a message of {name} failed", why, name=self.name))

    async def _respond(self, message: Message, descriptors: list[int]) -> None:
        number = message.get("request")
        try:
            result = self._handle(message, descriptors)
            if isinstance(result, Awaitable):
                result = await result
        except AudioSocketError as error:
            if number is None:
                raise
            self._send({"response_to": number, "error": type(error).__name__, "text": str(error)})
        except Exception:
            if number is not None:
                self._send({"response_to": number, "error": "", "text": "it failed; the log says why"})
            raise
        else:
            if number is not None:
                self._send({"response_to": number, "result": result})

    def _send(self, response: Message) -> None:
        if self.open:
            self.sendString(_encode(response).encode())

    def _response_received(self, message: Message) -> None:
        response = self._requests.pop(message["response_to"], None)
        if response is None:
            return  # the request has timed out
        if "error" in message:
            kind = _ERRORS.get(message["error"], AudioSocketError)
            response.errback(kind(message["text"]))
        else:
            response.callback(message["result"])

    def lengthLimitExceeded(self, length: int) -> None:
        self._log.error("closing the channel to {name}: a message has {n} bytes", name=self.name, n=length)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.open = False
        requests, self._requests = list(self._requests.values()), {}
        for response in requests:
            response.errback(WorkerGone(f"{self.name} is gone; try again in a moment"))
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._lost()

    # IPushProducer: the transport's buffer

    def pauseProducing(self) -> None:
        self.full = True

    def resumeProducing(self) -> None:
        self.full = False
        self._drained()

    def stopProducing(self) -> None:
        self.full = True
