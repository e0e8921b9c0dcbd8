"""Chromium driven by Playwright, where both are installed, and what the tests of the operator page share."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from tests.support.ports import free_ports
from tests.support.server_process import ServerProcess, checkout_environment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: Milliseconds that the page has to show a change of the server.
SHOWN_MS = 3000
#: Milliseconds for what a test does itself, such as starting a call.
SETUP_MS = 10_000


@contextmanager
def browser(*options: str) -> Iterator[Browser]:
    """Give a Chromium; skip the test, saying why, where there is none."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install '.[browser]'"
    )
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    # Chromium's sandbox does not work for root; the pages are our own.
    without = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=[*without, *options])
        try:
            yield started
        finally:
            started.close()


def axe_core() -> str:
    """Return the script of axe-core; skip the test where it is not installed."""
    package = find_spec("axe_playwright_python")
    if package is None or package.origin is None:
        pytest.skip("axe-core is not installed: pip install '.[browser]'")
    return Path(package.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def serious(page: Page) -> list[str]:
    """What axe finds that is serious or worse, and where."""
    found = page.evaluate("async () => (await axe.run(document)).violations")
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]


class Console:
    """Everything that a page's scripts complained about."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console", lambda line: self.errors.append(line.text) if line.type in {"error", "warning"} else None
        )


@contextmanager
def phone_call(port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Give a call to a port by ``audiosocket.dial`` in a process of its own; hang up in the end."""
    command = [sys.executable, "-m", "audiosocket.dial", f"127.0.0.1:{port}", "--seconds", "60", *options]
    process = subprocess.Popen(
        command,
        env=checkout_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def open_page(page: Page, server: ServerProcess, rest: str = "") -> None:
    """Open the operator page and wait until it is live."""
    page.goto(f"http://127.0.0.1:{server.api_port}/{rest}")
    page.locator("#connection-text", has_text="Live").wait_for()


def until_answering(page: Page, server: ServerProcess) -> None:
    """Wait until the API of a server answers that was started without waiting."""
    for _ in range(200):
        try:
            server.api("/api/status")
        except OSError:
            page.wait_for_timeout(100)
        else:
            return
    raise AssertionError(server.stdout())


def problem(page: Page, key: str) -> Any:
    """Return the place of a problem in the page."""
    return page.locator(f'[data-problem="{key}"]')


def rows(count: int) -> list[dict[str, Any]]:
    """Return extensions for the local file, with free ports."""
    ports = free_ports(2 * count)
    return [
        {"id": i + 1, "ramal_ia": str(1000 + i), "porta_ia": ports[2 * i], "porta_retorno": ports[2 * i + 1]}
        for i in range(count)
    ]


def short_call(port: int, call_id: UUID) -> None:
    """Place a call, wait until it is answered, and end it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as caller:
        caller.sendall(b"\x01\x00\x10" + call_id.bytes)
        assert caller.recv(1)
