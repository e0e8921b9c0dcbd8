"""Tokens of API_TOKENS_FILE on a running server: SIGHUP, and what ends with a token; one process and several."""

from __future__ import annotations

import os
import signal
from hashlib import sha256
from http.client import HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from twisted.internet.threads import deferToThread

from audiosocket.outbound.endpoints import Endpoints
from audiosocket.outbound.websocket import WebSocketClient
from tests.support.loopback_server import reactor, until
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.deadline(60)


def lines(**tokens: str) -> str:
    """The file with these tokens, by name; all may do everything."""
    return "".join(f"{name} {sha256(token.encode()).hexdigest()} admin\n" for name, token in tokens.items())


def write_unnoticed(file: Path, text: str) -> None:
    """Write text of the same length so that the file seems unchanged: only SIGHUP makes the server read it."""
    before = file.stat()
    assert len(text) == before.st_size
    with file.open("r+", encoding="ascii") as opened:
        opened.write(text)
        opened.flush()
        os.utime(opened.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))


def opened(server: ServerProcess, path: str, token: str) -> HTTPResponse:
    """Send a request with a token; the answer is not read yet."""
    url, headers = f"http://127.0.0.1:{server.api_port}{path}", {"Authorization": f"Bearer {token}"}
    answer = urlopen(Request(url, headers=headers), timeout=30)
    assert isinstance(answer, HTTPResponse)
    return answer


def status(server: ServerProcess, token: str) -> int:
    """Return how a request with this token is answered."""
    try:
        with opened(server, "/api/problems", token) as answer:
            return answer.status
    except HTTPError as error:
        with error:
            return error.code


class Phone:
    """A telephone of the API; ``code`` is that of its closing, once it is closed."""

    def __init__(self, server: ServerProcess, token: str, query: str) -> None:
        url, headers = f"ws://127.0.0.1:{server.api_port}/api/phone?{query}", {"Authorization": f"Bearer {token}"}
        self.client = WebSocketClient(url, self, Endpoints(reactor).for_url(url), reactor, headers=headers)
        self.texts: list[str] = []
        self.code: int | None = None

    def opened(self) -> None:
        """Nothing is sent."""

    def message(self, message: str | bytes) -> None:
        """Keep texts."""
        if isinstance(message, str):
            self.texts.append(message)

    def closed(self, code: int, reason: str) -> None:
        """Keep the code."""
        self.code = code


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_hup_reads_the_tokens_and_what_an_old_one_opened_ends(tmp_path: Path, workers: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(lines(anna="first", boss="other"), encoding="ascii")
    with ServerProcess(tmp_path, {"API_TOKENS_FILE": str(file), "WORKERS": workers}, app="echo") as server:
        assert (status(server, "first"), status(server, "other"), status(server, "second")) == (200, 200, 401)
        events = opened(server, "/api/events", "first")
        phone, kept = Phone(server, "first", "extension=1000"), Phone(server, "other", "extension=1000")
        for one in (phone, kept):
            await one.client.connect()
        await until(lambda: all('"connected"' in "".join(one.texts) for one in (phone, kept)))
        write_unnoticed(file, lines(anna="second", boss="other"))
        assert status(server, "second") == 401
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: status(server, "second") == 200)
        assert status(server, "first") == 401
        await until(lambda: phone.code is not None)
        assert phone.code == 1008
        assert kept.code is None
        await kept.client.close()  # the stream ends with the next event, here that of a call that has ended
        await deferToThread(events.read)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_damaged_file_at_hup_leaves_the_tokens_as_they_are(tmp_path: Path, workers: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(lines(anna="first"), encoding="ascii")
    with ServerProcess(tmp_path, {"API_TOKENS_FILE": str(file), "WORKERS": workers}) as server:
        file.write_text("anna first admin\n", encoding="ascii")
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: "the tokens that were read before stay in force" in server.log())
        with opened(server, "/api/problems", "first") as answer:
            assert b"tokensRejected" in answer.read()
        assert "first" not in server.log()
