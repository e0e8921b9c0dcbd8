"""The line between the front process and one worker: JSON messages, questions with answers, descriptors.

A message is a JSON object behind its length, over a pair of Unix sockets that the front made before it
started the worker: nobody else can reach it. Descriptors travel with the message that names their number.
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IFileDescriptorReceiver, IPushProducer
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket import errors
from audiosocket.errors import AudioSocketError, WorkerGone

Message = dict[str, Any]
#: Does what a message asks for; what it returns, or the `AudioSocketError` it raises, is the answer.
MessageHandler = Callable[[Message, list[int]], "Awaitable[Any] | Any"]

#: A list of some 100,000 calls.
MESSAGE_BYTES = 128_000_000
#: A question without an answer fails after this many seconds: the other side is blocked.
ANSWER_SECONDS = 2.0

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode
#: The errors that an answer may bring, by name.
_ERRORS = {kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type)}


def attach(channel: Channel, end: socket.socket, reactor: Any) -> None:
    """Connect a channel over ``end``, which stays the caller's to close."""
    factory = Factory.forProtocol(lambda: channel)
    factory.noisy = False
    reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, factory)


@implementer(IFileDescriptorReceiver, IPushProducer)
class Channel(Int32StringReceiver):
    """One end. ``lost`` is called when the other one is gone."""

    MAX_LENGTH = MESSAGE_BYTES
    transport: Any  # a Unix socket's: with descriptors
    _log = Logger()

    def __init__(self, name: str, obey: MessageHandler, lost: Callable[[], object], reactor: Any) -> None:
        #: The other side's, for people.
        self.name = name
        self._obey = obey
        self._lost = lost
        self._reactor = reactor
        self._asked: dict[int, Deferred[Any]] = {}
        self._number = 0
        self._received: deque[int] = deque()
        self.open = False
        #: True while the other side has not taken what it was told; what can wait should wait for `drained`.
        self.full = False
        self.drained: Callable[[], object] | None = None

    # saying

    def tell(self, kind: str, descriptors: Sequence[int] = (), /, **fields: Any) -> None:
        """Say something that needs no answer; nothing happens when nobody is there.

        ``descriptors`` must stay open until the other side has answered something said later.
        """
        if not self.open:
            return
        for descriptor in descriptors:
            self.transport.sendFileDescriptor(descriptor)
        self.sendString(_encode({**fields, "kind": kind, "descriptors": len(descriptors)}).encode())

    def ask(self, kind: str, descriptors: Sequence[int] = (), /, **fields: Any) -> Deferred[Any]:
        """The answer, later. Fails with `WorkerGone`, or with the error the other side raised."""
        self._number += 1
        number = self._number

        def gone(_: Any = None) -> None:
            self._asked.pop(number, None)

        asked: Deferred[Any] = Deferred(gone)
        if not self.open:
            asked.errback(WorkerGone(f"{self.name} is not there; ask again in a moment"))
            return asked
        self._asked[number] = asked
        self.tell(kind, descriptors, **fields, ask=number)

        def too_late(_: Failure, seconds: float) -> Failure:
            return Failure(WorkerGone(f"{self.name} does not answer within {seconds:g} s"))

        return asked.addTimeout(ANSWER_SECONDS, self._reactor, too_late)

    # hearing

    def connectionMade(self) -> None:
        self.open = True
        self.transport.registerProducer(self, True)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """They come before the message they belong to."""
        os.set_inheritable(descriptor, False)
        self._received.append(descriptor)

    def stringReceived(self, string: bytes) -> None:
        message = json.loads(string)
        if "answers" in message:
            self._answered(message)
            return
        descriptors = [self._received.popleft() for _ in range(message["descriptors"])]
        done: Deferred[Any] = ensureDeferred(self._work(message, descriptors))
        done.addErrback(lambda why: self._log.failure("a message of {name} failed", why, name=self.name))

    async def _work(self, message: Message, descriptors: list[int]) -> None:
        number = message.get("ask")
        try:
            result = self._obey(message, descriptors)
            if isinstance(result, Awaitable):
                result = await result
        except AudioSocketError as error:
            if number is None:
                raise
            self._answer({"answers": number, "error": type(error).__name__, "text": str(error)})
        except Exception:
            if number is not None:
                self._answer({"answers": number, "error": "", "text": "it failed; the log says why"})
            raise
        else:
            if number is not None:
                self._answer({"answers": number, "result": result})

    def _answer(self, answer: Message) -> None:
        if self.open:
            self.sendString(_encode(answer).encode())

    def _answered(self, message: Message) -> None:
        asked = self._asked.pop(message["answers"], None)
        if asked is None:
            return  # it came too late
        if "error" in message:
            kind = _ERRORS.get(message["error"], AudioSocketError)
            asked.errback(kind(message["text"]))
        else:
            asked.callback(message["result"])

    def lengthLimitExceeded(self, length: int) -> None:
        self._log.error("a message of {name} has {n} bytes; giving it up", name=self.name, n=length)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.open = False
        asked, self._asked = list(self._asked.values()), {}
        for each in asked:
            each.errback(WorkerGone(f"{self.name} is gone; ask again in a moment"))
        while self._received:
            os.close(self._received.popleft())
        self._lost()

    # the transport's buffer, as a producer sees it

    def pauseProducing(self) -> None:
        self.full = True

    def resumeProducing(self) -> None:
        self.full = False
        if self.drained is not None:
            self.drained()

    def stopProducing(self) -> None:
        self.full = True
