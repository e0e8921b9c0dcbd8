"""A caller that behaves as Asterisk 22 does toward an AudioSocket server, and is stricter.

The same code is the test caller (`audiosocket.dial`) and the tests' fake Asterisk::

    caller = Caller(reactor)
    await caller.dial("127.0.0.1", 8080)      # connected, UUID sent
    caller.say(pcm)                           # leaves as 20 ms frames in real time
    caller.press("12#")
    await caller.until_heard(len(pcm))
    caller.hang_up()                          # FIN, as Asterisk does; never 0x00
    report = await caller.ended
    assert report.ok, report.broken

The rules are in `caller_rules`, what leaves when is in `caller_speech`, the socket is `caller_line`.
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
#: Reads in one look, 64 kB each: a flood cannot keep us from our own grid.
READS_PER_LOOK = 16


class CallFailed(AudioSocketError):
    """The call could not be placed, or ended before what was awaited happened; ``report`` says how."""

    def __init__(self, message: str, report: CallReport | None = None) -> None:
        super().__init__(message)
        self.report = report


class Caller:
    """One call to an AudioSocket server. Everything happens in real time on ``reactor``.

    ``rate`` is what the caller sends, in Hz; the server may answer at any other. ``quiet`` sends nothing when
    there is nothing to say (a muted caller) instead of silence. ``identify=False`` sends no UUID.
    ``send_buffer`` (bytes) makes a server that stops reading be noticed sooner than in minutes.
    ``keep_seconds`` bounds how much of what was heard is kept. Raises `LocalProtocolError` for a rate
    without a kind.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.call_id = call_id or uuid4()
        self.rate = rate
        self.report: CallReport | None = None
        self._reactor = reactor
        self._clock = clock
        self._identify = identify
        self._send_buffer = send_buffer
        self._speech = Sender(rate, quiet=quiet)
        self._hearing = ReceiveStats(keep_seconds)
        self._waiting = ConditionWaiter()
        self._listening: list[Deferred[CallReport]] = []
        self._dialling: Deferred[None] | None = None
        self._line: Connection | None = None
        self._reader: AsteriskReader | None = None
        self._timers: dict[str, IDelayedCall] = {}
        self._zero = 0.0
        self._connected_ms: float | None = None
        self._ended_by: EndedBy | None = None
        self._ended_at = 0.0

    def dial(self, host: str, port: int) -> Deferred[None]:
        """Connect (2 s for each address of ``host``) and send the UUID; fails with `CallFailed`."""
        if self._dialling is not None or self.report is not None:
            raise CallFailed("a Caller places one call; make another one", self.report)
        self._dialling = Deferred.fromCoroutine(self._dial(host, port))
        return self._dialling

    @property
    def ended(self) -> Deferred[CallReport]:
        """Fires with the report when the connection is closed; every access is a Deferred of its own."""
        ended: Deferred[CallReport] = Deferred()
        if self.report is not None:
            ended.callback(self.report)
        else:
            self._listening.append(ended)
        return ended

    # What the caller does.

    def say(self, pcm: bytes) -> None:
        """Queue audio at ``rate``; it leaves as 20 ms frames in real time."""
        self._speech.say(pcm)

    def say_frame(self, payload: bytes) -> None:
        """Queue one frame with exactly this payload, in order with the rest, one frame a tick."""
        self._speech.say_frame(payload)

    def press(self, digits: str) -> None:
        """Queue digits, 100 ms apart; raises `LocalProtocolError` for an impossible one."""
        self._speech.press(digits)

    def send_raw(self, data: bytes) -> None:
        """Send any bytes now, waiting for room as long as it takes; for hostile tests."""
        if self._line is not None and self._ended_by is None:
            self._line.send_patiently(data)

    def hang_up(self) -> None:
        """FIN, as Asterisk does, then read to the end of the stream (5 s at most). Nothing is judged any more."""
        if self._dialling is None:
            self._finish("caller")
        elif self._reader is None:
            self._dialling.cancel()
        elif self._ended_by is None:
            self._reader.stop_judging()
            self._part("caller", CALLER_LINGER)

    def reset(self) -> None:
        """RST, as a broken network does."""
        if self._line is not None and self.report is None:
            self._line.reset()
            self._finish("caller")

    # What the caller hears.

    @property
    def heard(self) -> bytes:
        """All audio heard so far, frame after frame; half a sample at the end of a frame is dropped."""
        return bytes(self._hearing.pcm)

    @property
    def heard_frames(self) -> list[HeardFrame]:
        """The audio frames heard so far, each as it was sent."""
        return self._hearing.frames

    @property
    def heard_rate(self) -> int | None:
        """The rate of the latest frame in Hz; None before the first."""
        return self._hearing.last.rate if self._hearing.last else None

    @property
    def silent_for(self) -> float:
        """Seconds for which nothing but silence has been heard, from the last sound or the connection on."""
        return max(0.0, self._clock() - self._zero - self._hearing.sound_until_ms / 1000)

    @property
    def broken(self) -> tuple[BrokenRule, ...]:
        """The rules the server has broken so far; the call ends with the first one."""
        return (self._reader.broken,) if self._reader and self._reader.broken else ()

    def until_heard(self, what: int | Callable[[bytes], bool]) -> Deferred[None]:
        """Fires when ``what`` bytes were heard, or when ``what(heard)`` is true; `CallFailed` if the call ends."""
        if isinstance(what, int):
            wanted = what
            return self.until(lambda: len(self._hearing.pcm) >= wanted)
        predicate = what
        return self.until(lambda: predicate(self.heard))

    def until_said(self) -> Deferred[None]:
        """Fires when nothing is left to say or to press; `CallFailed` if the call ends before."""
        return self.until(lambda: self._speech.idle)

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Fires when ``condition()`` is true, asked now, after each read and each tick; else `CallFailed`."""
        return self._waiting.until(condition)

    # Connecting.

    async def _dial(self, host: str, port: int) -> None:
        began = self._zero = self._clock()
        try:
            self._line, empty_at = await connect(self._reactor, host, port, self._clock, self._send_buffer)
        except CancelledError:
            self._finish("caller")
            raise CallFailed("hung up before the call was connected", self.report) from None
        except OSError as error:
            why = f"cannot be reached at {host} port {port}: {error.strerror or error}"
            self._finish("failed", (BrokenRule(Rule.UNREACHABLE, (self._clock() - began) * 1000, why),))
            raise CallFailed(f"the server {why}", self.report) from None
        self._zero = self._clock()
        self._connected_ms = (self._zero - began) * 1000
        self._reader = AsteriskReader(self._zero, empty_at)
        self._line.attach(self._look)
        if self._identify:
            self._send(self._line, self._reader, uuid_frame(self.call_id))
            self._reader.identified(self._clock())
        self._speech.start(self._zero)
        self._at("tick", self._speech.next_at, self._tick)

    # The call.

    def _tick(self) -> None:
        self._look()
        if self._line is None or self._reader is None or self._ended_by is not None:
            return
        for message in self._speech.due(self._clock()):
            self._send(self._line, self._reader, message)
            if self._ended_by is not None:
                return
        self._at("tick", self._speech.next_at, self._tick)
        self._waiting.ask()

    def _send(self, line: Connection, reader: AsteriskReader, message: bytes) -> None:
        sent = line.send(message)
        if sent < len(message):
            reader.not_reading(self._clock(), sent, len(message))
            self._judge(reader)

    def _look(self) -> None:
        """Read what there is, and ask the rules about what there is not."""
        if self._line is None or self._reader is None or self.report is not None:
            return
        for _ in range(READS_PER_LOOK):
            asked = self._clock()
            try:
                data = self._line.receive()
            except OSError as error:
                # EPIPE: the server's FIN was here before the reset, which answers what we still sent it.
                self._gone(self._reader, reset=error.errno != errno.EPIPE)
                return
            if data is None:
                self._reader.ran_dry(asked)
                break
            if not data:
                self._gone(self._reader, reset=False)
                return
            for frame in self._reader.receive(data, self._clock()):
                self._hearing.add(frame)
            if self._reader.next_look is None:
                break
        self._judge(self._reader)

    def _judge(self, reader: AsteriskReader) -> None:
        if reader.broken is not None:
            self._finish("rule")
        elif reader.hung_up and self._ended_by is None:
            self._part("server", SERVER_LINGER)
        else:
            if reader.next_look is not None:
                self._at("look", reader.next_look, self._look)
            self._waiting.ask()

    def _gone(self, reader: AsteriskReader, *, reset: bool) -> None:
        now = self._clock()
        reader.ended(now, reset=reset)
        closed_after = 0.0 if self._ended_by is None else (now - self._ended_at) * 1000
        self._finish("rule" if reader.broken else "server", closed_after=closed_after)

    # The end.

    def _part(self, ended_by: EndedBy, linger: float) -> None:
        """Half-close, and leave the rest of the stream some time to come in."""
        self._ended_by, self._ended_at = ended_by, self._clock()
        self._stop_timers()
        if self._line is not None:
            self._line.hang_up()
        self._at("linger", self._ended_at + linger, self._finish, ended_by)
        self._waiting.ask()

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
        if self._line is not None:
            self._line.close()
        self.report = summary(
            self._hearing,
            self._speech,
            call_id=self.call_id,
            zero=self._zero,
            broken=broken or self.broken,
            ended_by=self._ended_by,
            connected_ms=self._connected_ms,
            seconds=max(0.0, self._ended_at - self._zero),
            most_ahead_ms=self._reader.most_ahead_ms if self._reader else 0.0,
            closed_after_ms=closed_after,
        )
        self._waiting.end(_too_late(self.report))
        listening, self._listening = self._listening, []
        for ended in listening:
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


def _too_late(report: CallReport) -> CallFailed:
    why = report.broken[0].sentence if report.broken else f"the {report.ended_by} ended it"
    return CallFailed(f"the call is over: {why}", report)
