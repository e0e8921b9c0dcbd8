"""The HTTP server of the API: limits on bodies, time and connections, and JSON for every error."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import NoReturn

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IReactorTime, ITCPTransport
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import implementer

from admin.access import ANYBODY, AccessCheck, Caller, peer_of
from admin.requests import check_type
from admin.responses import JSON_TYPE, MESSAGES, HTTPError, reason_phrase, reply_error
from admin.scopes import READING_METHODS
from admin.websocket import ServerWebSocket
from audiosocket.runtime.event_feed import Record

#: Largest request body, in bytes.
MAX_BODY_BYTES = 64 * 1024
#: Seconds in which a request has to be complete, and after which an idle connection is closed.
REQUEST_SECONDS = 30
#: Seconds a client has to read the rest of its response once we want to close.
CLOSING_SECONDS = 15
#: Seconds in which the rest of a rejected request is read and discarded.
LINGER_SECONDS = 2
#: Connections open at once; a limit, as calls need file descriptors, too.
MAX_CONNECTIONS = 256
#: WebSockets open at once; they are not counted among the connections.
MAX_WEBSOCKETS = 16

#: Headers of every response, unless its handler set them.
SECURITY_HEADERS = {
    b"Cache-Control": b"no-store",
    b"X-Content-Type-Options": b"nosniff",
    b"Content-Security-Policy": b"default-src 'none'; frame-ancestors 'none'",
    b"Cross-Origin-Resource-Policy": b"same-origin",
}

#: Not under the name of the site, of which the log keeps only warnings: Twisted writes its own lines there.
_changes = Logger("admin.changes")


class AdminRequest(Request):
    """A request that is kept in memory, limited in size, and passed to `AccessCheck`."""

    defaultContentType = JSON_TYPE.encode("ascii")
    site: AdminSite
    channel: AdminChannel
    content: BytesIO
    #: Who sent it.
    caller: Caller = ANYBODY
    #: What it is about, for the log: the extension or the leg, and a reason that was given.
    remark: str = ""
    _log = Logger()

    @property
    def who(self) -> str:
        """The peer, and the name of its token if it has one."""
        peer = peer_of(self)
        return f"{self.caller.name} ({peer})" if self.caller.name else peer

    def log_change(self, change: str) -> None:
        """Take what the request has changed, for the log."""
        self.remark = change

    def gotLength(self, length: int | None) -> None:
        if length is not None and length > MAX_BODY_BYTES:
            _body_too_large()
        # Twisted would open a temporary file for a body of unknown length.
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        if self.content.tell() + len(data) > MAX_BODY_BYTES:
            _body_too_large()
        super().handleContentChunk(data)

    def process(self) -> None:
        self.site = self.channel.site
        try:
            self.caller = self.site.access.admit(self)
            check_type(self.getHeader("Content-Type"), self.content.getbuffer().nbytes)
        except HTTPError as error:
            self._answer(error)
        else:
            super().process()

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer a failure outside of the routes; failures of routes are answered by `AdminAPI`."""
        path = self.path.decode("latin-1")
        self._log.failure("{method} {path} failed", reason, method=self.method.decode("ascii"), path=path)
        self._answer(HTTPError(500, MESSAGES[500]))
        return reason

    def _answer(self, error: HTTPError) -> None:
        self.write(reply_error(self, error))
        self.finish()


@implementer(IHalfCloseableProtocol)
class AdminChannel(HTTPChannel):
    """One connection. What Twisted itself would reject is rejected here, in JSON."""

    site: AdminSite
    transport: ITCPTransport
    _receiving = False
    _closing = False
    _rejected = False
    _socket: ServerWebSocket | None = None
    _gone = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.connection_opened(self)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        super().connectionLost(reason)
        self._gone = True
        self.site.connection_closed(self)
        if self._socket is not None:
            self._socket.connection_lost()

    def take_over(self, socket: ServerWebSocket) -> bytes:
        """Hand the connection over to a WebSocket; return what the client sent right behind its request.

        Raises `HTTPError` where too many are open, or the client has left.
        """
        if self._gone:
            raise HTTPError(400, "The client has left.")
        self.site.connection_taken_over(self)
        self._socket = socket
        self.setTimeout(None)
        # Private to LineReceiver and HTTPChannel; a test of what comes behind the handshake finds a renaming.
        early = self._buffer + b"".join(self._dataBuffer)
        self._buffer, self._dataBuffer = b"", []
        self._networkProducer.resumeProducing()
        return early

    def pauseProducing(self) -> None:
        if self._socket is not None:
            self._socket.pause()
        else:
            super().pauseProducing()

    def resumeProducing(self) -> None:
        if self._socket is not None:
            self._socket.resume()
        else:
            super().resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.data_received(data)
            return
        if self._rejected:
            return
        if not self._receiving:
            # Only the first bytes of a request restart the timer, so that a slow client cannot prolong it.
            self._receiving = True
            self.resetTimeout()
        try:
            LineReceiver.dataReceived(self, data)
        except HTTPError as error:
            self._reject(error)

    def headerReceived(self, line: bytes) -> bool:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and len(value.strip()) > 18 and value.strip().isdigit():
            _body_too_large()  # int() raises for more than 4300 digits
        return super().headerReceived(line)  # type: ignore[no-any-return]

    def lineLengthExceeded(self, line: bytes) -> NoReturn:
        raise HTTPError(431, f"A line of the request is longer than {self.MAX_LENGTH} bytes.")

    def _respondToBadRequestAndDisconnect(self) -> NoReturn:
        # Not public, but every request that Twisted rejects comes here, always below dataReceived. If Twisted
        # renames it, clients get Twisted's 400 without a body again.
        raise HTTPError(400, "This is not a well-formed HTTP/1.1 request.")

    def allContentReceived(self) -> None:
        self.site.connection_busy(self)
        super().allContentReceived()

    def requestDone(self, request: AdminRequest) -> None:
        self._receiving = False
        self.site.connection_idle(self)
        super().requestDone(request)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        headers.setRawHeaders(b"Server", [b"audiosocket"])
        for name, value in SECURITY_HEADERS.items():
            if not headers.hasHeader(name):
                headers.setRawHeaders(name, [value])
        super().writeHeaders(version, code, reason, headers)

    def loseConnection(self) -> None:
        # In this order: after a half-close connectionLost, which stops the timer, runs within the call.
        self._closing = True
        self.setTimeout(CLOSING_SECONDS)
        super().loseConnection()

    def timeoutConnection(self) -> None:
        if self._closing:
            self.transport.abortConnection()
        else:
            self.loseConnection()

    def readConnectionLost(self) -> None:
        """Close after a client's half-close, once the responses are written."""
        self.loseConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing after our own half-close: the rest of a rejected request is still to be read."""

    def _reject(self, error: HTTPError) -> None:
        """Answer immediately, then read on until the client has finished: a reset could overtake the response."""
        self._rejected = self._closing = True
        headers = Headers({"Content-Type": [JSON_TYPE], "Connection": ["close"]})
        wanted = self.requests[-1].requestHeaders if self.requests else Headers()
        body = error.body(wanted, headers)
        headers.setRawHeaders("Content-Length", [str(len(body))])
        code = error.code
        self.writeHeaders(b"HTTP/1.1", str(code).encode("ascii"), reason_phrase(code), headers)
        self.write(body)
        self.transport.loseWriteConnection()
        self.setTimeout(LINGER_SECONDS)


class AdminSite(Site):
    """The factory of the API's connections; above `MAX_CONNECTIONS` the one idle longest is closed."""

    protocol = AdminChannel  # type: ignore[assignment]
    noisy = False

    def __init__(
        self, resource: IResource, access: AccessCheck, publish: Callable[[Record], object], reactor: IReactorTime
    ) -> None:
        super().__init__(
            resource,
            AdminRequest,
            timeout=REQUEST_SECONDS,
            reactor=reactor,
            parsePOSTFormSubmission=False,
        )
        self.access = access
        self._publish = publish
        self.clock = reactor
        self._open: set[AdminChannel] = set()
        self._taken_over: set[AdminChannel] = set()
        self._idle: dict[AdminChannel, None] = {}

    def startFactory(self) -> None:
        """Start without Twisted's access log and its timer; `log` logs requests that change something."""

    def buildProtocol(self, addr: IAddress | None) -> AdminChannel | None:  # type: ignore[override]
        if len(self._open) >= MAX_CONNECTIONS:
            if not self._idle:
                return None
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.transport.abortConnection()
        return super().buildProtocol(addr)  # type: ignore[no-any-return]

    def connection_opened(self, channel: AdminChannel) -> None:
        """Add an accepted connection; it is idle until a whole request has arrived."""
        self._open.add(channel)
        self._idle[channel] = None

    def connection_busy(self, channel: AdminChannel) -> None:
        """Mark a connection whose request is complete and being answered."""
        self._idle.pop(channel, None)

    def connection_idle(self, channel: AdminChannel) -> None:
        """Mark a connection whose response is written."""
        self._idle[channel] = None

    def connection_closed(self, channel: AdminChannel) -> None:
        """Remove a closed connection."""
        self._open.discard(channel)
        self._taken_over.discard(channel)
        self._idle.pop(channel, None)

    def connection_taken_over(self, channel: AdminChannel) -> None:
        """Count a connection as a WebSocket from now on; raise `HTTPError` where there are too many."""
        if len(self._taken_over) >= MAX_WEBSOCKETS:
            raise HTTPError(503, f"There are {MAX_WEBSOCKETS} telephones in use; close one.")
        self._open.discard(channel)
        self._taken_over.add(channel)

    def log(self, request: AdminRequest) -> None:  # type: ignore[override]
        """Log each request that changed something, and those that failed with a 5xx status."""
        if request.method in READING_METHODS or 400 <= request.code < 500:
            return
        remark, caller, peer = request.remark, request.caller, peer_of(request)
        method, path = request.method.decode("ascii"), request.path.decode("latin-1")
        _changes.info(
            "{method} {path} by {who}: {code}{log_remark}",
            method=method,
            path=path,
            who=request.who,
            code=request.code,
            remark=remark,
            log_remark=f" {remark}" if remark else "",
        )
        what = {"method": method, "path": path, "by": caller.name, "peer": peer, "code": request.code}
        self._publish({"event": "api.changed", **what, "remark": remark})


def _body_too_large() -> NoReturn:
    raise HTTPError(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
