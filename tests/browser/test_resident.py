"""A whole visit in a real browser without Asterisk: the visitor in one tab, the resident in another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import Console, browser
from tests.support.porteiro_visits import APARTMENTS
from tests.support.ports import free_ports
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP_MS = 15_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser("--use-fake-device-for-media-stream") as started:
        yield started


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server as after an installation whose return calls ring on the page."""
    visitor, resident = free_ports(2)
    row = {"id": 1, "ramal_ia": "1000", "ramal_retorno": "1001", "porta_ia": visitor, "porta_retorno": resident}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "apartamentos.json").write_text(json.dumps(APARTMENTS))
    settings = {
        "RETURN_BACKEND": "browser",
        "RETURN_RING_SECONDS": "60",
        "WORKERS": getattr(request, "param", "1"),
    }
    with ServerProcess(tmp_path, settings, rows=[row], app="") as started:
        yield started


@pytest.fixture
def tabs(chromium: Browser, server: ServerProcess) -> Iterator[BrowserContext]:
    """Tabs in English that may use the microphone, closed before the server; no script may have complained."""
    context = chromium.new_context(locale="en-GB", permissions=["microphone"])
    consoles: list[Console] = []
    context.on("page", lambda page: consoles.append(Console(page)))
    yield context
    context.close()
    assert [error for console in consoles for error in console.errors] == []


def tab(tabs: BrowserContext, server: ServerProcess) -> Page:
    page = tabs.new_page()
    page.goto(f"http://127.0.0.1:{server.api_port}/?plain-microphone")
    page.locator("#extensions tbody th", has_text="1000").wait_for()
    return page


def calls(page: Page) -> None:
    """Call extension 1000 as a visitor, and ask for apartment 101."""
    page.locator("#phone-number").fill("1000")
    page.locator("#phone-call").click()
    page.locator("#phone-state", has_text="In a call").wait_for(timeout=SETUP_MS)
    for key in "#101#":
        page.get_by_role("button", name=f"Key {key}", exact=True).click()


def rings_here(page: Page) -> None:
    """Let return calls ring here."""
    page.locator("#resident-on").check()


def the_call(server: ServerProcess) -> dict[str, Any]:
    """The call with its timeline."""
    (call,) = server.api("/api/calls")["calls"]
    return dict(server.api(f"/api/calls/{call['call_id']}")["call"])


@pytest.mark.parametrize("server", ["1", "2"], ids=["one process", "two workers"], indirect=True)
def test_one_person_plays_a_whole_visit_in_two_tabs(tabs: BrowserContext, server: ServerProcess) -> None:
    resident, visitor = tab(tabs, server), tab(tabs, server)
    rings_here(resident)
    resident.locator("#resident-state", has_text="Waiting").wait_for()
    calls(visitor)
    resident.locator("#resident-state", has_text="1003030 rings").wait_for(timeout=SETUP_MS)
    resident.locator("#resident-answer").click()
    resident.locator("#phone-state", has_text="In a call").wait_for(timeout=SETUP_MS)
    for _ in range(100):
        if the_call(server)["outcome"]:
            break
        if resident.locator("#phone-hang-up").is_visible():
            resident.get_by_role("button", name="Key 1", exact=True).click()
        resident.wait_for_timeout(200)
    call = the_call(server)
    assert call["outcome"] == "authorised"
    assert [leg["role"] for leg in call["legs"]] == ["visitor", "resident"]
    assert [(one["number"], one["end"]) for one in call["return"]["attempts"]] == [("1003030", "answered")]
    resident.locator("#phone-note", has_text="The call has ended").wait_for(timeout=SETUP_MS)
    resident.locator("#resident-state", has_text="Waiting").wait_for()


def test_a_resident_who_rejects_is_not_connected(tabs: BrowserContext, server: ServerProcess) -> None:
    visitor = tab(tabs, server)
    calls(visitor)
    resident = tab(tabs, server)  # opened while it rings
    rings_here(resident)
    resident.locator("#resident-state", has_text="1003030 rings").wait_for(timeout=SETUP_MS)
    resident.locator("#resident-reject").click()
    resident.locator("#resident-state", has_text="refused").wait_for()
    (attempt,) = the_call(server)["return"]["attempts"]
    assert attempt["end"] == "refused"
    visitor.locator("#phone-hang-up").click()
