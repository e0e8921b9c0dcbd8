"""Ordinary calls that measure how evenly the server's frames come."""

from __future__ import annotations

import select
import socket
import time
import uuid
from dataclasses import dataclass

from audiosocket.wire import audio_frame, frame_bytes, uuid_frame

FRAME_SECONDS = 0.02
SETTLE_SECONDS = 0.5


@dataclass
class Gaps:
    """The distances between the frames of all calls."""

    frames: int = 0
    late: int = 0
    longest_ms: float = 0.0

    @property
    def late_percent(self) -> float:
        """Frames that came late, of 100."""
        return 100 * self.late / max(1, self.frames)


def listen(port: int, calls: int, seconds: float, late_ms: float) -> Gaps:
    """Hold ``calls`` calls that send 50 frames/s, and return the gaps between the frames they hear."""
    silence = audio_frame(8_000, bytes(frame_bytes(8_000)))
    peers = [_call(port) for _ in range(calls)]
    poller = select.epoll()
    heard: dict[int, float] = {}
    by_number = {peer.fileno(): peer for peer in peers}
    for number in by_number:
        poller.register(number, select.EPOLLIN)
    gaps, begin = Gaps(), time.monotonic()
    counted_from, ends, send_at = begin + SETTLE_SECONDS, begin + SETTLE_SECONDS + seconds, begin
    while (now := time.monotonic()) < ends:
        if now >= send_at:
            send_at += FRAME_SECONDS
            for peer in peers:
                peer.send(silence)
        for number, _ in poller.poll(max(0.0, send_at - time.monotonic())):
            size = len(by_number[number].recv(1 << 16))
            if not size:
                raise ConnectionError("the server ended a neighbour's call")
            now = time.monotonic()
            last, heard[number] = heard.get(number, now), now
            if now < counted_from:
                continue
            gap = (now - last) * 1000
            gaps.frames += max(1, size // len(silence))
            gaps.late += gap > late_ms
            gaps.longest_ms = max(gaps.longest_ms, gap)
    for peer in peers:
        peer.close()
    poller.close()
    return gaps


def _call(port: int) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port))
    peer.sendall(uuid_frame(uuid.uuid4()))
    return peer
