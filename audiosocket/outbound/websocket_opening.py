"""The attempt to open a WebSocket: name lookup, TCP, TLS and handshake, with one limit of time for all of it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet import defer, error, protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure

from audiosocket.outbound.websocket_interface import WebSocketFailed


class Opening:
    """The attempt to connect to ``peer``, as errors show it; ``dropped`` is called when it is cancelled."""

    def __init__(self, peer: str, dropped: Callable[[], None]) -> None:
        self._peer = peer
        self._dropped = dropped
        self._connecting: Deferred[None] | None = None
        self._accepted: Deferred[None] = Deferred(self._cancelled)

    def begin(
        self, client: protocol.Protocol, endpoint: IStreamClientEndpoint, clock: IReactorTime, seconds: float
    ) -> Deferred[None]:
        """Connect ``client``; fires after `accept`.

        Fails with what `fail` is given, with `WebSocketFailed` without a connection or after ``seconds``, and with
        CancelledError.
        """
        connecting: Deferred[None] = endpoint.connect(_ClientFactory(client)).addCallback(lambda _: self._accepted)
        self._connecting = connecting
        connecting.addTimeout(seconds, clock, self._too_late)
        return connecting.addErrback(self._not_connected)

    def cancel(self) -> None:
        """Give the attempt up."""
        if self._connecting is not None:
            self._connecting.cancel()

    def accept(self) -> None:
        """End the attempt: the handshake is complete."""
        if not self._accepted.called:
            self._accepted.callback(None)

    def fail(self, problem: WebSocketFailed) -> None:
        """End the attempt, unless it has ended."""
        if not self._accepted.called:
            self._accepted.errback(problem)

    def _cancelled(self, accepted: Deferred[None]) -> None:
        accepted.errback(defer.CancelledError())
        self._dropped()

    def _too_late(self, _: object, seconds: float) -> Failure:
        return Failure(WebSocketFailed(f"{self._peer}: no WebSocket within {seconds:g} s"))

    def _not_connected(self, failure: Failure) -> Failure:
        if failure.check(error.ConnectingCancelledError):
            return Failure(defer.CancelledError())
        if failure.check(error.ConnectError, error.DNSLookupError, error.UserError):
            return Failure(WebSocketFailed(f"{self._peer}: no connection: {failure.getErrorMessage()}"))
        return failure


class _ClientFactory(protocol.Factory):
    """Gives the client to the endpoint, without a line in the log for each connection."""

    noisy = False

    def __init__(self, client: protocol.Protocol) -> None:
        self._client = client

    def buildProtocol(self, addr: IAddress | None) -> protocol.Protocol:
        return self._client
