"""The client of the HTTP API: where it looks, what it sends, what it says of answers that are none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from audiosocket.cli.api import APIClient, Refused, Unreachable, find_api
from audiosocket.errors import InvalidSetting
from tests.support.ports import free_ports


class Answers(HTTPServer):
    """Answers each request with ``answer``: status, content type, body, and further headers."""

    answer: tuple[int, str, bytes, dict[str, str]] = (200, "application/json", b"{}", {})

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.requests: list[tuple[str, str | None]] = []
        self.languages: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answering(BaseHTTPRequestHandler):
    server: Answers

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Authorization"]))
        self.server.languages.append(self.headers["Accept-Language"])
        status, form, body, headers = self.server.answer
        self.send_response(status)
        for name, value in {"Content-Type": form, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Answers]:
    with Answers() as answers:
        thread = threading.Thread(target=answers.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield answers
        answers.shutdown()
        thread.join()


def test_the_settings_say_where_the_api_is() -> None:
    assert find_api({}) == APIClient("http://127.0.0.1:8082")
    assert find_api({"API_PORT": "9000", "API_TOKEN": "t"}) == APIClient("http://127.0.0.1:9000", "t")
    assert find_api({"API_HOST": "0.0.0.0", "API_TOKEN": "t"}).url == "http://127.0.0.1:8082"
    assert find_api({"API_HOST": "::", "API_TOKENS_FILE": "f"}).url == "http://[::1]:8082"
    assert find_api({"API_PORT": "9000"}, "https://door.example/audio/").url == "https://door.example/audio"
    assert "secret" not in repr(APIClient("http://localhost", "secret"))


def test_the_token_of_a_file_is_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\r\nmore\n")
    assert find_api({"API_TOKEN": "other"}, token_file=tmp_path / "token").token == "from-file"
    with pytest.raises(InvalidSetting, match=r"--token-file: .* cannot be read: No such file"):
        find_api({}, token_file=tmp_path / "none")


def test_the_token_is_that_of_the_server_in_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-the-server\n")
    given = {"API_TOKEN_FILE": str(tmp_path / "token"), "API_HOST": "0.0.0.0"}
    assert find_api(given).token == "from-the-server"
    with pytest.raises(InvalidSetting, match=r"API_TOKEN_FILE: .* cannot be read"):
        find_api({"API_TOKEN_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize(
    "url",
    ["door", "ftp://door", "http://user:secret@door", "http://door:port", "http://[door", "http://door\n/"],
)
def test_a_url_that_cannot_be_used_is_not_repeated(url: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        find_api({}, url)
    assert str(caught.value) == "--url: this is not a URL like http://127.0.0.1:8082"


def test_a_token_that_fits_no_header_is_rejected_without_being_repeated() -> None:
    with pytest.raises(InvalidSetting) as caught:
        find_api({"API_TOKEN": "segredo\r\nX: y"})
    assert "segredo" not in str(caught.value)


def test_the_token_is_sent_and_no_redirect_followed(server: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert APIClient(server.url, "t").get("/api/status") == {}
    assert server.requests == [("/api/status", "Bearer t")]
    assert server.languages == ["en"]  # the commands show the server's messages, and are English themselves
    server.answer = (302, "text/html", b"", {"Location": f"{server.url}/other"})
    with pytest.raises(Unreachable, match=r"not the HTTP API of an AudioSocket server \(it answered 302\)"):
        APIClient(server.url, "t").get("/api/status")
    assert len(server.requests) == 2


def test_errors_of_the_api(server: Answers) -> None:
    server.answer = (404, "application/json", b'{"status": "error", "message": "no such call"}', {})
    with pytest.raises(Refused, match="no such call") as caught:
        APIClient(server.url).get("/x")
    assert (caught.value.status, caught.value.body["status"]) == (404, "error")
    server.answer = (401, "application/json", b'{"status": "error", "message": "?"}', {})
    with pytest.raises(Refused, match="the token is missing: set API_TOKEN"):
        APIClient(server.url).get("/x")
    with pytest.raises(Refused, match="the token is wrong: set API_TOKEN"):
        APIClient(server.url, "wrong").get("/x")


@pytest.mark.parametrize("body", [b"<html>", b"\xff", b""])
def test_another_program_at_the_address(server: Answers, body: bytes) -> None:
    server.answer = (200, "application/json", body, {})
    with pytest.raises(Unreachable, match="is not the HTTP API"):
        APIClient(server.url).get("/x")


def test_no_server_says_what_to_start() -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unreachable) as caught:
        APIClient(f"http://127.0.0.1:{port}").get("/x")
    assert str(caught.value) == (
        f"no server answers at http://127.0.0.1:{port}: Connection refused. Start it (audiosocket run), "
        "or name another address (--url, API_HOST, API_PORT)"
    )
