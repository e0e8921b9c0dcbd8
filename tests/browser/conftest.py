"""What the tests of the operator page share: a Chromium, a page in it, and a server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import Console, browser
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page in English; in the end no script may have complained."""
    context = chromium.new_context(locale="en-GB", viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    console = Console(page)
    yield page
    context.close()
    lost = re.compile(r"Failed to load resource: net::ERR|status of (401|403|404|409|422|503)|CORS policy")
    assert [error for error in console.errors if not lost.search(error)] == []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "server") as started:
        yield started
