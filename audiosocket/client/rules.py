"""What Asterisk accepts from an AudioSocket server, without sockets or clocks: bytes and times in, verdict out.

The rules are those of ``res_audiosocket.c`` and ``app_audiosocket.c`` of Asterisk 22, measured on 22.10.1, and
some that are stricter (`Rule` says which), so that a server that passes here passes there.

A busy machine makes the caller late, and that must never be blamed on the server. Hence: nothing is called
late because of when it was read. Lateness is only ever declared in `AsteriskReader.ran_dry`, which says that
somebody looked into the kernel at that moment and found nothing, and time in which nobody looked does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from audiosocket.wire import HANGUP, HEADER_BYTES, RATES, SAMPLE_BYTES, Audio, Parser

#: Seconds Asterisk waits for the rest of a frame each time it has run dry (``ast_wait_for_input(svc, 5)``).
PAYLOAD_PATIENCE = 0.005
#: Seconds a header may stay partial. Asterisk itself waits without limit, deaf to its caller meanwhile.
HEADER_PATIENCE = 1.0
#: Seconds from our UUID to the server's first frame, and between any two; Asterisk's own limit is 2.0 for both.
FIRST_FRAME_PATIENCE = 0.5
FRAME_PATIENCE = 1.9
#: Milliseconds a frame may begin before its time; servers are meant to stay within 100.
MAX_AHEAD_MS = 120.0
#: Milliseconds of the longest frame that Asterisk could still transcode to u-law: 16,192 bytes, 1.012 s.
MAX_FRAME_MS = 16_192 / SAMPLE_BYTES / 8
#: Seconds between two looks into the kernel; what exceeds it is our own lateness and counts for nobody.
LOOK_INTERVAL = 0.040


class Rule(Enum):
    """What a server can break; the value is the stable name, `consequence` what it means for a call."""

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
        """What Asterisk does about it, or why this is stricter than Asterisk."""
        return _CONSEQUENCES[self]


_CONSEQUENCES = {
    Rule.WRONG_KIND: "Asterisk ends the call on anything but audio (0x10-0x18) and hangup (0x00)",
    Rule.EMPTY_AUDIO: "Asterisk ends the call on an audio frame without samples",
    Rule.SPLIT_FRAME: "Asterisk waits 5 ms for the rest of a frame, then ends the call: write frames whole",
    Rule.PARTIAL_HEADER: "Asterisk waits for the rest without limit and is deaf to its caller meanwhile",
    Rule.CUT_FRAME: "Asterisk takes the unfinished frame for an error and hangs up its caller",
    Rule.OVERSIZED_FRAME: "Asterisk silently loses a frame too long to transcode: send 20 ms frames",
    Rule.AHEAD_OF_TIME: "Asterisk passes audio on at once and phones drop what comes early: pace at real time",
    Rule.AFTER_HANGUP: "the hangup message (0x00) is the last one of a call",
    Rule.RESET: "Asterisk hangs up its caller on a reset: send 0x00, read to the end, then close",
    Rule.NOT_READING: "Asterisk ends the call when a write does not fit: never stop reading",
    Rule.NO_FIRST_FRAME: "a silent server can stall Asterisk: send silence from the UUID on",
    Rule.SILENT_GAP: "Asterisk hangs up its caller after 2 s without a frame: send silence",
    Rule.UNREACHABLE: "Asterisk hangs up its caller when it cannot connect within 2 s",
}


@dataclass(frozen=True)
class BrokenRule:
    """One rule the server broke ``at_ms`` milliseconds into the call; ``what`` says what it did."""

    rule: Rule
    at_ms: float
    what: str

    @property
    def name(self) -> str:
        """The stable name, ``split-frame`` for instance."""
        return self.rule.value

    @property
    def sentence(self) -> str:
        """What the server did and what Asterisk does about it, for people."""
        return f"the server {self.what}; {self.rule.consequence}"


class HeardFrame(NamedTuple):
    """One audio frame of the server: when it was read (ms into the call), its rate in Hz and its payload."""

    at_ms: float
    rate: int
    pcm: bytes

    @property
    def ms(self) -> float:
        """Milliseconds of audio; half a sample at the end does not count, as in Asterisk."""
        return len(self.pcm) // SAMPLE_BYTES * 1000 / self.rate


class AsteriskReader:
    """Decodes what the server sends as Asterisk would and remembers the first rule it breaks.

    All times are seconds of one monotonic clock. ``connected_at`` is the zero of every ``at_ms``;
    ``empty_at`` is the latest moment at which the server certainly had sent nothing.
    """

    def __init__(self, connected_at: float, empty_at: float | None = None) -> None:
        self.broken: BrokenRule | None = None
        self.hung_up = False
        self.most_ahead_ms = 0.0
        self._zero = connected_at
        self._empty_at = connected_at if empty_at is None else empty_at
        self._judging = True
        self._patience: float | None = None
        self._parser = Parser(expect_identity=False)
        self._rest = b""
        self._read_at = self._looked_at = connected_at
        self._without_frame = self._without_header = 0.0
        self._first_frame_from: float | None = None
        self._heard_ms = 0.0

    @property
    def next_look(self) -> float | None:
        """When to look into the kernel at the latest because a frame is unfinished; None: in its own time."""
        return self._read_at + PAYLOAD_PATIENCE if len(self._rest) >= HEADER_BYTES else None

    def identified(self, now: float) -> None:
        """Our UUID went out at ``now``: from here on the server owes frames."""
        self._without_frame, self._looked_at = 0.0, now
        self._patience = FIRST_FRAME_PATIENCE if self._first_frame_from is None else FRAME_PATIENCE

    def stop_judging(self) -> None:
        """The caller has hung up: Asterisk would not see what the server does from now on."""
        self._judging = False

    def receive(self, data: bytes, now: float) -> list[HeardFrame]:
        """The frames completed by ``data``; ``now`` is taken after the read that returned it."""
        self._observe(now)
        self._read_at = now
        if self.hung_up:
            self._break(Rule.AFTER_HANGUP, now, f"sent {len(data)} bytes after its hangup message")
        frames: list[HeardFrame] = []
        buffer, start = self._rest + data, 0
        while not self._deaf and len(buffer) - start >= HEADER_BYTES:
            end = start + HEADER_BYTES + int.from_bytes(buffer[start + 1 : start + HEADER_BYTES], "big")
            self._judge_header(buffer[start], end - start - HEADER_BYTES, len(buffer) - start, now)
            if self._deaf or end > len(buffer):
                break
            for event in self._parser.receive(buffer[start:end]):
                if isinstance(event, Audio):
                    frames.append(self._frame(HeardFrame(self._ms(now), event.rate, event.pcm), now))
            start = end
        if start or not self._rest:
            self._without_header = 0.0
        self._rest = b"" if self._deaf else buffer[start:]
        return frames

    def ran_dry(self, now: float) -> None:
        """Nothing waited in the kernel; ``now`` is taken before asking it."""
        self._observe(now)
        self._empty_at = max(self._empty_at, now)
        missing = len(self._rest)
        if missing >= HEADER_BYTES and now - self._read_at >= PAYLOAD_PATIENCE:
            length = int.from_bytes(self._rest[1:HEADER_BYTES], "big")
            self._break(
                Rule.SPLIT_FRAME,
                now,
                f"sent the header of a frame and {missing - HEADER_BYTES} of its {length} bytes, "
                f"then nothing for {(now - self._read_at) * 1000:.0f} ms",
            )
        elif 0 < missing < HEADER_BYTES and self._without_header >= HEADER_PATIENCE:
            waited = self._without_header
            self._break(
                Rule.PARTIAL_HEADER, now, f"sent {missing} of 3 header bytes, then none for {waited:.1f} s"
            )
        elif self._patience is not None and self._without_frame > self._patience and not self.hung_up:
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
        """Our write of ``size`` bytes took only ``sent``: the server's buffers and ours are full."""
        self._break(Rule.NOT_READING, now, f"does not read: {sent} of the {size} bytes of a frame could be sent")

    @property
    def _deaf(self) -> bool:
        return self.hung_up or self.broken is not None

    def _ms(self, now: float) -> float:
        return (now - self._zero) * 1000

    def _observe(self, now: float) -> None:
        watched = min(max(now - self._looked_at, 0.0), LOOK_INTERVAL)
        self._without_frame += watched
        self._without_header += watched
        self._looked_at = max(now, self._looked_at)

    def _judge_header(self, kind: int, length: int, waiting: int, now: float) -> None:
        if kind == HANGUP:
            self.hung_up = True
            if waiting > HEADER_BYTES:
                extra = waiting - HEADER_BYTES
                self._break(Rule.AFTER_HANGUP, now, f"sent {extra} bytes after its hangup message")
        elif kind not in RATES:
            self._break(Rule.WRONG_KIND, now, f"sent a message of kind 0x{kind:02x} and {length} bytes")
        elif not length:
            self._break(Rule.EMPTY_AUDIO, now, f"sent an audio message of kind 0x{kind:02x} and length 0")
        elif length // SAMPLE_BYTES * 1000 / RATES[kind] > MAX_FRAME_MS:
            self._break(Rule.OVERSIZED_FRAME, now, f"sent a frame of {length} bytes at {RATES[kind]} Hz")

    def _frame(self, frame: HeardFrame, now: float) -> HeardFrame:
        if self._first_frame_from is None:
            # It came after this: counting from here can only make the server look less early.
            self._first_frame_from = self._empty_at
        ahead = self._heard_ms - (now - self._first_frame_from) * 1000
        self.most_ahead_ms = max(self.most_ahead_ms, ahead)
        if ahead > MAX_AHEAD_MS:
            self._break(Rule.AHEAD_OF_TIME, now, f"sent a frame {ahead:.0f} ms before its time")
        self._heard_ms += frame.ms
        self._without_frame = 0.0
        if self._patience is not None:
            self._patience = FRAME_PATIENCE
        return frame

    def _break(self, rule: Rule, now: float, what: str) -> None:
        if self.broken is None and self._judging:
            self.broken = BrokenRule(rule, self._ms(now), what)
