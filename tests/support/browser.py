"""Chromium driven by Playwright, where both are installed, and what the tests of the operator page share."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.server_process import checkout_environment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: Milliseconds that the page has to show a change of the server.
SHOWN_MS = 3000


@contextmanager
def browser(*options: str) -> Iterator[Browser]:
    """Give a Chromium; skip the test, saying why, where there is none."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install '.[browser]'"
    )
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        # Chromium's sandbox does not work for root; the pages are our own.
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox", *options])
        try:
            yield started
        finally:
            started.close()


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
