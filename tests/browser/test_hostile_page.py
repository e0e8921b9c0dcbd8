"""What a page of another origin can do to an operator who is signed in: nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser


pytestmark = [pytest.mark.browser, pytest.mark.slow]


class _HostilePage(BaseHTTPRequestHandler):
    """An empty page without any policy."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def hostile_address() -> Iterator[str]:
    """The address of a page of another origin, but of the same site: a browser sends our cookie along."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _HostilePage) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{other.server_port}/"
        other.shutdown()
        thread.join()


ATTEMPTS = """async target => {
    const attempt = async (path, options) => {
        try {
            return (await fetch(target + path, {credentials: 'include', ...options})).type
        } catch {
            return 'refused'
        }
    }
    const socket = address => new Promise(done => {
        const one = new WebSocket(address)
        one.onopen = () => done('open')
        one.onerror = () => done('refused')
    })
    const body = '{"extension_id": 1}'
    const frame = document.createElement('iframe')
    frame.src = target + '/'
    document.body.append(frame)
    await new Promise(done => { frame.onload = done })
    return {
        read: await attempt('/api/status', {}),
        post: await attempt('/api/restart', {method: 'POST', body}),
        simple: await attempt('/api/restart', {method: 'POST', mode: 'no-cors', body}),
        phone: await socket(target.replace('http', 'ws') + '/api/phone?extension=1000'),
        framed: Boolean(frame.contentDocument),
    }
}"""


def test_a_page_of_another_origin_reads_nothing_and_does_nothing(
    chromium: Browser, hostile_address: str, tmp_path: Path
) -> None:
    """Not even with the cookie of an operator who is signed in."""
    with ServerProcess(tmp_path / "server", {"API_TOKEN": "open sesame, said nobody"}) as server:
        page = chromium.new_page()
        ours = f"http://127.0.0.1:{server.api_port}"
        page.goto(ours)
        page.locator("#sign-in input").fill("open sesame, said nobody")
        page.locator("#sign-in input").press("Enter")
        page.locator("#extensions tbody th", has_text="1000").wait_for()
        page.goto(hostile_address)
        found = page.evaluate(ATTEMPTS, ours)
        page.close()
        assert found == {
            "read": "refused",
            "post": "refused",
            "simple": "refused",
            "phone": "refused",
            "framed": False,
        }
        assert "restart" not in server.log()
        assert server.api("/api/calls")["total"] == 0
