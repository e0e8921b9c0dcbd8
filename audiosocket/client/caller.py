"""A client that behaves toward an AudioSocket server as Asterisk 22 does, and is stricter.

It is the base of the command `audiosocket.dial`, and the tests' imitation of Asterisk::

    caller = Caller(reactor)
    await caller.dial("127.0.0.1", 8080)      # connected, UUID sent
    caller.say(pcm)                           # leaves as 20 ms frames in real time
    caller.press("12#")
    await caller.until_heard(len(pcm))
    caller.hang_up()                          # FIN, as Asterisk does; never 0x00
    report = await caller.ended
    assert report.ok, report.broken

The rules are in `client.rules`, what is sent and when is in `client.sender`, the socket is in `client.connection`.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from uuid import UUID, uuid4

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall

from audiosocket.client.conditions import ConditionWaiter
from audiosocket.client.connection import Connection, ConnectionReactor, connect
from audiosocket.client.report import CallReport, EndedBy, ReceiveStats, summary
from audiosocket.client.rules import AsteriskReader, BrokenRule, HeardFrame, Rule
from audiosocket.client.sender import Sender
from audiosocket.errors import AudioSocketError
from audiosocket.wire import uuid_frame

#: Seconds to wait for the server to close after its hangup (it has seen our FIN), and after ours.
SERVER_LINGER = 1.0
CALLER_LINGER = 5.0
#: Reads in one turn, 64 kB each, so that a flood of data does not delay what we send.
READS_PER_TURN = 16


class CallFailed(AudioSocketError):
    """A call that could not be placed, or ended before the awaited condition was met; ``report`` is its report."""

    def __init__(self, message: str, report: CallReport | None = None) -> None:
        super().__init__(message)
        self.report = report


class Caller:
    """One call to an AudioSocket server, in real time on ``reactor``.

    ``rate`` is the rate of the audio sent, in Hz; the server may send at another one. With ``quiet`` nothing is
    sent where there is no audio (a muted caller), instead of silence. ``identify=False`` sends no UUID. A small
    ``send_buffer`` (bytes) detects a server that stops reading within seconds. ``keep_seconds`` limits how much of
    the received audio is kept. ``on_heard`` is called with each frame as it is read. With ``queue_limit_ms``,
    audio that waits to be sent for longer than the first figure is cut to the second. Raises `LocalProtocolError`
    for a rate that AudioSocket does not have.
    """

    def __init__(
        self,
        reactor: ConnectionReactor,
        call_id: UUID | None = None,
        rate: int = 8_000,
        *,
        quiet: bool = False,
        identify: bool = True,
        send_buffer: int | None = None,
        keep_seconds: float | None = None,
        on_heard: Callable[[HeardFrame], None] | None = None,
        queue_limit_ms: tuple[int, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.call_id = call_id or uuid4()
        self.rate = rate
        self.report: CallReport | None = None
        self._reactor = reactor
        self._clock = clock
        self._identify = identify
        self._send_buffer = send_buffer
        self._sender = Sender(rate, quiet=quiet, queue_limit_ms=queue_limit_ms)
        self._on_heard = on_heard
        self._received = ReceiveStats(keep_seconds)
        self._waiting = ConditionWaiter()
        self._ended: list[Deferred[CallReport]] = []
        self._dialling: Deferred[None] | None = None
        self._connection: Connection | None = None
        self._reader: AsteriskReader | None = None
        self._timers: dict[str, IDelayedCall] = {}
        self._connected_at = 0.0
        self._connected_ms: float | None = None
        self._ended_by: EndedBy | None = None
        self._ended_at = 0.0

    def dial(self, host: str, port: int) -> Deferred[None]:
        """Connect (2 s for each address of ``host``) and send the UUID; fail with `CallFailed`."""
        if self._dialling is not None or self.report is not None:
            raise CallFailed("a Caller places one call; create another one", self.report)
        self._dialling = Deferred.fromCoroutine(self._dial(host, port))
        return self._dialling

    @property
    def ended(self) -> Deferred[CallReport]:
        """A new Deferred for each access, which fires with the report when the connection is closed."""
        ended: Deferred[CallReport] = Deferred()
        if self.report is not None:
            ended.callback(self.report)
        else:
            self._ended.append(ended)
        return ended

    # Sending.

    def say(self, pcm: bytes) -> None:
        """Queue audio at ``rate``; it is sent as 20 ms frames in real time."""
        self._sender.say(pcm)

    def say_frame(self, payload: bytes) -> None:
        """Queue one frame with exactly this payload, after what is queued."""
        self._sender.say_frame(payload)

    def press(self, digits: str) -> None:
        """Queue digits, 100 ms apart; raise `LocalProtocolError` for an invalid one."""
        self._sender.press(digits)

    def send_raw(self, data: bytes) -> None:
        """Send any bytes immediately, and wait as long as needed for buffer space; for tests of bad clients."""
        if self._connection is not None and self._ended_by is None:
            self._connection.send_all(data)

    def hang_up(self) -> None:
        """Send FIN, as Asterisk does, and read to the end of the stream (5 s at most) without checking it."""
        if self._dialling is None:
            self._finish("caller")
        elif self._reader is None:
            self._dialling.cancel()
        elif self._ended_by is None:
            self._reader.stop_checking()
            self._half_close("caller", CALLER_LINGER)

    def reset(self) -> None:
        """Send RST, as a broken network does."""
        if self._connection is not None and self.report is None:
            self._connection.reset()
            self._finish("caller")

    # Receiving.

    @property
    def heard(self) -> bytes:
        """All audio received so far; half a sample at the end of a frame is dropped."""
        return bytes(self._received.pcm)

    @property
    def heard_frames(self) -> list[HeardFrame]:
        """The audio frames received so far, each as it was sent."""
        return self._received.frames

    @property
    def heard_rate(self) -> int | None:
        """The rate of the latest frame in Hz; None before the first."""
        return self._received.last.rate if self._received.last else None

    @property
    def silent_for(self) -> float:
        """Seconds since the last sound, or since the connection was made."""
        return max(0.0, self._clock() - self._connected_at - self._received.sound_until_ms / 1000)

    @property
    def broken(self) -> tuple[BrokenRule, ...]:
        """The rules that the server has broken; the call ends with the first one."""
        return (self._reader.broken,) if self._reader and self._reader.broken else ()

    def until_heard(self, what: int | Callable[[bytes], bool]) -> Deferred[None]:
        """Wait for ``what`` bytes of audio, or until ``what(heard)`` is true; fail with `CallFailed`."""
        if isinstance(what, int):
            wanted = what
            return self.until(lambda: len(self._received.pcm) >= wanted)
        predicate = what
        return self.until(lambda: predicate(self.heard))

    def until_said(self) -> Deferred[None]:
        """Wait until everything queued was sent; fail with `CallFailed` if the call ends before."""
        return self.until(lambda: self._sender.idle)

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Wait until ``condition()`` is true; fail with `CallFailed` if the call ends before.

        The condition is checked now, after each read and on each tick.
        """
        return self._waiting.until(condition)

    # Connecting.

    async def _dial(self, host: str, port: int) -> None:
        began = self._connected_at = self._clock()
        try:
            self._connection, empty_at = await connect(self._reactor, host, port, self._clock, self._send_buffer)
        except CancelledError:
            self._finish("caller")
            raise CallFailed("hung up before the call was connected", self.report) from None
        except OSError as error:
            why = f"cannot be reached at {host} port {port}: {error.strerror or error}"
            self._finish("failed", (BrokenRule(Rule.UNREACHABLE, (self._clock() - began) * 1000, why),))
            raise CallFailed(f"the server {why}", self.report) from None
        self._connected_at = self._clock()
        self._connected_ms = (self._connected_at - began) * 1000
        self._reader = AsteriskReader(self._connected_at, empty_at)
        self._connection.attach(self._read)
        if self._identify:
            self._send(self._connection, self._reader, uuid_frame(self.call_id))
            self._reader.identified(self._clock())
        self._sender.start(self._connected_at)
        self._at("tick", self._sender.next_at, self._tick)

    # The call.

    def _tick(self) -> None:
        self._read()
        if self._connection is None or self._reader is None or self._ended_by is not None:
            return
        for message in self._sender.due(self._clock()):
            self._send(self._connection, self._reader, message)
            if self._ended_by is not None:
                return
        self._at("tick", self._sender.next_at, self._tick)
        self._waiting.check()

    def _send(self, connection: Connection, reader: AsteriskReader, message: bytes) -> None:
        sent = connection.send(message)
        if sent < len(message):
            reader.not_reading(self._clock(), sent, len(message))
            self._check(reader)

    def _read(self) -> None:
        """Read what the kernel has, and check the rules also where it has nothing."""
        if self._connection is None or self._reader is None or self.report is not None:
            return
        for _ in range(READS_PER_TURN):
            before = self._clock()
            try:
                data = self._connection.receive()
            except OSError as error:
                # EPIPE: the server's FIN came before the reset, which answers what we sent after that.
                self._closed(self._reader, reset=error.errno != errno.EPIPE)
                return
            if data is None:
                self._reader.nothing_to_read(before)
                break
            if not data:
                self._closed(self._reader, reset=False)
                return
            for frame in self._reader.receive(data, self._clock()):
                self._received.add(frame)
                if self._on_heard is not None:
                    self._on_heard(frame)
            if self._reader.next_read is None:
                break
        self._check(self._reader)

    def _check(self, reader: AsteriskReader) -> None:
        if reader.broken is not None:
            self._finish("rule")
        elif reader.hung_up and self._ended_by is None:
            self._half_close("server", SERVER_LINGER)
        else:
            if reader.next_read is not None:
                self._at("read", reader.next_read, self._read)
            self._waiting.check()

    def _closed(self, reader: AsteriskReader, *, reset: bool) -> None:
        now = self._clock()
        reader.ended(now, reset=reset)
        closed_after = 0.0 if self._ended_by is None else (now - self._ended_at) * 1000
        self._finish("rule" if reader.broken else "server", closed_after=closed_after)

    # The end.

    def _half_close(self, ended_by: EndedBy, linger: float) -> None:
        """Half-close, and read the rest of the stream for ``linger`` seconds."""
        self._ended_by, self._ended_at = ended_by, self._clock()
        self._stop_timers()
        if self._connection is not None:
            self._connection.hang_up()
        self._at("linger", self._ended_at + linger, self._finish, ended_by)
        self._waiting.check()

    def _finish(
        self, ended_by: EndedBy, broken: tuple[BrokenRule, ...] = (), closed_after: float | None = None
    ) -> None:
        if self.report is not None:
            return
        if self._ended_by is None:
            self._ended_at = self._clock()
        if self._ended_by is None or self.broken:
            self._ended_by = ended_by
        self._stop_timers()
        if self._connection is not None:
            self._connection.close()
        self.report = summary(
            self._received,
            self._sender,
            call_id=self.call_id,
            connected_at=self._connected_at,
            broken=broken or self.broken,
            ended_by=self._ended_by,
            connected_ms=self._connected_ms,
            seconds=max(0.0, self._ended_at - self._connected_at),
            most_ahead_ms=self._reader.most_ahead_ms if self._reader else 0.0,
            closed_after_ms=closed_after,
        )
        self._waiting.end(_call_over(self.report))
        waiting, self._ended = self._ended, []
        for ended in waiting:
            ended.callback(self.report)

    def _at(self, name: str, when: float, what: Callable[..., None], *args: object) -> None:
        timer = self._timers.get(name)
        if timer is None or not timer.active():
            self._timers[name] = self._reactor.callLater(max(0.0, when - self._clock()), what, *args)

    def _stop_timers(self) -> None:
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._timers.clear()


def _call_over(report: CallReport) -> CallFailed:
    why = report.broken[0].sentence if report.broken else f"it was ended by the {report.ended_by}"
    return CallFailed(f"the call is over: {why}", report)
