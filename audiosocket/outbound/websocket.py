"""A WebSocket client (RFC 6455) over wsproto, with limits, pings and no extensions.

Twisted's own client sends no additional headers, requests no subprotocol and limits no message. Redirects are not
followed: a response with status 3xx is a refusal like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws
from wsproto.connection import ConnectionState
from wsproto.utilities import RemoteProtocolError

from audiosocket.outbound.connection_end import explained
from audiosocket.outbound.send_queue import SendQueue
from audiosocket.outbound.websocket_frames import (
    BINARY,
    PING,
    PONG,
    TEXT,
    Control,
    FrameReader,
    Masks,
    client_frame,
)
from audiosocket.outbound.websocket_interface import (
    ABNORMAL_CLOSURE,
    MESSAGE_TOO_BIG,
    NORMAL_CLOSURE,
    WebSocketClosed,
    WebSocketFailed,
    WebSocketLimits,
    WebSocketObserver,
    WebSocketRefused,
)
from audiosocket.outbound.websocket_opening import Opening
from audiosocket.outbound.websocket_pings import Pings
from audiosocket.outbound.websocket_reading import Fragments, Unread
from audiosocket.outbound.websocket_request import peer_of, upgrade_request

#: Close codes that an endpoint may send.
_SENDABLE = (*range(1000, 1004), *range(1007, 1015), *range(3000, 5000))


class _State(Enum):
    NEW = 0
    CONNECTING = 1
    OPEN = 2
    #: Our close frame is sent or queued, the peer's is awaited.
    CLOSING = 3
    #: Nothing is sent or reported any more; the TCP connection may still exist.
    CLOSED = 4


class _Transport(ITCPTransport, IPushProducer):
    """TCP or TLS, whose reading can be paused."""


class WebSocketClient(protocol.Protocol):
    """One connection to ``url`` (ws or wss), opened by `connect` and used once.

    ``endpoint`` is where the server is (`Endpoints.for_url`). ``headers`` are added to the request of the
    handshake. Raises `InvalidSetting` for a URL, header or subprotocol that cannot be used.
    """

    transport: _Transport
    _log = Logger()

    def __init__(
        self,
        url: str,
        observer: WebSocketObserver,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        limits: WebSocketLimits | None = None,
    ) -> None:
        #: The server as errors show it: without path and query, which may hold a token.
        self.peer = peer_of(url)
        #: The subprotocol that the peer has selected, if any.
        self.subprotocol: str | None = None
        self._request = upgrade_request(url, headers or {}, subprotocols)
        self._observer = observer
        self._endpoint = endpoint
        self._clock = clock
        self._limits = limits or WebSocketLimits()
        self._wire = WSConnection(ConnectionType.CLIENT)
        #: Reads whole messages once the handshake is complete.
        self._frames: FrameReader | None = None
        self._masks = Masks()
        self._state = _State.NEW
        self._opening = Opening(self.peer, self._dropped)
        self._handshake_bytes = 0
        #: These exist while there is a TCP connection.
        self._queue: SendQueue | None = None
        self._unread: Unread | None = None
        self._gone: list[Deferred[None]] = []
        self._fragments = Fragments(self._limits.message_bytes)
        self._late_pong: bytes | None = None
        self._close_frame = (NORMAL_CLOSURE, "")
        self._pings: Pings | None = None
        self._close_timer: IDelayedCall | None = None

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._state is _State.OPEN

    @property
    def queued_bytes(self) -> int:
        """Bytes of frames that wait because the peer reads too slowly; 0 while less than 64 KiB are unsent."""
        return 0 if self._queue is None else len(self._queue)

    def connect(self) -> Deferred[None]:
        """Open the connection; fires when it is open, after the observer's `opened`.

        Fails with `WebSocketFailed`: no connection, TLS not verified, refused, not a WebSocket server, or not
        within ``connect_seconds``. Cancelling drops the connection.
        """
        if self._state is not _State.NEW:
            raise RuntimeError("a WebSocketClient connects once")
        self._state = _State.CONNECTING
        opening = self._opening.begin(self, self._endpoint, self._clock, self._limits.connect_seconds)
        return opening.addErrback(self._not_opened)

    def send(self, message: str | bytes) -> int:
        """Send a text (str) or binary (bytes) message and return `queued_bytes`; raises `WebSocketClosed`."""
        if self._state is not _State.OPEN or self._queue is None:
            raise WebSocketClosed(f"{self.peer}: the connection is not open")
        if isinstance(message, str):
            frame = client_frame(TEXT, message.encode("utf-8"), self._masks.next())
        else:
            frame = client_frame(BINARY, message, self._masks.next())
        self._queue.add(frame)
        return len(self._queue)

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> Deferred[None]:
        """Send what is queued and a close frame; fires at the end of the TCP connection.

        That is after ``close_seconds`` at the latest. Messages received meanwhile are dropped. Raises ValueError
        for a code that must not be sent.
        """
        if code not in _SENDABLE:
            raise ValueError(f"{code} is not a close code that can be sent")
        self._give_up_connecting()
        if self._state is _State.OPEN and self._queue is not None:
            self._state = _State.CLOSING
            self._close_frame = (code, reason)
            self._stop_pings()
            self._queue.add(self._wire.send(ws.CloseConnection(code, reason)))
            self._limit_closing()
        gone: Deferred[None] = Deferred()
        self._gone.append(gone)
        if self._queue is None:
            self._report_gone()
        return gone

    def abort(self, reason: str = "aborted by this side") -> None:
        """Drop the connection at once, and what is queued."""
        self._give_up_connecting()
        self._end(ABNORMAL_CLOSURE, reason)
        self._drop()

    def connectionMade(self) -> None:
        self._queue = SendQueue(self.transport, self._drained)
        self._unread = Unread(self.transport, self._clock, self._handle)
        self.transport.setTcpNoDelay(True)
        self._queue.add(self._wire.send(self._request))

    def dataReceived(self, data: bytes) -> None:
        frames, unread = self._frames, self._unread
        if unread is None:
            return
        if not unread and self._state is _State.OPEN and frames is not None:
            message = frames.whole(data)
            if message is not None:
                self._take_whole(message)
                return
        unread.take(data)

    def _handle(self, data: bytes, most: int) -> bool | None:
        """Handle what was read, see `Unread`."""
        frames = self._frames
        if self._state is _State.CLOSED:
            return None
        if frames is None:
            self._receive(data)
            return None if self._is_closed() else False
        ping: bytes | None = None
        for found in frames.feed(data, most):
            if isinstance(found, memoryview):
                self._receive(bytes(found))
            elif isinstance(found, Control):
                if found.opcode == PING:
                    ping = found.payload
                else:
                    self._take_pong()
            else:
                self._take_whole(found)
            if self._is_closed():
                return None
        if ping is not None:  # RFC 6455, 5.5.3: only the last of several pings needs an answer
            self._answer_ping(ping)
        return frames.more

    def _take_whole(self, message: str | bytes) -> None:
        """Report a message that came in one frame."""
        size = len(message)
        if size > self._limits.message_bytes or (
            isinstance(message, str) and 4 * size > self._limits.message_bytes
        ):
            size = len(message.encode()) if isinstance(message, str) else size
            if size > self._limits.message_bytes:
                self._refuse_size()
                return
        if self._state is _State.OPEN:
            try:
                self._observer.message(message)
            except Exception:  # noqa: BLE001 - the observer's fault; a context manager costs as much as the frame
                self._log.failure("a WebSocket message could not be used")

    def _refuse_size(self) -> None:
        self._refuse(MESSAGE_TOO_BIG, f"a message has more than {self._limits.message_bytes} bytes")

    def _receive(self, data: bytes) -> None:
        try:
            self._wire.receive_data(data)
            for event in self._wire.events():
                self._take(event)
                if self._is_closed():
                    return
        except (RemoteProtocolError, UnicodeDecodeError) as problem:  # in the handshake only
            self._fail(WebSocketFailed(f"{self.peer} is not a WebSocket server: {problem}"))
        if self._state is _State.CONNECTING:
            self._handshake_bytes += len(data)
            if self._handshake_bytes > self._limits.handshake_bytes:
                most = self._limits.handshake_bytes
                self._fail(WebSocketFailed(f"{self.peer}: the handshake has more than {most} bytes"))

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        if self._unread is not None:
            self._unread.finish()
        self._queue = self._unread = None
        if self._close_timer is not None and self._close_timer.active():
            self._close_timer.cancel()
        self._opening.fail(WebSocketFailed(f"{self.peer}: no WebSocket: {explained(reason)}"))
        if self._state is _State.CLOSING:
            self._end(*self._close_frame)
        self._end(ABNORMAL_CLOSURE, explained(reason))
        self._report_gone()

    def _take(self, event: ws.Event) -> None:
        if isinstance(event, ws.AcceptConnection):
            self._open(event)
        elif isinstance(event, ws.RejectConnection):
            refused = f"{self.peer} answers the handshake with HTTP {event.status_code}"
            self._fail(WebSocketRefused(refused, event.status_code))
        elif isinstance(event, ws.TextMessage | ws.BytesMessage):
            self._take_part(event)
        elif isinstance(event, ws.Ping):
            self._answer_ping(bytes(event.payload))
        elif isinstance(event, ws.Pong):
            self._take_pong()
        elif isinstance(event, ws.CloseConnection):
            self._take_close(event)

    def _open(self, event: ws.AcceptConnection) -> None:
        self._state = _State.OPEN
        self.subprotocol = event.subprotocol
        self._frames = FrameReader()
        choose = getattr(self.transport, "read_on_tick", None)
        if choose is not None:
            choose(True, between=True)
        self._pings = Pings(self._limits, self._clock, self._send_ping, self.abort)
        self._pings.start()
        with self._log.failuresHandled("an open WebSocket could not be used"):
            self._observer.opened()
        self._opening.accept()

    def _take_part(self, part: ws.TextMessage | ws.BytesMessage) -> None:
        message = self._fragments.add(part)
        if self._fragments.too_long:
            self._refuse_size()
        elif message is not None and self._state is _State.OPEN:
            with self._log.failuresHandled("a WebSocket message could not be used"):
                self._observer.message(message)

    def _take_close(self, event: ws.CloseConnection) -> None:
        if self._state is _State.CLOSING:
            self._end(*self._close_frame)
            self._hang_up()
        elif self._wire.state is ConnectionState.REMOTE_CLOSING:
            self._end(int(event.code), event.reason or "")
            self._hang_up(event.response())
        else:  # wsproto reports a violation of the protocol in this way
            self._refuse(int(event.code), event.reason or "")

    def _refuse(self, code: int, reason: str) -> None:
        """Close because of what the peer has sent."""
        frame = ws.CloseConnection(code, reason) if self._state is _State.OPEN else None
        self._end(code, reason)
        self._hang_up(frame)

    def _end(self, code: int, reason: str) -> None:
        """Report the end, once, if there was a connection."""
        before, self._state = self._state, _State.CLOSED
        self._stop_pings()
        if before in {_State.OPEN, _State.CLOSING}:
            with self._log.failuresHandled("the end of a WebSocket could not be used"):
                self._observer.closed(code, reason)

    def _is_closed(self) -> bool:
        return self._state is _State.CLOSED

    def _take_pong(self) -> None:
        if self._pings is not None:
            self._pings.answered()

    def _answer_ping(self, payload: bytes) -> None:
        if self._state is not _State.OPEN or self._queue is None:
            return
        if self._queue.is_full:
            self._late_pong = payload
        else:
            self._queue.add_first(client_frame(PONG, payload, self._masks.next()))

    def _drained(self) -> None:
        pong, self._late_pong = self._late_pong, None
        if pong is not None:
            self._answer_ping(pong)

    def _stop_pings(self) -> None:
        pings, self._pings = self._pings, None
        if pings is not None:
            pings.stop()

    def _send_ping(self) -> None:
        if self._queue is not None:
            self._queue.add_first(self._wire.send(ws.Ping()))

    def _hang_up(self, frame: ws.CloseConnection | None = None) -> None:
        """End the TCP connection after what is written and a last frame; what is queued is dropped."""
        if self._queue is not None:
            if frame is not None:
                self._queue.add_first(self._wire.send(frame))
            self._queue.close()
            self._limit_closing()
            self.transport.loseConnection()

    def _limit_closing(self) -> None:
        if self._close_timer is None:
            self._close_timer = self._clock.callLater(self._limits.close_seconds, self._drop)

    def _drop(self) -> None:
        if self._queue is not None:
            self.transport.abortConnection()

    def _give_up_connecting(self) -> None:
        if self._state is _State.NEW:
            self._state = _State.CLOSED
        elif self._state is _State.CONNECTING:
            self._opening.cancel()

    def _fail(self, problem: WebSocketFailed) -> None:
        """End a connection whose handshake failed."""
        self._state = _State.CLOSED
        self._opening.fail(problem)
        self._drop()

    def _dropped(self) -> None:
        self._state = _State.CLOSED
        self._drop()

    def _not_opened(self, failure: Failure) -> Failure:
        self._state = _State.CLOSED
        return failure

    def _report_gone(self) -> None:
        gone, self._gone = self._gone, []
        for each in gone:
            each.callback(None)
