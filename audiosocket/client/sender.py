"""What the client sends and when: audio, exact frames and digits, on an absolute 20 ms grid."""

from __future__ import annotations

from collections import deque

from audiosocket.wire import FRAME_MS, audio_frame, digit_frame, frame_bytes

FRAME_SECONDS = FRAME_MS / 1000
#: Digits are 100 ms apart, in ticks of the grid.
DIGIT_TICKS = 5
#: Frames that Asterisk queues for a thread that is late (``Exceptionally long voice queue length``): 1.92 s.
MAX_BACKLOG = 96


class Sender:
    """The sending side of a call.

    With ``quiet`` nothing is sent where there is no audio (a muted caller), otherwise silence. When the client is
    late, everything that is due is sent at once, up to 1.92 s, as Asterisk does; beyond that the grid moves, so
    that nothing queued is lost. With ``queue_limit_ms``, audio that waits for longer than the first figure is cut
    to the second, its latest part kept.
    """

    def __init__(self, rate: int, *, quiet: bool, queue_limit_ms: tuple[int, int] | None = None) -> None:
        self.frames = 0
        self.digits = ""
        self.max_late = 0.0
        #: The time of the first frame that was not filled-in silence, None before.
        self.first_said_at: float | None = None
        self._rate = rate
        self._quiet = quiet
        self._frame_bytes = frame_bytes(rate)
        self._limit = None if queue_limit_ms is None else tuple(ms * rate // 1000 * 2 for ms in queue_limit_ms)
        self._silence = audio_frame(rate, bytes(self._frame_bytes))
        self._queue: deque[bytearray | bytes] = deque()
        self._digits_queue: deque[str] = deque()
        self._start = 0.0
        self._tick = 1
        self._next_digit_tick = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is queued."""
        return not self._queue and not self._digits_queue

    @property
    def next_at(self) -> float:
        """The time when the next frame is due; the first one is due 20 ms after `start`."""
        return self._start + self._tick * FRAME_SECONDS

    def start(self, now: float) -> None:
        """Start the grid at ``now``."""
        self._start = now

    def say(self, pcm: bytes) -> None:
        """Append audio of any length; the last frame is padded with silence if nothing follows in time."""
        if self._queue and isinstance(self._queue[-1], bytearray):
            self._queue[-1].extend(pcm)
        elif pcm:
            self._queue.append(bytearray(pcm))
        if self._limit is not None and self._queue and isinstance(self._queue[-1], bytearray):
            waiting = self._queue[-1]
            if len(waiting) > self._limit[0]:
                del waiting[: len(waiting) - self._limit[1]]

    def say_frame(self, payload: bytes) -> None:
        """Append one frame with exactly this payload; raise `LocalProtocolError` for an invalid one."""
        self._queue.append(audio_frame(self._rate, payload))

    def press(self, digits: str) -> None:
        """Append digits; raise `LocalProtocolError` for one that is not of ``0-9 * # A-D``."""
        for digit in digits:
            digit_frame(digit)
        self._digits_queue.extend(digits)

    def due(self, now: float) -> list[bytes]:
        """Return the messages to send now, each to be written whole."""
        self.max_late = max(self.max_late, now - self.next_at)
        excess = int((now - self.next_at) / FRAME_SECONDS) - MAX_BACKLOG
        if excess > 0:
            self._start += excess * FRAME_SECONDS
        messages: list[bytes] = []
        while self.next_at <= now:
            self._tick_once(messages, now)
            self._tick += 1
        return messages

    def _tick_once(self, messages: list[bytes], now: float) -> None:
        if self._digits_queue and self._tick >= self._next_digit_tick:
            digit = self._digits_queue.popleft()
            messages.append(digit_frame(digit))
            self.digits += digit
            self._next_digit_tick = self._tick + DIGIT_TICKS
        message = self._next_frame(now)
        if message is not None:
            messages.append(message)
            self.frames += 1

    def _next_frame(self, now: float) -> bytes | None:
        if not self._queue:
            return None if self._quiet else self._silence
        if self.first_said_at is None:
            self.first_said_at = now
        first = self._queue[0]
        if isinstance(first, bytes):
            self._queue.popleft()
            return first
        pcm = bytes(first[: self._frame_bytes])
        del first[: self._frame_bytes]
        if not first:
            self._queue.popleft()
        return audio_frame(self._rate, pcm.ljust(self._frame_bytes, b"\0"))
