"""What an operator sees in a real browser: calls, one call, events; and signing in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.support.browser import SETUP_MS, SHOWN_MS, open_page, phone_call, short_call
from tests.support.server_process import ServerProcess, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page


#: Whether the bar of what is said to the first leg has a length.
LEVEL = "() => parseInt(document.querySelector('#calls tbody .out').style.getPropertyValue('--part')) > 0"

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_call_is_shown_opened_by_its_link_and_hung_up(page: Page, server: ServerProcess) -> None:
    open_page(page, server)
    page.get_by_text("No call is going on.").wait_for()
    with phone_call(server.visitor) as caller:
        link = page.locator("#calls tbody button.link")
        link.wait_for(timeout=SETUP_MS)
        link.click()
        page.locator("#one-call svg rect.leg.visitor").wait_for()
        address = page.url
        assert re.search(r"#/calls/[0-9a-f-]{36}$", address)
        page.keyboard.press("Escape")
        page.locator("#one-call").wait_for(state="hidden")
        assert "#/calls" not in page.url
        page.goto(address)
        page.locator("#one-call .facts", has_text=address[-36:]).wait_for()
        page.locator('#one-call [data-act="hangUp"]').click()
        page.locator('#question [name="reason"]').fill("gate blocked")
        page.locator("#question button.danger").click()
        page.locator("#one-call .facts", has_text="hung up by an operator").wait_for(timeout=SHOWN_MS)
        assert caller.wait(10) == 0
    assert wait_until(lambda: "gate blocked" in server.log(), 5)
    page.keyboard.press("Escape")
    page.locator("#ended tbody", has_text="hung up by an operator").wait_for(timeout=SHOWN_MS)
    page.locator("#calls-empty", has_text="No call is going on.").wait_for(timeout=SHOWN_MS)


def test_signing_in(page: Page, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "server", {"API_TOKEN": "open sesame, said nobody"}) as server:
        page.goto(f"http://127.0.0.1:{server.api_port}/")
        token = page.locator("#sign-in input")
        token.fill("wrong")
        token.press("Enter")
        page.locator("#sign-in .failure", has_text="token").wait_for(timeout=SHOWN_MS)
        token.fill("open sesame, said nobody")
        token.press("Enter")
        page.locator("#connection-text", has_text="Live").wait_for(timeout=SHOWN_MS)


def test_events_are_shown_as_they_happen_with_those_before(page: Page, server: ServerProcess) -> None:
    with phone_call(server.visitor):
        page.wait_for_timeout(1500)
        open_page(page, server)
        page.locator("#events tbody", has_text="call began").wait_for(timeout=SETUP_MS)
    page.locator("#events tbody", has_text="call ended").wait_for(timeout=SHOWN_MS)
    page.locator("#events-filter").fill("call.ended")
    page.locator("#events-count", has_text=re.compile(r"^1 / \d+$")).wait_for()
    page.locator("#events tbody button.link").first.click()
    page.locator("#one-call .facts", has_text="caller hung up").wait_for()


def test_a_call_has_its_levels_its_speech_and_its_digits(page: Page, server: ServerProcess) -> None:
    """The server plays its welcome and then what it hears: there is sound below and above the line."""
    with phone_call(server.visitor, "--digits", "12#"):
        open_page(page, server)
        page.locator("#calls tbody .levels i.out").first.wait_for(timeout=SETUP_MS)
        page.wait_for_function(LEVEL, timeout=SETUP_MS)
        page.locator("#calls tbody button.link").click()
        page.locator("#one-call svg rect.said").first.wait_for(timeout=SETUP_MS)
        page.locator("#one-call svg .digit-text", has_text="#").wait_for(timeout=SETUP_MS)


def test_ended_calls_are_searched_and_paged(page: Page, server: ServerProcess) -> None:
    uuids = [UUID(f"00000000-0000-4000-8000-0000000000{number:02d}") for number in range(27)]
    for uuid in uuids:
        short_call(server.visitor, uuid)
    assert wait_until(lambda: server.api("/api/calls?state=ended")["total"] == 27, 20)
    open_page(page, server)
    page.locator("#ended-count", has_text="1–25 of 27").wait_for(timeout=SHOWN_MS)
    page.locator("#ended-older").click()
    page.locator("#ended-count", has_text="26–27 of 27").wait_for(timeout=SHOWN_MS)
    assert page.locator("#ended-older").is_disabled()
    page.locator("#ended-newer").click()
    page.locator("#ended-count", has_text="1–25 of 27").wait_for(timeout=SHOWN_MS)
    page.locator("#ended-filter").fill("8000-000000000013")
    page.locator("#ended-count", has_text="1–1 of 1").wait_for(timeout=SHOWN_MS)
    page.locator("#ended-filter").fill("nobody")
    page.locator("#ended-empty", has_text="No call matches.").wait_for(timeout=SHOWN_MS)


def test_who_changed_what_is_among_the_events(page: Page, server: ServerProcess) -> None:
    open_page(page, server)
    server.api("/api/restart", {"extension_id": 1})
    page.locator("#events-kind").select_option("changes")
    page.locator("#events tbody", has_text="127.0.0.1: extension ID 1").wait_for(timeout=SHOWN_MS)
