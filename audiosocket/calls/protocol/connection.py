"""One connection from Asterisk: from its transport to a leg and back, and its end."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.protocol.handshake import Handshake
from audiosocket.calls.protocol.intake import (
    MESSAGES_PER_STEP,
    RATE_CHANGE_UNITS,
    UNITS_PER_SECOND,
    Allowance,
    cost,
)
from audiosocket.calls.protocol.interfaces import ConnectionFactory, LegEnd, Transport
from audiosocket.calls.protocol.pace import Pace
from audiosocket.calls.protocol.socket_options import set_limits
from audiosocket.errors import InvalidProxyHeader
from audiosocket.transport.clock import MediaClock
from audiosocket.wire import (
    FRAME_HEADERS,
    HANGUP_FRAME,
    HEADER_BYTES,
    Audio,
    Event,
    HungUp,
    Identified,
    Ignored,
    Parser,
    PeerError,
    Violation,
    has_equal_headers,
)

_log = Logger()
#: The first message must be complete this long after the connection, in seconds.
HANDSHAKE_SECONDS = 5.0
#: After the hangup frame Asterisk closes within milliseconds; a peer that does not is aborted, in seconds.
CLOSE_SECONDS = 2.0
#: A peer that reads no audio for this long is aborted, in seconds.
STUCK_SECONDS = 2.0


@implementer(IPushProducer)
class AudioSocketProtocol(Protocol):
    """One connection from Asterisk."""

    transport: Transport
    factory: ConnectionFactory[AudioSocketProtocol]

    def __init__(self, factory: ConnectionFactory[AudioSocketProtocol], clock: MediaClock, peer: str) -> None:
        self.factory = factory
        #: Address and port of the caller, for logs; of the other end if no proxy names another one.
        self.peer = peer
        self._clock = clock
        self._parser = Parser()
        #: What this peer may send, and frames of ``_shape`` that are paid already.
        self._allowance = Allowance(clock.seconds())
        self._paid = 0
        self._shape: tuple[int, int] | None = None
        self._pace = Pace()
        #: The rate of the last frame, in Hz.
        self._rate = 0
        #: Messages wait in the parser for the clock's ticks; nothing is read meanwhile.
        self._waiting = False
        self._leg: LegEnd[AudioSocketProtocol] | None = None
        #: The leg's `frames_received`; None before there is a leg and after the hangup frame.
        self._frames_received: Callable[[bytes, tuple[int, int]], None] | None = None
        self._handshake = Handshake()
        #: Whether a message without meaning was logged already.
        self._ignored = False
        self._blocked = False
        #: How the connection was lost while messages waited: they come before the end of the leg.
        self._lost: LegOutcome | None = None
        #: True once the hangup frame was sent: what still arrives is discarded.
        self.finished = False

    def connectionMade(self) -> None:
        if not self.factory.prepared:
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
            handle = getattr(self.transport, "getHandle", None)
            if handle is not None:  # transports in memory have no kernel
                set_limits(handle())
        self.transport.registerProducer(self, True)
        self._handshake.behind_proxy = self.factory.observer.is_proxy(self)
        self._clock.set_timeout(self, HANDSHAKE_SECONDS, self._no_handshake)
        self.factory.connected(self)

    def dataReceived(self, data: bytes) -> None:
        # Nearly all data is one frame of 20 ms, or several after a stall: these skip the parser.
        take = self._frames_received
        if take is not None and not self._parser.rest:
            shape = FRAME_HEADERS.get(data[:HEADER_BYTES])
            if shape is not None and (len(data) == shape[1] or has_equal_headers(data, shape[1])):
                frames = len(data) // shape[1]
                if (frames <= self._paid and shape is self._shape) or self._pay(frames, shape):
                    self._paid -= frames
                    take(data, shape)
                    return
        if self.finished:
            return
        if self._leg is None:
            handshake = self._handshake
            if handshake.held is not None:
                handshake.held += data
                return
            handshake.data += data
            if handshake.behind_proxy:
                data = self._after_proxy_header()
                if not data:
                    return
        if self._waiting or not self._is_direct():
            self._parser.receive(data, 0)
            self._wait()
        elif self._leg is None:
            self._identify(data)
        elif self._step(data):
            self._wait()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        clean = isinstance(reason.value, ConnectionDone)
        self._lost = LegOutcome.CALLER_HANGUP if clean else LegOutcome.CONNECTION_LOST
        self._clock.cancel_timeout(self)
        if not self._waiting or self.finished:
            self._over(self._lost)

    def _over(self, outcome: LegOutcome) -> None:
        """End what belongs to this connection, which is closed, and whose messages were handled."""
        self._waiting, self.finished, self._frames_received = False, True, None
        self.factory.disconnected(self)
        if self._leg is None:
            return
        if self._handshake.proxied:
            self._leg.cut_off(self, outcome)
        else:
            self._leg.disconnected(self, outcome)

    # to the peer

    def send_frames(self, frames: bytes) -> bool:
        """Write whole frames with their headers; return false when the peer takes no more."""
        if self.finished or self._lost is not None:
            return False
        if self._blocked:
            self.factory.observer.blocked()
            return False
        self.transport.write(frames)
        return True

    def read_on_tick(self, on_tick: bool) -> None:
        """Read on the clock's ticks, up to 5 ms late, where the transport can; Twisted's own reads immediately."""
        choose = getattr(self.transport, "read_on_tick", None)
        if choose is not None:
            choose(on_tick)

    def finish(self, *, goodbye: bool = True) -> None:
        """Send the hangup frame, half-close and read until the FIN; abort after `CLOSE_SECONDS`.

        Without ``goodbye`` no hangup frame is sent: the call goes on elsewhere.

        Closing at once with audio unread would make the kernel send RST, on which Asterisk's application
        ``AudioSocket`` hangs up the caller instead of continuing in the dialplan.
        """
        if self.finished:
            return
        self.finished, self._frames_received = True, None
        if self._lost is not None:  # `_continue` does the rest
            return
        if goodbye:
            self.transport.write(HANGUP_FRAME)
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()
        if self._waiting:
            self._waiting = False
            self.transport.resumeProducing()
        self._clock.set_timeout(self, CLOSE_SECONDS, self.transport.abortConnection)

    def abort(self) -> None:
        """Abort the connection, for a peer that does not speak the protocol."""
        self.finished, self._frames_received = True, None
        self._clock.cancel_timeout(self)
        self.transport.abortConnection()

    def detached(self) -> None:
        """Note that the socket was taken out of the transport and belongs to another process."""
        self.finished, self._frames_received = True, None
        self.factory.disconnected(self)

    # `IPushProducer`: the transport's buffer

    def pauseProducing(self) -> None:
        self._blocked = True
        if not self.finished and self._leg is not None:
            self._clock.set_timeout(self, STUCK_SECONDS, self._stuck)

    def resumeProducing(self) -> None:
        self._blocked = False
        if not self.finished and self._leg is not None:
            self._clock.cancel_timeout(self)

    def stopProducing(self) -> None:
        self._blocked = True

    # how much is handled at a time, see ``intake.py``

    def _is_direct(self) -> bool:
        allowance = self._allowance
        if not allowance.direct:  # what was earned meanwhile matters only then
            allowance.spend(0, self._clock.seconds())
        return allowance.direct

    def _pay(self, frames: int, shape: tuple[int, int]) -> bool:
        """Pay for these frames and some to come; return false when they have to wait."""
        leg = self._leg
        if leg is None or (not leg.looping and (frames > MESSAGES_PER_STEP or not self._is_direct())):
            return False
        now = self._clock.seconds()
        left, self._paid = self._paid - frames, max(frames, MESSAGES_PER_STEP)
        difference = self._pace.measure(now, left, self._paid - frames)
        if difference is not None and shape is self._shape:
            self.factory.observer.paced(difference)
        if not leg.looping:
            change = RATE_CHANGE_UNITS if shape[0] != self._rate else 0
            self._allowance.spend(self._paid + change, now)
        self._shape, self._rate = shape, shape[0]
        return True

    def _step(self, data: bytes = b"", most: int = MESSAGES_PER_STEP) -> bool:
        """Handle some messages; return whether complete ones may be left."""
        parser, handshake = self._parser, self._handshake
        events = parser.receive(data, most)
        units = 0
        for event in events:
            units += cost(event, self._rate)
            if isinstance(event, Audio):
                self._rate = event.rate
                if self._leg is not None:
                    self._leg.message_received(event)
            else:
                self._handle(event)
            if self.finished or handshake.held is not None or self._parser is not parser:  # or it has begun again
                return False
        self._allowance.spend(units, self._clock.seconds())
        if self._allowance.spent:
            self._drop(
                "flood",
                f"it keeps sending more than {UNITS_PER_SECOND} messages/s, or as much in large frames, digits or "
                "changes of the sample rate; a telephone sends 100/s at most",
            )
            return False
        return len(events) == most

    def _wait(self) -> None:
        """Handle what is in the parser in the clock's ticks, and read again after that."""
        if not self._waiting:
            self._waiting, self._shape = True, None
            self.transport.pauseProducing()
            self._clock.add_work(self._continue)

    def _continue(self) -> bool:
        """Handle some of the messages that wait; return whether more are left."""
        try:
            more = not self.finished and self._step()
        except Exception:
            if self._lost is not None:
                self._over(self._lost)
            else:
                self._waiting = False
                self.transport.abortConnection()
            raise
        if more:
            return True
        if self._lost is not None:
            self._over(self._lost)
        elif not self.finished:
            self._waiting = False
            self.transport.resumeProducing()
        return False

    # from the peer

    def _after_proxy_header(self) -> bytes:
        """Return what has come after the PROXY header; nothing while that is incomplete or if it is refused."""
        try:
            received = self._handshake.proxy_header()
        except InvalidProxyHeader as error:
            self._drop("handshake", str(error))
            return b""
        if received is None:
            return b""
        rest, caller = received
        if caller is not None:
            self.peer = caller
        if not self.factory.observer.may_call(self):
            self.abort()
            return b""
        return rest

    def _handle(self, event: Event) -> None:
        """Take a message that is not audio."""
        if isinstance(event, Violation):
            why = event.why
            if self._leg is None and self._handshake.has_unexpected_header:
                why += "; it looks like a PROXY header, and its address is in none of the networks of PROXY_PEERS"
            self._drop("handshake" if self._leg is None else "second_uuid", why)
        elif isinstance(event, Identified):
            self._identified(event.call_id)
        elif self._leg is not None:
            self._leg.message_received(event)
            if isinstance(event, HungUp):
                self.finish()
            elif isinstance(event, PeerError):
                self.factory.observer.protocol_error("peer_error")
                self.factory.observer.misbehaved(self, f"reports an error: {event.text}")
                self.finish()
            elif isinstance(event, Ignored):
                self._note_ignored(event)

    def _identify(self, data: bytes) -> None:
        """Handle the UUID, and then what came with it as what comes later is: frames skip the parser."""
        self._step(data, 1)
        if self._leg is not None and self._parser.rest and not self.finished:
            data, self._parser.rest = self._parser.rest, b""
            self.dataReceived(data)

    def _identified(self, call_id: UUID) -> None:
        self._clock.cancel_timeout(self)
        handshake = self._handshake
        data = handshake.take()
        if self.factory.pass_on is not None and self.factory.pass_on(self, call_id, data):
            return
        if handshake.refusal is None and self.factory.locate is not None:
            located = self.factory.locate(self, call_id)
            if located is not None:
                handshake.hold(data)
                self.transport.pauseProducing()
                located.addCallback(self._located).addErrback(self._not_located)
                return
        answer = handshake.refusal or self.factory.join(self, call_id)
        if isinstance(answer, str):
            self.factory.observer.refused(self, call_id, answer)
            self.finish()
        else:
            self._leg, self._frames_received = answer, answer.frames_received

    def _located(self, refusal: str) -> None:
        """Begin again with what was received, now that it is known where the call is."""
        held = self._handshake.go_on(refusal)
        if not self.finished and self._lost is None:
            self._parser = Parser()
            self.transport.resumeProducing()
            self.dataReceived(held)

    def _not_located(self, failure: Failure) -> None:
        _log.failure("{peer}: its connection is closed: its protocol raised", failure, peer=self.peer)
        self.abort()

    def _note_ignored(self, event: Ignored) -> None:
        """Log the first message without meaning.

        They never end a leg: some last as long as the call, such as the empty audio that Asterisk sends for
        comfort noise, or kind 0x02, which other implementations define as silence.
        """
        if not self._ignored:
            self._ignored = True
            self.factory.observer.protocol_error("unknown_message")
            self.factory.observer.misbehaved(
                self, f"sent a message of kind 0x{event.kind:02x}, ignored: {event.why}"
            )

    def _drop(self, kind: str, why: str) -> None:
        self.factory.observer.protocol_error(kind)
        leg = self._leg
        if leg is None:
            self.factory.observer.rejected(self, why)
            self.abort()
            return
        self.factory.observer.misbehaved(self, f"dropped: {why}")
        self.abort()
        leg.disconnected(self, LegOutcome.PROTOCOL_ERROR)

    def _no_handshake(self) -> None:
        self._drop("handshake_timeout", f"no UUID within {HANDSHAKE_SECONDS:g} s")

    def _stuck(self) -> None:
        self.factory.observer.protocol_error("not_reading")
        self.factory.observer.misbehaved(self, f"dropped: it took no audio for {STUCK_SECONDS:g} s")
        leg = self._leg
        self.abort()
        if leg is not None:
            leg.disconnected(self, LegOutcome.SLOW_READER)
