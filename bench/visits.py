"""200 visits to the app porteiro at once: late turns of the clock, with the app and without it, and memory.

Every visitor speaks, types an apartment and is answered by a resident, who refuses: each visit goes through all
stages within `VISIT_SECONDS`. The same sockets and frames then meet the app play.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

from audiosocket.media.soundfile import read_wav
from audiosocket.prompts.library import SHIPPED
from audiosocket.wire import audio_frame, digit_frame, uuid_frame
from bench import machine
from bench.scenarios import Bench
from bench.servers import Server, ours
from bench.statistics import Sample

VISITS = 200
VISIT_SECONDS = 16.0
FRAME_SECONDS = 0.02
#: When a visitor speaks and types, when the resident comes, and when the resident refuses, in seconds.
SPEAKS_AT, TYPES_AT, COMES_AT, MEASURED_AT, REFUSES_AT = 5.0, 8.0, 9.0, 11.0, 14.0
PORTEIRO = {"VISITOR_APP": "porteiro", "RESIDENT_APP": "porteiro", "RETURN_RING_SECONDS": "60"}
PLAY = {"VISITOR_APP": "play", "RESIDENT_APP": "play", "PLAY_THEN": "loop", "ACCEPT_UNEXPECTED_RESIDENT": "true"}
SILENT = audio_frame(8_000, bytes(320))


def visits(bench: Bench) -> Sample:
    """Return late turns per million with the app and without, and the memory of a visit."""
    seconds = bench.seconds(VISIT_SECONDS)
    with_app = _run(PORTEIRO, seconds)
    without = _run(PORTEIRO | PLAY, seconds)
    return {
        "late": with_app["late"],
        "late_without": without["late"],
        "cpu": with_app["cpu"],
        "cpu_without": without["cpu"],
        "kb_per_visit": with_app["kb"],
        "kb_per_visit_without": without["kb"],
    }


def _run(settings: dict[str, str], seconds: float) -> dict[str, float]:
    with ours(settings) as server:
        empty, cpu = _resident_kb(server.pid), _cpu_seconds(server.pid)
        with _generator() as generator, machine.on_core(machine.GENERATOR_CORE):
            busy = generator.run(server, seconds)
        late = _status(server)["late_turns_total"]
        return {
            "late": float(late),
            "cpu": (_cpu_seconds(server.pid) - cpu) / seconds,
            "kb": (busy - empty) / VISITS,
        }


class _Generator:
    """All sockets of all visits, in one thread."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        pcm = read_wav(SHIPPED / "pt_BR" / "authorised.wav", 8_000)
        self._speech = [audio_frame(8_000, pcm[at : at + 320]) for at in range(0, len(pcm) - 320, 320)]

    def run(self, server: Server, seconds: float) -> float:
        """Go through all visits; return the server's memory in kB while they were there."""
        calls = [uuid4() for _ in range(VISITS)]
        visitors = [self._connect(server.ports[0], uuid_frame(call_id)) for call_id in calls]
        residents: list[socket.socket] = []
        begin, turn, busy = time.monotonic(), 0, 0.0
        while (now := time.monotonic() - begin) < seconds:
            spoken = int((now - SPEAKS_AT) / FRAME_SECONDS)
            speaking = self._speech[spoken] if 0 <= spoken < len(self._speech) else SILENT
            for one in visitors:
                self._send(one, speaking)
            for one in residents:
                self._send(one, SILENT)
            if _once(turn, TYPES_AT):
                for key in "#101#":
                    for one in visitors:
                        self._send(one, digit_frame(key))
            if _once(turn, COMES_AT):
                residents = [self._connect(server.ports[1], uuid_frame(call_id)) for call_id in calls]
            if _once(turn, MEASURED_AT):
                busy = _resident_kb(server.pid)
            if _once(turn, REFUSES_AT):
                for one in residents:
                    self._send(one, digit_frame("2"))
            turn += 1
            self._drain(begin + turn * FRAME_SECONDS)
        return busy or _resident_kb(server.pid)

    def close(self) -> None:
        """Hang up all."""
        for one in self._sockets:
            one.close()
        self._selector.close()

    def _connect(self, port: int, first: bytes) -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", port))
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setblocking(False)
        self._sockets.append(connected)
        self._selector.register(connected, selectors.EVENT_READ)
        self._send(connected, first)
        return connected

    def _send(self, one: socket.socket, data: bytes) -> None:
        with suppress(OSError):
            one.send(data)

    def _drain(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                try:
                    ended = not one.recv(65_536)
                except OSError:
                    ended = True
                if ended:
                    self._selector.unregister(one)


@contextmanager
def _generator() -> Iterator[_Generator]:
    made = _Generator()
    try:
        yield made
    finally:
        made.close()


def _once(turn: int, seconds: float) -> bool:
    return turn == round(seconds / FRAME_SECONDS)


def _status(server: Server) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{server.api}/api/status", timeout=10) as answer:
        found: dict[str, float] = json.load(answer)
    return found


def _resident_kb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1024


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
