"""Extensions in the operator page: added, changed, removed, restarted, refreshed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import SETUP_MS, SHOWN_MS, open_page, phone_call
from tests.support.ports import free_ports
from tests.support.postgres import PostgresServer
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Page


pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_an_extension_is_added_changed_and_removed(page: Page, server: ServerProcess) -> None:
    port, other = free_ports(2)
    open_page(page, server)
    page.locator("#extension-add").click()
    page.locator('#question [name="ramal_ia"]').fill("7777")
    page.locator('#question [name="porta_ia"]').fill("99999")
    page.locator("#question button.primary").click()
    page.locator("#question .failure", has_text="99999").wait_for(timeout=SHOWN_MS)
    page.locator('#question [name="porta_ia"]').fill(str(port))
    page.locator("#question button.primary").click()
    row = page.locator("#extensions tbody tr", has_text="7777")
    row.get_by_text("listening").wait_for(timeout=SHOWN_MS)
    row.locator('[data-act="change"]').click()
    page.locator('#question [name="porta_ia"]').fill(str(other))
    page.locator("#question button.primary").click()
    row.get_by_text(str(other)).wait_for(timeout=SHOWN_MS)
    row.locator('[data-act="remove"]').click()
    assert f"ports {other} are closed" in page.locator("#question").inner_text()
    page.locator("#question button.danger").click()
    row.wait_for(state="hidden", timeout=SHOWN_MS)


def test_a_question_says_how_many_calls_it_touches_and_escape_changes_nothing(
    page: Page, server: ServerProcess
) -> None:
    with phone_call(server.visitor):
        open_page(page, server)
        page.locator("#calls tbody button.link").wait_for(timeout=SETUP_MS)
        row = page.locator("#extensions tbody tr", has_text="1000")
        row.locator('[data-act="restart"]').click()
        assert "1 call on these ports will drain" in page.locator("#question").inner_text()
        page.keyboard.press("Escape")
        page.locator("#question").wait_for(state="hidden")
    assert "restart" not in server.log()


@pytest.mark.usefixtures("database_with_table")
def test_a_refresh_shows_old_and_new_values_before_it_is_applied(
    page: Page,
    tmp_path: Path,
    postgres: PostgresServer,
    database_name: str,
    database_settings: Mapping[str, str],
) -> None:
    """Without AUTO_REFRESH nothing but the page applies the table."""
    port, other, third = free_ports(3)
    add = "insert into extension_ia values (default, %s, '', '0.0.0.0', %s, 7, null)"
    postgres.execute(database_name, add, ("5001", str(port)))
    settings = {**database_settings, "AUTO_REFRESH": "false"}
    with ServerProcess(tmp_path / "server", settings) as server:
        open_page(page, server)
        page.locator("#table-compare").click()
        page.get_by_text("The table and what runs are the same.").wait_for(timeout=SHOWN_MS)
        assert page.locator("#table-apply").is_hidden()
        with phone_call(port):
            page.locator("#calls tbody button.link").wait_for(timeout=SETUP_MS)
            change = "update extension_ia set extension_ia_number_port = %s where extension_ia_number = '5001'"
            postgres.execute(database_name, change, (str(other),))
            postgres.execute(database_name, add, ("5002", str(third)))
            page.locator("#table-compare").click()
            changed = page.locator("#table-preview li.updated")
            changed.wait_for(timeout=SHOWN_MS)
            assert "5001 changes; 1 call on it will go on as they are" in changed.inner_text()
            assert (changed.locator("del").inner_text(), changed.locator("ins").inner_text()) == (
                str(port),
                str(other),
            )
            added = page.locator("#table-preview li.added").inner_text()
            assert "5002" in added
            assert str(third) in added
            assert server.api("/api/status")["extensions"][0]["porta_ia"] == port
            page.locator("#table-apply").click()
            page.locator("#question button.primary").click()
            page.locator("#table-preview", has_text="Applied.").wait_for(timeout=SHOWN_MS)
            page.locator("#extensions tbody tr", has_text="5002").wait_for(timeout=SHOWN_MS)
            page.locator("#extensions tbody tr", has_text="5001").get_by_text(str(other)).wait_for(
                timeout=SHOWN_MS
            )
            assert page.locator("#calls tbody button.link").count() == 1
