"""HTTP as this API wants it spoken: bounded bodies, bounded patience, JSON for whatever goes wrong."""

from __future__ import annotations

from io import BytesIO
from typing import NoReturn

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IReactorTime, ITCPTransport
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, HTTPChannel
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import implementer

from admin.access import SAFE_METHODS, AccessCheck
from admin.responses import JSON_TYPE, HTTPError, refuse

#: Largest request body, in bytes.
MOST_BODY = 64 * 1024
#: Seconds in which a request has to be complete, and in which an idle connection is kept.
REQUEST_SECONDS = 30
#: Seconds a client has to take the rest of its answer once we want to close.
CLOSING_SECONDS = 15
#: Seconds in which the rest of a refused request is read and thrown away.
LINGER_SECONDS = 2
#: Connections open at once. Descriptors are what calls are made of; the API does not take them all.
MOST_CONNECTIONS = 256

#: In every answer, unless its handler chose otherwise.
HYGIENE = {
    b"Cache-Control": b"no-store",
    b"X-Content-Type-Options": b"nosniff",
    b"Content-Security-Policy": b"default-src 'none'; frame-ancestors 'none'",
    b"Cross-Origin-Resource-Policy": b"same-origin",
}


class AdminRequest(Request):
    """A request that is kept in memory, refused while it grows too large, and checked by the gate."""

    defaultContentType = JSON_TYPE.encode("ascii")
    site: AdminSite
    channel: AdminChannel
    content: BytesIO
    _log = Logger()

    def gotLength(self, length: int | None) -> None:
        if length is not None and length > MOST_BODY:
            _body_too_large()
        # Twisted would open a temporary file for a body of unknown length.
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        if self.content.tell() + len(data) > MOST_BODY:
            _body_too_large()
        super().handleContentChunk(data)

    def process(self) -> None:
        self.site = self.channel.site
        try:
            self.site.gate.admit(self)
        except HTTPError as refusal:
            self._answer(refusal)
        else:
            super().process()

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer what failed outside of every handler; those have their own last resort."""
        path = self.path.decode("latin-1")
        self._log.failure("{method} {path} failed", reason, method=self.method.decode("ascii"), path=path)
        self._answer(HTTPError(500, "The server failed; its log says why."))
        return reason

    def _answer(self, refusal: HTTPError) -> None:
        self.write(refuse(self, refusal))
        self.finish()


@implementer(IHalfCloseableProtocol)
class AdminChannel(HTTPChannel):
    """One connection. Whatever Twisted refuses by itself is refused here, in JSON."""

    site: AdminSite
    transport: ITCPTransport
    _begun = False
    _closing = False
    _refused = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.opened(self)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        super().connectionLost(reason)
        self.site.closed(self)

    def dataReceived(self, data: bytes) -> None:
        if self._refused:
            return
        if not self._begun:
            # Only the first bytes of a request restart the timer: a client that dribbles gains nothing.
            self._begun = True
            self.resetTimeout()
        try:
            LineReceiver.dataReceived(self, data)
        except HTTPError as refusal:
            self._refuse(refusal)

    def headerReceived(self, line: bytes) -> bool:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and len(value.strip()) > 18 and value.strip().isdigit():
            _body_too_large()  # int() has a limit of its own, and raises
        return super().headerReceived(line)  # type: ignore[no-any-return]

    def lineLengthExceeded(self, line: bytes) -> NoReturn:
        raise HTTPError(431, f"A line of the request is longer than {self.MAX_LENGTH} bytes.")

    def _respondToBadRequestAndDisconnect(self) -> NoReturn:
        # Not public, but all that Twisted refuses ends here, always below dataReceived; if it is renamed
        # one day, clients get Twisted's bare 400 again.
        raise HTTPError(400, "This is not a well-formed HTTP/1.1 request.")

    def allContentReceived(self) -> None:
        self.site.busy(self)
        super().allContentReceived()

    def requestDone(self, request: AdminRequest) -> None:
        self._begun = False
        self.site.idle(self)
        super().requestDone(request)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        headers.setRawHeaders(b"Server", [b"audiosocket"])
        for name, value in HYGIENE.items():
            if not headers.hasHeader(name):
                headers.setRawHeaders(name, [value])
        super().writeHeaders(version, code, reason, headers)

    def loseConnection(self) -> None:
        # In this order: after a half-close the connection is lost, and its timer stopped, within the call.
        self._closing = True
        self.setTimeout(CLOSING_SECONDS)
        super().loseConnection()

    def timeoutConnection(self) -> None:
        if self._closing:
            self.transport.abortConnection()
        else:
            self.loseConnection()

    def readConnectionLost(self) -> None:
        """A client that closed its side after asking still gets what was already answered."""
        self.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our own half-close after a refusal; the rest of the request is still coming in."""

    def _refuse(self, refusal: HTTPError) -> None:
        """Answer at once, then let the client finish: a reset could overtake the answer."""
        self._refused = self._closing = True
        body = refusal.body()
        headers = Headers(
            {"Content-Type": [JSON_TYPE], "Content-Length": [str(len(body))], "Connection": ["close"]}
        )
        code = refusal.code
        self.writeHeaders(b"HTTP/1.1", str(code).encode("ascii"), RESPONSES.get(code, b"Refused"), headers)
        self.write(body)
        self.transport.loseWriteConnection()
        self.setTimeout(LINGER_SECONDS)


class AdminSite(Site):
    """The factory of the API's connections; above `MOST_CONNECTIONS` the one idle longest is dropped."""

    protocol = AdminChannel  # type: ignore[assignment]
    noisy = False
    _log = Logger()

    def __init__(self, resource: IResource, gate: AccessCheck, reactor: IReactorTime) -> None:
        super().__init__(
            resource,
            AdminRequest,
            timeout=REQUEST_SECONDS,
            reactor=reactor,
            parsePOSTFormSubmission=False,
        )
        self.gate = gate
        self._open: set[AdminChannel] = set()
        self._idle: dict[AdminChannel, None] = {}

    def startFactory(self) -> None:
        """No access log, so no clock for its time stamps; `log` writes down what changed something."""

    def buildProtocol(self, addr: IAddress | None) -> AdminChannel | None:  # type: ignore[override]
        if len(self._open) >= MOST_CONNECTIONS:
            if not self._idle:
                return None
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.transport.abortConnection()
        return super().buildProtocol(addr)  # type: ignore[no-any-return]

    def opened(self, channel: AdminChannel) -> None:
        """A connection was accepted; it is idle until a whole request has arrived."""
        self._open.add(channel)
        self._idle[channel] = None

    def busy(self, channel: AdminChannel) -> None:
        """A request is complete and being answered."""
        self._idle.pop(channel, None)

    def idle(self, channel: AdminChannel) -> None:
        """The answer is written."""
        self._idle[channel] = None

    def closed(self, channel: AdminChannel) -> None:
        """The connection is gone."""
        self._open.discard(channel)
        self._idle.pop(channel, None)

    def log(self, request: AdminRequest) -> None:  # type: ignore[override]
        """One line for each request that changed something or failed to."""
        if request.method in SAFE_METHODS or 400 <= request.code < 500:
            return
        self._log.info(
            "{method} {path} by {peer}: {code}",
            method=request.method.decode("ascii"),
            path=request.path.decode("latin-1"),
            peer=getattr(request.getClientAddress(), "host", "a local socket"),
            code=request.code,
        )


def _body_too_large() -> NoReturn:
    raise HTTPError(413, f"The body is larger than {MOST_BODY} bytes.")
