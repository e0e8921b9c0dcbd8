"""The operator page with many calls, many extensions, and many pages at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import open_page
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Page


pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_many_rows_have_few_elements(page: Page, server: ServerProcess) -> None:
    """With 2,000 calls and 1,000 extensions, elements exist for the rows in sight only, also after scrolling."""
    status, calls = server.api("/api/status"), list[dict[str, Any]]()
    one = status["extensions"][0]
    status["extensions"] = [{**one, "id": i, "ramal_ia": str(10_000 + i)} for i in range(1000)]
    leg = {
        "role": "visitor",
        "peer": "192.0.2.1:5000",
        "port": 8080,
        "state": "live",
        "outcome": None,
        "rate": 8000,
    }
    for i in range(2000):
        calls.append(
            {
                "call_id": f"{i:08x}-0000-4000-8000-000000000000",
                "state": "live",
                "outcome": None,
                "extension": one,
                "duration_seconds": i,
                "caller": None,
                "legs": [{**leg, "late_turns": 0, "level_in": -30.0, "level_out": -40.0}],
                "return": None,
            }
        )
    page.route("**/api/status**", lambda route: route.fulfill(json=status))
    whole = {"status": "success", "total": 2000, "next_cursor": None, "calls": calls}
    page.route("**/api/calls?state=live**", lambda route: route.fulfill(json=whole))
    open_page(page, server)
    page.locator("#calls-count", has_text="2,000").wait_for()
    page.locator("#extensions-count", has_text="1,000").wait_for()
    assert page.locator("#calls tbody tr").count() < 60
    assert page.locator("#extensions tbody tr").count() < 60
    page.locator("#calls-scroll").evaluate("box => { box.scrollTop = box.scrollHeight }")
    page.locator("#calls tbody", has_text="000007cf").wait_for()
    page.locator("#extensions-filter").fill("10999")
    page.locator("#extensions tbody th", has_text="10999").wait_for()
    assert json.loads(page.locator("#extensions").get_attribute("aria-rowcount") or "") == 2
