"""One call whose frames are numbered and carry the time they left, and what is counted of all calls."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from uuid import UUID

from audiosocket.wire import HANGUP_FRAME, Audio, Parser, audio_frame, frame_bytes, uuid_frame

RATE = 8_000
FRAME_SECONDS = 0.02
LATE_SECONDS = 0.04
CONNECT_SECONDS = 5.0
#: How long a call waits for its last frames to come back.
DRAIN_SECONDS = 3.0
MARK = b"NUMBERED"
#: Mark, call, frame of the call, seconds when it left.
HEAD = struct.Struct(">8sIId")


@dataclass
class Totals:
    """What is counted of all calls of a process; frames that the server adds (silence) are not."""

    calls: int = 0
    #: Connections that could not be made.
    refused: int = 0
    #: Calls that the server ended, or whose socket took no whole frame.
    dropped: int = 0
    sent: int = 0
    back: int = 0
    #: Frames that had not come back when their call ended.
    lost: int = 0
    #: Frames that came back changed, twice or out of order.
    altered: int = 0
    #: Times that a call heard nothing for more than 40 ms between two frames.
    late: int = 0
    #: Frames that left more than 20 ms behind their time, because this process or the machine was busy.
    behind: int = 0
    longest_gap_ms: float = 0.0
    #: The most that a frame took to come back; after a stall the echo keeps up to 100 ms of it.
    longest_round_trip_ms: float = 0.0

    def as_json(self) -> dict[str, float]:
        """Return the counts by name."""
        return asdict(self)


class NumberedCall:
    """A connected call; ``lasts`` seconds from now it stops to send. `OSError` when it cannot connect."""

    def __init__(self, number: int, port: int, call_id: UUID, totals: Totals, lasts: float) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=CONNECT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(uuid_frame(call_id))
        self.socket.setblocking(False)
        self.ends = time.monotonic() + lasts
        self._number = number
        self._totals = totals
        self._parser = Parser(expect_identity=False)
        self._rest = call_id.bytes * (frame_bytes(RATE) // len(call_id.bytes))
        self._sent = self._next = 0
        self._heard = 0.0
        totals.calls += 1

    @property
    def waiting(self) -> bool:
        """Whether frames have not come back yet."""
        return self._next < self._sent

    def over(self, now: float) -> bool:
        """Return whether the call has sent all its frames and got them back, or waited long enough for them."""
        return now >= self.ends and (not self.waiting or now >= self.ends + DRAIN_SECONDS)

    def send(self, now: float) -> None:
        """Send the next frame as Asterisk does: in one write, or the call is broken."""
        frame = audio_frame(RATE, self._payload(self._sent, now))
        try:
            whole = self.socket.send(frame) == len(frame)
        except OSError:
            whole = False
        if whole:
            self._sent += 1
            self._totals.sent += 1
        else:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)  # `read` sees the end

    def read(self, now: float) -> bool:
        """Check what has come; return False when the server has ended the call."""
        try:
            data = self.socket.recv(65_536)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        for event in self._parser.receive(data):
            if isinstance(event, Audio):
                self._hear(now)
                if event.pcm.startswith(MARK):
                    self._check(event.pcm, now)
        return bool(data)

    def close(self, *, hang_up: bool) -> None:
        """End the call, with a hangup frame before that or without, and count what has not come back."""
        self._totals.lost += self._sent - self._next
        with suppress(OSError):
            if hang_up:
                self.socket.send(HANGUP_FRAME)
        self.socket.close()

    def _payload(self, sequence: int, now: float) -> bytes:
        head = HEAD.pack(MARK, self._number, sequence, now)
        return head + self._rest[len(head) :]

    def _hear(self, now: float) -> None:
        gap, self._heard = now - (self._heard or now), now
        self._totals.late += gap > LATE_SECONDS
        self._totals.longest_gap_ms = max(self._totals.longest_gap_ms, round(gap * 1000, 1))

    def _check(self, pcm: bytes, now: float) -> None:
        _, _, sequence, left = HEAD.unpack_from(pcm)
        if sequence < self._next or pcm != self._payload(sequence, left):
            self._totals.altered += 1
            return
        self._totals.lost += sequence - self._next
        self._totals.back += 1
        self._next = sequence + 1
        took = round((now - left) * 1000, 1)
        self._totals.longest_round_trip_ms = max(self._totals.longest_round_trip_ms, took)
