"""Many calls with numbered frames in a process of their own, which counts lost and altered frames.

    python -m tests.support.numbered_calls CALLS PORT [PORT …] [--of INDEX/WORKERS] [--new PER_SECOND]

Connects CALLS calls spread over the ports, prints ``up``, sends each a numbered frame every 20 ms until
standard input closes, waits for the echoes and prints one JSON object. Frames the server adds (silence)
are skipped; of ours, each must come back once, whole, in order. With ``--of`` all calls are those of one worker.
With ``--new`` so many further calls begin each second, and end when they have heard something. ``longest_gap_ms``
is the longest time in which a call got nothing at all, ``slowest_answer_ms`` the longest until a new call did.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from audiosocket.wire import Audio, Parser, audio_frame, uuid_frame
from audiosocket.workers.affinity import owner

FRAME_SECONDS = 0.02
MARK = b"NUMB"
BODY = struct.Struct("<4sII")
#: Seconds to wait for the remaining echoes after the last frame was sent.
DRAIN_SECONDS = 3.0


@dataclass
class NumberedCall:
    """One call, and the counts of its echo."""

    number: int
    sock: socket.socket
    parser: Parser = field(default_factory=lambda: Parser(expect_identity=False))
    sent: int = 0
    echoed: int = 0
    lost: int = 0
    wrong: int = 0
    ended: bool = False
    #: When something came last, and the longest time between two.
    heard_at: float = 0.0
    gap: float = 0.0

    def payload(self, sequence: int) -> bytes:
        """Return 320 bytes that differ from every other frame of every call."""
        head = BODY.pack(MARK, self.number, sequence)
        return head + bytes((self.number + sequence + i) & 0xFF for i in range(320 - len(head)))

    def send_frame(self) -> None:
        """Send the next frame as Asterisk does: in one write, or end the call."""
        frame = audio_frame(8000, self.payload(self.sent))
        try:
            whole = self.sock.send(frame) == len(frame)
        except OSError:
            whole = False
        if whole:
            self.sent += 1
        else:
            self.ended = True

    def read(self) -> None:
        """Read and check what was received."""
        try:
            data = self.sock.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.ended = True
        now = time.monotonic()
        if self.heard_at:
            self.gap = max(self.gap, now - self.heard_at)
        self.heard_at = now
        for event in self.parser.receive(data):
            if isinstance(event, Audio) and event.pcm.startswith(MARK):
                self._check(event.pcm)

    def _check(self, pcm: bytes) -> None:
        number, sequence = BODY.unpack_from(pcm)[1:]
        if number != self.number or sequence < self.echoed or pcm != self.payload(sequence):
            self.wrong += 1
            return
        self.lost += sequence - self.echoed
        self.echoed = sequence + 1


def call_ids(of: str = "") -> Iterator[UUID]:
    """Yield random UUIDs; with ``of`` those that belong to worker INDEX of WORKERS."""
    index, workers = (int(part) for part in (of or "0/1").split("/"))
    while True:
        call_id = uuid4()
        if owner(call_id, workers) == index:
            yield call_id


def connect(number: int, port: int, call_id: UUID) -> NumberedCall:
    """Return a connected call that has sent its UUID."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(uuid_frame(call_id))
    sock.setblocking(False)
    return NumberedCall(number, sock)


class NewCalls:
    """Calls that begin at a steady rate, and end once they have heard something."""

    def __init__(self, ports: list[int], per_second: float, poller: select.epoll) -> None:
        self._ports = ports
        self._every = 1 / per_second if per_second else 0.0
        self._poller = poller
        self._due = time.monotonic()
        self._waiting: dict[int, tuple[socket.socket, float]] = {}
        self.begun = self.refused = self.cut = self.answered = 0
        self.slowest = 0.0

    def begin(self) -> None:
        """Begin those that are due."""
        now = time.monotonic()
        while self._every and self._due <= now:
            self._due += self._every
            self.begun += 1
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", self._ports[self.begun % len(self._ports)]))
            self._waiting[sock.fileno()] = sock, now
            self._poller.register(sock.fileno(), select.EPOLLOUT)

    @property
    def waiting(self) -> int:
        """How many have heard nothing yet."""
        return len(self._waiting)

    def ready(self, fd: int, event: int) -> bool:
        """Go on with one of these calls; return false for the descriptor of another."""
        if fd not in self._waiting:
            return False
        sock, began = self._waiting[fd]
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.refused += 1
        elif event & select.EPOLLOUT:
            sock.send(uuid_frame(uuid4()))
            self._poller.modify(fd, select.EPOLLIN)
            return True
        elif _received(sock):
            self.answered += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
        else:
            self.cut += 1
        self._poller.unregister(fd)
        sock.close()
        del self._waiting[fd]
        return True

    def report(self) -> dict[str, int]:
        """Return the counts."""
        return {
            "new": self.begun,
            "refused": self.refused,
            "cut": self.cut,
            "unanswered": self.waiting,
            "slowest_answer_ms": round(self.slowest * 1000),
        }


def _received(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(65_536))
    except OSError:
        return False


def option(arguments: list[str], name: str) -> str:
    """Remove the option ``name`` from the arguments, and return its value, an empty text without it."""
    if name not in arguments:
        return ""
    at = arguments.index(name)
    value = arguments[at + 1]
    del arguments[at : at + 2]
    return value


def main(arguments: list[str]) -> None:
    """Run until standard input is closed."""
    of, per_second = option(arguments, "--of"), float(option(arguments, "--new") or 0)
    count, ports = int(arguments[0]), [int(port) for port in arguments[1:]]
    ids = call_ids(of)
    calls = [connect(number, ports[number % len(ports)], next(ids)) for number in range(count)]
    by_fd = {call.sock.fileno(): call for call in calls}
    with select.epoll() as poller:
        for fd in by_fd:
            poller.register(fd, select.EPOLLIN)
        poller.register(sys.stdin.fileno(), select.EPOLLIN | select.EPOLLHUP)
        print("up", flush=True)

        new = NewCalls(ports, per_second, poller)

        def listen(seconds: float) -> bool:
            told_to_stop = False
            for fd, event in poller.poll(max(0.0, seconds)):
                if fd == sys.stdin.fileno():
                    told_to_stop = True
                    continue
                if new.ready(fd, event):
                    continue
                by_fd[fd].read()
                if by_fd[fd].ended:
                    poller.unregister(fd)
            return told_to_stop

        start, turn, step, stop = time.monotonic(), 0, FRAME_SECONDS / count, False
        while not stop:
            due = start + turn * step
            if time.monotonic() < due:
                stop = listen(due - time.monotonic())
                continue
            call = calls[turn % count]
            if not call.ended:
                call.send_frame()
            new.begin()
            turn += 1
            if turn % 16 == 0:
                stop = listen(0)
        poller.unregister(sys.stdin.fileno())
        give_up = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < give_up and (
            new.waiting or any(call.echoed < call.sent for call in calls if not call.ended)
        ):
            listen(0.02)
    report = {
        "calls": count,
        "dropped_calls": sum(call.ended for call in calls),
        "sent": sum(call.sent for call in calls),
        "lost": sum(call.lost + call.sent - call.echoed for call in calls),
        "wrong": sum(call.wrong for call in calls),
        "longest_gap_ms": round(max(call.gap for call in calls) * 1000),
        **new.report(),
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
