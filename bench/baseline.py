"""A first measurement: memory per quiet call, and processor time per frame, of our own server.

    python bench/baseline.py [--idle-calls 1000] [--calls 200] [--seconds 5] [--rounds 4]

Starts the server in a temporary directory (app ``echo``, default logging to its file), plays Asterisk for many
calls from one thread, and prints medians over the rounds. Server on processor 0, generator on 1, where
there are two. Absolute figures are for this machine and hour; only compare what ran side by side.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from audiosocket.wire import Audio, Parser, audio_frame, uuid_frame  # noqa: E402

FRAME_SECONDS = 0.02
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Caller:
    """One call of the generator."""

    sock: socket.socket
    parser: Parser = field(default_factory=lambda: Parser(expect_identity=False))
    sent: int = 0
    echoed: int = 0


def free_port() -> int:
    """A port nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_server() -> Iterator[tuple[int, int]]:
    """Our server in a directory of its own: (pid, visitor port)."""
    visitor, resident, api = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory, "data")
        data.mkdir()
        row = f'{{"id": 1, "ramal_ia": "1", "porta_ia": {visitor}, "porta_retorno": {resident}}}'
        Path(data, "ramais_config.json").write_text(f'{{"ramais": [{row}]}}')
        command = [sys.executable, "-m", "audiosocket", f"--api-port={api}", "--visitor-app=echo"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.DEVNULL) as server:
            try:
                pin(server.pid, 0)
                wait_for(visitor)
                yield server.pid, visitor
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(10)


def pin(pid: int, processor: int) -> None:
    """Keep a process on one processor, where there is more than one."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, {processor})


def wait_for(port: int) -> None:
    """Return when the port answers; raises TimeoutError after 10 s."""
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


def dial(port: int, count: int) -> list[Caller]:
    """``count`` connected calls that have said their UUID."""
    callers = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.send(uuid_frame(uuid4()))
        callers.append(Caller(sock))
    return callers


def read_all(poller: select.epoll, by_fd: dict[int, Caller], seconds: float) -> None:
    """Read what comes for a while, counting our own frames that come back."""
    for fd, _ in poller.poll(max(0.0, seconds)):
        caller = by_fd[fd]
        for event in caller.parser.receive(caller.sock.recv(65_536)):
            if isinstance(event, Audio) and event.pcm[0]:
                caller.echoed += 1


def processor_seconds(pid: int) -> float:
    """User and system time of the process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_kb(pid: int) -> int:
    """Resident memory of the process in kB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def listen_for(callers: list[Caller], seconds: float, speak: bool) -> None:
    """Hold the calls for a while; with ``speak`` each says a frame every 20 ms, spread over the 20 ms."""
    by_fd = {caller.sock.fileno(): caller for caller in callers}
    frame = audio_frame(8000, b"\x01" * 320)
    with select.epoll() as poller:
        for fd in by_fd:
            poller.register(fd, select.EPOLLIN)
        start = time.monotonic()
        step = FRAME_SECONDS / len(callers)
        turn = 0
        while time.monotonic() - start < seconds:
            due = start + turn * step
            if not speak:
                read_all(poller, by_fd, 0.01)
            elif time.monotonic() >= due:
                caller = callers[turn % len(callers)]
                caller.sock.send(frame)
                caller.sent += 1
                turn += 1
            else:
                read_all(poller, by_fd, due - time.monotonic())
        for _ in range(20 if speak else 0):
            read_all(poller, by_fd, 0.02)


def measure(idle_calls: int, calls: int, seconds: float) -> tuple[float, float, int]:
    """One round: kB per quiet call, microseconds of processor time per echoed frame, frames lost."""
    with running_server() as (pid, port):
        warm = dial(port, 100)
        listen_for(warm, 1.0, speak=False)
        before = resident_kb(pid)
        quiet = dial(port, idle_calls)
        listen_for(quiet, 1.5, speak=False)
        per_call = (resident_kb(pid) - before) / idle_calls
        for caller in [*warm, *quiet]:
            caller.sock.close()
        time.sleep(0.5)
        talking = dial(port, calls)
        listen_for(talking, 0.5, speak=True)
        for caller in talking:
            caller.sent = caller.echoed = 0
        start = processor_seconds(pid)
        listen_for(talking, seconds, speak=True)
        used = processor_seconds(pid) - start
        sent = sum(caller.sent for caller in talking)
        echoed = sum(caller.echoed for caller in talking)
        for caller in talking:
            caller.sock.close()
        return per_call, used / max(1, echoed) * 1e6, max(0, sent - echoed)


def main() -> None:
    """Run the rounds and print their medians."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--idle-calls", type=int, default=1000)
    arguments.add_argument("--calls", type=int, default=200)
    arguments.add_argument("--seconds", type=float, default=5.0)
    arguments.add_argument("--rounds", type=int, default=4)
    options = arguments.parse_args()
    pin(0, 1)
    rows = []
    for number in range(1, options.rounds + 1):
        row = measure(options.idle_calls, options.calls, options.seconds)
        rows.append(row)
        print(f"round {number}: {row[0]:.2f} kB per quiet call, {row[1]:.1f} us per echoed frame, {row[2]} lost")
    kb, us, lost = (statistics.median(column) for column in zip(*rows, strict=True))
    print(
        f"median of {len(rows)}: {kb:.2f} kB per quiet call, {us:.1f} us of processor time per echoed frame "
        f"({options.calls} calls at 50 frames/s), {lost:.0f} frames lost"
    )


if __name__ == "__main__":
    main()
