"""Fifty open pages beside calls: streams of events and repeated questions cost no call a frame."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.server_process import ServerProcess, checkout_environment

pytestmark = pytest.mark.slow

PAGES, CALLS = 50, 60
SECONDS = 4.0
EVERY_SECONDS = 1.5
#: What a page asks for, as its script does.
ASKED = ("/api/status?extensions=false", "/api/problems", "/api/calls?state=live&limit=100")


class OpenPage(threading.Thread):
    """What one open page does: a stream of events, and its questions every 1.5 s."""

    def __init__(self, port: int, closed: threading.Event) -> None:
        super().__init__()
        self._port = port
        self._closed = closed
        self.answers: list[int] = []
        self.failure = ""
        self.stream = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.stream.sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        self.start()

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._closed.wait(EVERY_SECONDS):
            for path in ASKED:
                try:
                    connection.request("GET", path, headers={"Cache-Control": "max-age=1"})
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, HTTPException) as error:
                    self.failure = repr(error)
                    return
                self.answers.append(answer.status)
        connection.close()

    def until_told(self, text: bytes) -> bool:
        """Read the stream until it has said ``text``; return False when it ends before."""
        seen = b""
        with self.stream:
            while text not in seen:
                data = self.stream.recv(65_536)
                if not data:
                    return False
                seen += data
        return True


@contextmanager
def numbered_calls(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Calls in a process of their own, which count the frames that do not come back."""
    command = [sys.executable, "-m", "tests.support.numbered_calls", str(CALLS), str(port)]
    process = subprocess.Popen(
        command, env=checkout_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_fifty_open_pages_cost_no_call_a_frame(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, app="echo") as server, numbered_calls(server.visitor) as calls:
        closed = threading.Event()
        pages = [OpenPage(server.api_port, closed) for _ in range(PAGES)]
        try:
            threading.Event().wait(SECONDS)
            call_id = uuid4()
            with socket.create_connection(("127.0.0.1", server.visitor), timeout=10) as short:
                short.sendall(b"\x01\x00\x10" + call_id.bytes)
                assert short.recv(1)
            told = [page.until_told(str(call_id).encode()) for page in pages]
        finally:
            closed.set()
            for page in pages:
                page.join(15)
                page.stream.close()
        assert told == [True] * PAGES
        assert [page.failure for page in pages] == [""] * PAGES
        assert {status for page in pages for status in page.answers} == {200}
        report = json.loads(calls.communicate(b"", timeout=30)[0])
        assert (report["dropped_calls"], report["lost"], report["wrong"]) == (0, 0, 0), report
        assert report["sent"] > 0
