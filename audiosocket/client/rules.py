"""What Asterisk accepts from an AudioSocket server, as a function of bytes and times, without sockets or clocks.

The rules are those of ``res_audiosocket.c`` and ``app_audiosocket.c`` of Asterisk 22, measured on 22.10.1, and
some stricter ones (see `Rule`), so that a server that passes here works with Asterisk.

On a busy machine the client itself is late, which must not count against the server. So a frame is never late
because of when it was read: lateness is found only in `AsteriskReader.nothing_to_read`, called when the kernel had
no data, and time in which the kernel was not asked does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from audiosocket.wire import HANGUP, HEADER_BYTES, RATES, SAMPLE_BYTES, Audio, Parser

#: Seconds that Asterisk waits for the rest of a frame after each read (``ast_wait_for_input(svc, 5)``).
PAYLOAD_TIMEOUT = 0.005
#: Seconds a header may stay partial. Asterisk itself waits without limit, and reads nothing of its caller
#: meanwhile.
HEADER_TIMEOUT = 1.0
#: Seconds from our UUID to the server's first frame, and between any two; Asterisk's own limit is 2.0 for both.
FIRST_FRAME_TIMEOUT = 0.5
FRAME_TIMEOUT = 1.9
#: Milliseconds a frame may be sent before its time; servers should stay within 100.
MAX_AHEAD_MS = 120.0
#: Milliseconds of the longest frame that Asterisk can transcode to u-law: 16,192 bytes, 1.012 s.
MAX_FRAME_MS = 16_192 / SAMPLE_BYTES / 8
#: Seconds between two reads; what exceeds it is our own lateness and does not count.
READ_INTERVAL = 0.040


class Rule(Enum):
    """A rule for servers; the value is its stable name, `consequence` what happens when it is broken."""

    WRONG_KIND = "wrong-kind"
    EMPTY_AUDIO = "empty-audio"
    SPLIT_FRAME = "split-frame"
    PARTIAL_HEADER = "partial-header"
    CUT_FRAME = "cut-frame"
    OVERSIZED_FRAME = "oversized-frame"
    AHEAD_OF_TIME = "ahead-of-time"
    AFTER_HANGUP = "data-after-hangup"
    RESET = "reset"
    NOT_READING = "not-reading"
    NO_FIRST_FRAME = "no-first-frame"
    SILENT_GAP = "silent-gap"
    UNREACHABLE = "unreachable"

    @property
    def consequence(self) -> str:
        """What Asterisk does then, or why the rule is stricter than Asterisk."""
        return _CONSEQUENCES[self]


_CONSEQUENCES = {
    Rule.WRONG_KIND: "Asterisk ends the call on anything but audio (0x10-0x18) and hangup (0x00)",
    Rule.EMPTY_AUDIO: "Asterisk ends the call on an audio frame without samples",
    Rule.SPLIT_FRAME: "Asterisk waits 5 ms for the rest of a frame, then ends the call: write frames whole",
    Rule.PARTIAL_HEADER: "Asterisk waits for the rest without limit and does not read its caller meanwhile",
    Rule.CUT_FRAME: "Asterisk treats the unfinished frame as an error and hangs up its caller",
    Rule.OVERSIZED_FRAME: "Asterisk drops a frame too long to transcode without a message: send 20 ms frames",
    Rule.AHEAD_OF_TIME: "Asterisk passes audio on immediately and phones drop what is early: send in real time",
    Rule.AFTER_HANGUP: "the hangup frame (0x00) is the last one of a call",
    Rule.RESET: "Asterisk hangs up its caller on a reset: send 0x00, read to the end, then close",
    Rule.NOT_READING: "Asterisk ends the call when a write does not fit: never stop reading",
    Rule.NO_FIRST_FRAME: "a silent server can stall Asterisk: send silence from the UUID on",
    Rule.SILENT_GAP: "Asterisk hangs up its caller after 2 s without a frame: send silence",
    Rule.UNREACHABLE: "Asterisk hangs up its caller when it cannot connect within 2 s",
}


@dataclass(frozen=True)
class BrokenRule:
    """A rule that the server broke ``at_ms`` milliseconds into the call; ``what`` is what it did."""

    rule: Rule
    at_ms: float
    what: str

    @property
    def name(self) -> str:
        """The stable name, ``split-frame`` for instance."""
        return self.rule.value

    @property
    def sentence(self) -> str:
        """What the server did and what Asterisk does then, as a sentence."""
        return f"the server {self.what}; {self.rule.consequence}"


class HeardFrame(NamedTuple):
    """One audio frame of the server: when it was read (ms into the call), its rate in Hz and its payload."""

    at_ms: float
    rate: int
    pcm: bytes

    @property
    def ms(self) -> float:
        """The duration in ms; half a sample at the end does not count, as in Asterisk."""
        return len(self.pcm) // SAMPLE_BYTES * 1000 / self.rate


class AsteriskReader:
    """A decoder of what the server sends that works as Asterisk's and finds the first rule that is broken.

    All times are seconds of one monotonic clock. Every ``at_ms`` counts from ``connected_at``; ``empty_at`` is the
    latest time at which the server certainly had sent nothing.
    """

    def __init__(self, connected_at: float, empty_at: float | None = None) -> None:
        self.broken: BrokenRule | None = None
        self.hung_up = False
        self.most_ahead_ms = 0.0
        self._connected_at = connected_at
        self._empty_at = connected_at if empty_at is None else empty_at
        self._checking = True
        self._frame_timeout: float | None = None
        self._parser = Parser(expect_identity=False)
        self._rest = b""
        self._read_at = self._observed_at = connected_at
        self._without_frame = self._without_header = 0.0
        self._first_frame_from: float | None = None
        self._received_ms = 0.0

    @property
    def next_read(self) -> float | None:
        """The latest time of the next read where a frame is incomplete, else None."""
        return self._read_at + PAYLOAD_TIMEOUT if len(self._rest) >= HEADER_BYTES else None

    def identified(self, now: float) -> None:
        """Require frames of the server from ``now``, when our UUID was sent."""
        self._without_frame, self._observed_at = 0.0, now
        self._frame_timeout = FIRST_FRAME_TIMEOUT if self._first_frame_from is None else FRAME_TIMEOUT

    def stop_checking(self) -> None:
        """Check no more rules: after a hangup Asterisk does not see what the server does."""
        self._checking = False

    def receive(self, data: bytes, now: float) -> list[HeardFrame]:
        """Return the frames completed by ``data``; ``now`` is taken after the read."""
        self._observe(now)
        self._read_at = now
        if self.hung_up:
            self._break(Rule.AFTER_HANGUP, now, f"sent {len(data)} bytes after its hangup frame")
        frames: list[HeardFrame] = []
        buffer, start = self._rest + data, 0
        while not self._ended and len(buffer) - start >= HEADER_BYTES:
            end = start + HEADER_BYTES + int.from_bytes(buffer[start + 1 : start + HEADER_BYTES], "big")
            self._check_header(buffer[start], end - start - HEADER_BYTES, len(buffer) - start, now)
            if self._ended or end > len(buffer):
                break
            for event in self._parser.receive(buffer[start:end]):
                if isinstance(event, Audio):
                    frames.append(self._frame(HeardFrame(self._ms(now), event.rate, event.pcm), now))
            start = end
        if start or not self._rest:
            self._without_header = 0.0
        self._rest = b"" if self._ended else buffer[start:]
        return frames

    def nothing_to_read(self, now: float) -> None:
        """Check the time-outs when the kernel had no data; ``now`` is taken before the read."""
        self._observe(now)
        self._empty_at = max(self._empty_at, now)
        missing = len(self._rest)
        if missing >= HEADER_BYTES and now - self._read_at >= PAYLOAD_TIMEOUT:
            length = int.from_bytes(self._rest[1:HEADER_BYTES], "big")
            self._break(
                Rule.SPLIT_FRAME,
                now,
                f"sent the header of a frame and {missing - HEADER_BYTES} of its {length} bytes, "
                f"then nothing for {(now - self._read_at) * 1000:.0f} ms",
            )
        elif 0 < missing < HEADER_BYTES and self._without_header >= HEADER_TIMEOUT:
            waited = self._without_header
            self._break(
                Rule.PARTIAL_HEADER, now, f"sent {missing} of 3 header bytes, then none for {waited:.1f} s"
            )
        elif self._frame_timeout is not None and self._without_frame > self._frame_timeout and not self.hung_up:
            waited = self._without_frame
            if self._first_frame_from is None:
                self._break(
                    Rule.NO_FIRST_FRAME, now, f"sent no frame in the first {waited * 1000:.0f} ms of the call"
                )
            else:
                self._break(Rule.SILENT_GAP, now, f"sent no frame for {waited:.2f} s")

    def ended(self, now: float, *, reset: bool) -> None:
        """The server closed the connection, or reset it."""
        if self.hung_up:
            return
        if reset:
            self._break(Rule.RESET, now, "reset the connection (RST)")
        elif self._rest:
            self._break(Rule.CUT_FRAME, now, f"closed the connection {len(self._rest)} bytes into a message")

    def not_reading(self, now: float, sent: int, size: int) -> None:
        """Report that only ``sent`` of ``size`` bytes could be written: the server's buffers and ours are full."""
        self._break(Rule.NOT_READING, now, f"does not read: {sent} of the {size} bytes of a frame could be sent")

    @property
    def _ended(self) -> bool:
        return self.hung_up or self.broken is not None

    def _ms(self, now: float) -> float:
        return (now - self._connected_at) * 1000

    def _observe(self, now: float) -> None:
        observed = min(max(now - self._observed_at, 0.0), READ_INTERVAL)
        self._without_frame += observed
        self._without_header += observed
        self._observed_at = max(now, self._observed_at)

    def _check_header(self, kind: int, length: int, waiting: int, now: float) -> None:
        if kind == HANGUP:
            self.hung_up = True
            if waiting > HEADER_BYTES:
                extra = waiting - HEADER_BYTES
                self._break(Rule.AFTER_HANGUP, now, f"sent {extra} bytes after its hangup frame")
        elif kind not in RATES:
            self._break(Rule.WRONG_KIND, now, f"sent a message of kind 0x{kind:02x} and {length} bytes")
        elif not length:
            self._break(Rule.EMPTY_AUDIO, now, f"sent an audio message of kind 0x{kind:02x} and length 0")
        elif length // SAMPLE_BYTES * 1000 / RATES[kind] > MAX_FRAME_MS:
            self._break(Rule.OVERSIZED_FRAME, now, f"sent a frame of {length} bytes at {RATES[kind]} Hz")

    def _frame(self, frame: HeardFrame, now: float) -> HeardFrame:
        if self._first_frame_from is None:
            # The frame was sent after this time, so counting from it cannot overstate how early the server is.
            self._first_frame_from = self._empty_at
        ahead = self._received_ms - (now - self._first_frame_from) * 1000
        self.most_ahead_ms = max(self.most_ahead_ms, ahead)
        if ahead > MAX_AHEAD_MS:
            self._break(Rule.AHEAD_OF_TIME, now, f"sent a frame {ahead:.0f} ms before its time")
        self._received_ms += frame.ms
        self._without_frame = 0.0
        if self._frame_timeout is not None:
            self._frame_timeout = FRAME_TIMEOUT
        return frame

    def _break(self, rule: Rule, now: float, what: str) -> None:
        if self.broken is None and self._checking:
            self.broken = BrokenRule(rule, self._ms(now), what)
