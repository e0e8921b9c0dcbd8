"""Statistics of the audio received in a call, and the report of a call."""

from __future__ import annotations

import math
import sys
from array import array
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from audiosocket.client.rules import BrokenRule, HeardFrame
from audiosocket.client.sender import Sender
from audiosocket.media.pcm import FULL_SCALE
from audiosocket.wire import FRAME_MS, SAMPLE_BYTES

#: A frame whose largest sample is below this is silence: -60 dBFS, above G.711's encoding of zero.
SILENCE_PEAK = 32

EndedBy = Literal["caller", "server", "rule", "failed"]


def peak(pcm: bytes) -> int:
    """Return the largest absolute sample of ``pcm``, 0 to 32,768."""
    if not pcm.strip(b"\0"):
        return 0
    samples = array("h", pcm[: len(pcm) // SAMPLE_BYTES * SAMPLE_BYTES])
    if sys.byteorder == "big":
        samples.byteswap()
    return max(max(samples, default=0), -min(samples, default=0))


class ReceiveStats:
    """Statistics of all audio frames received; ``keep_seconds`` limits the audio kept, not the counts."""

    def __init__(self, keep_seconds: float | None = None) -> None:
        self.frames: list[HeardFrame] = []
        self.pcm = bytearray()
        self.count = 0
        self.ms = 0.0
        self.sound_ms = 0.0
        self.peak = 0
        #: The end of the last frame with sound, ms into the call; 0 before the first.
        self.sound_until_ms = 0.0
        self.largest_gap_ms = 0.0
        self.late = 0
        self.first: HeardFrame | None = None
        self.last: HeardFrame | None = None
        self._keep_ms = math.inf if keep_seconds is None else keep_seconds * 1000

    def add(self, frame: HeardFrame) -> None:
        """Count one frame, and keep its audio within the limit."""
        if self.last is None:
            self.first = frame
        else:
            gap = frame.at_ms - self.last.at_ms
            self.largest_gap_ms = max(self.largest_gap_ms, gap)
            self.late += gap > self.last.ms + FRAME_MS
        if self.ms < self._keep_ms:
            self.frames.append(frame)
            self.pcm += frame.pcm[: len(frame.pcm) // SAMPLE_BYTES * SAMPLE_BYTES]
        loudest = peak(frame.pcm)
        self.peak = max(self.peak, loudest)
        if loudest >= SILENCE_PEAK:
            self.sound_ms += frame.ms
            self.sound_until_ms = frame.at_ms + frame.ms
        self.count += 1
        self.ms += frame.ms
        self.last = frame

    @property
    def frames_per_second(self) -> float:
        """Frames per second between the first frame and the last; 0 for frames read at one time."""
        if self.first is None or self.last is None or self.last.at_ms <= self.first.at_ms:
            return 0.0
        return (self.count - 1) * 1000 / (self.last.at_ms - self.first.at_ms)


@dataclass(frozen=True)
class CallReport:
    """One call as the client saw it; milliseconds count from the time the connection was made.

    ``largest_gap_ms`` and ``late_frames`` (more than 20 ms late) are as read by this process, whose own largest
    delay was ``own_lateness_ms``. ``closed_after_ms`` is how long after the end of the call the server closed the
    connection: 0 when that was the end, None when it had not closed before the client stopped waiting.
    """

    call_id: UUID
    broken: tuple[BrokenRule, ...]
    ended_by: EndedBy
    connected_ms: float | None
    seconds: float
    frames_sent: int
    digits_sent: str
    first_said_ms: float | None
    frames_heard: int
    first_frame_ms: float | None
    heard_rate: int | None
    seconds_heard: float
    seconds_sound: float
    peak: int
    frames_per_second: float
    largest_gap_ms: float
    late_frames: int
    most_ahead_ms: float
    own_lateness_ms: float
    closed_after_ms: float | None

    @property
    def ok(self) -> bool:
        """Whether no rule was broken and the connection was made."""
        return not self.broken and self.ended_by != "failed"

    @property
    def refused(self) -> bool:
        """Whether the server hung up before it sent any audio."""
        return self.ended_by == "server" and self.frames_heard == 0

    @property
    def seconds_silence(self) -> float:
        """Seconds of the received audio in which no sample was above -60 dBFS."""
        return self.seconds_heard - self.seconds_sound

    @property
    def silence_only(self) -> bool:
        """Whether frames were received, all of them silence."""
        return self.frames_heard > 0 and self.seconds_sound == 0

    @property
    def peak_dbfs(self) -> float:
        """The largest sample in dB relative to full scale; minus infinity for digital silence."""
        return 20 * math.log10(self.peak / FULL_SCALE) if self.peak else -math.inf


def summary(
    received: ReceiveStats,
    sender: Sender,
    *,
    call_id: UUID,
    connected_at: float,
    broken: tuple[BrokenRule, ...],
    ended_by: EndedBy,
    connected_ms: float | None,
    seconds: float,
    most_ahead_ms: float,
    closed_after_ms: float | None,
) -> CallReport:
    """Return the report of a call that was connected at ``connected_at`` (seconds of the client's clock)."""
    first_said_at = sender.first_said_at
    return CallReport(
        call_id=call_id,
        broken=broken,
        ended_by=ended_by,
        connected_ms=connected_ms,
        seconds=seconds,
        frames_sent=sender.frames,
        digits_sent=sender.digits,
        first_said_ms=None if first_said_at is None else (first_said_at - connected_at) * 1000,
        frames_heard=received.count,
        first_frame_ms=received.first.at_ms if received.first else None,
        heard_rate=received.last.rate if received.last else None,
        seconds_heard=received.ms / 1000,
        seconds_sound=received.sound_ms / 1000,
        peak=received.peak,
        frames_per_second=received.frames_per_second,
        largest_gap_ms=received.largest_gap_ms,
        late_frames=received.late,
        most_ahead_ms=most_ahead_ms,
        own_lateness_ms=sender.max_late * 1000,
        closed_after_ms=closed_after_ms,
    )
