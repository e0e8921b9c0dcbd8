"""A return call in the operator page: a resident is called, the ringing is shown and stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import SETUP_MS, SHOWN_MS, open_page, phone_call, rows
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_resident_is_called_and_the_ringing_stopped(page: Page, tmp_path: Path) -> None:
    (row,) = rows(1)
    settings = {"RETURN_BACKEND": "browser", "RETURN_RING_SECONDS": "60"}
    with ServerProcess(tmp_path / "server", settings, rows=[{**row, "ramal_retorno": "2000"}]) as server:
        open_page(page, server)
        with phone_call(row["porta_ia"]):
            actions = page.locator("#calls tbody")
            actions.locator('[data-act="callResident"]').click(timeout=SETUP_MS)
            page.locator('#question [name="number"]').fill("4711")
            page.locator("#question button.primary").click()
            page.locator("#calls tbody", has_text="rings").wait_for(timeout=SHOWN_MS)
            page.locator("#calls tbody button.link").click()
            page.locator("#one-call svg rect.ring").wait_for(timeout=SHOWN_MS)
            page.locator("#one-call .facts", has_text="rings").wait_for()
            page.keyboard.press("Escape")
            actions.locator('[data-act="stopRinging"]').click(timeout=SHOWN_MS)
            page.locator("#question button.primary").click()
            page.locator("#calls tbody", has_text="cancelled").wait_for(timeout=SHOWN_MS)
            actions.locator('[data-act="callResident"]').wait_for(timeout=SHOWN_MS)
            page.locator("#calls tbody button.link").click()
            page.locator("#one-call svg .ring-text", has_text="cancelled").wait_for(timeout=SHOWN_MS)
