"""The operator page with 1,000 extensions and 2,000 live legs: what an update costs the browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.browser import open_page
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = [pytest.mark.browser, pytest.mark.slow]

EXTENSIONS, CALLS = 1000, 1000
#: Rows that one table may have as elements: those in sight, and a few above and below.
MOST_ROWS = 60
#: Counts the rows of the table of calls in which anything is written.
WATCH = """() => {
    window.written = new Set()
    const note = changes => {
        for (const { target } of changes) {
            const row = (target.nodeType === 1 ? target : target.parentElement)?.closest('tr')
            if (row) window.written.add(row)
        }
    }
    const all = { subtree: true, childList: true, characterData: true, attributes: true }
    new MutationObserver(note).observe(document.querySelector('#calls tbody'), all)
    window.updates = 0
    new PerformanceObserver(list => { window.updates += list.getEntriesByName('update').length })
        .observe({ entryTypes: ['measure'] })
}"""


class LargeServer:
    """Answers for a real server as if it had 1,000 extensions and 2,000 live legs, whose levels always change."""

    def __init__(self, page: Page, server: ServerProcess) -> None:
        self._status = server.api("/api/status")
        self._one = self._status["extensions"][0]
        rows = [{**self._one, "id": i, "ramal_ia": str(10_000 + i)} for i in range(EXTENSIONS)]
        self._status.update(
            extensions=rows, extensions_version="large", live_by_extension={str(i): 1 for i in range(EXTENSIONS)}
        )
        self._turn = 0
        page.route("**/api/status**", self._answer_status)
        page.route("**/api/calls?state=live**", self._answer_calls)

    def _answer_status(self, route: Route) -> None:
        short = "extensions=false" in route.request.url
        route.fulfill(json={**self._status, "extensions": []} if short else self._status)

    def _answer_calls(self, route: Route) -> None:
        self._turn += 1
        limit = int(parse_qs(urlsplit(route.request.url).query)["limit"][0])
        calls = list(self._calls(limit))
        route.fulfill(json={"status": "success", "total": CALLS, "next_cursor": "more", "calls": calls})

    def _calls(self, limit: int) -> Iterator[dict[str, Any]]:
        leg = {"peer": "192.0.2.1:5000", "port": 8080, "state": "live", "outcome": None, "rate": 8000}
        for i in range(limit):
            levels = {"level_in": -20.0 - (i + self._turn) % 30, "level_out": -25.0 - (i + self._turn) % 20}
            yield {
                "call_id": f"{i:08x}-0000-4000-8000-000000000000",
                "state": "live",
                "outcome": None,
                "extension": self._one,
                "duration_seconds": i + self._turn,
                "caller": None,
                "legs": [{**leg, **levels, "role": role, "late_turns": 0} for role in ("visitor", "resident")],
                "return": None,
            }


def show_all(page: Page) -> None:
    """Ask for more calls until all are there."""
    for shown in ("200 / 1,000", "300 / 1,000", "400 / 1,000", "500 / 1,000", "1,000"):
        page.locator("#calls-more").click()
        page.locator("#calls-count").get_by_text(shown, exact=True).wait_for()


def test_many_rows_have_few_elements(page: Page, server: ServerProcess) -> None:
    """Elements exist for the rows in sight only, also after scrolling; more calls are read on request."""
    LargeServer(page, server)
    open_page(page, server)
    page.locator("#calls-count", has_text="100 / 1,000").wait_for()
    page.locator("#extensions-count", has_text="1,000").wait_for()
    show_all(page)
    assert page.locator("#calls tbody tr").count() < MOST_ROWS
    assert page.locator("#extensions tbody tr").count() < MOST_ROWS
    page.locator("#calls-scroll").evaluate("box => { box.scrollTop = box.scrollHeight }")
    page.locator("#calls tbody", has_text="000003e7").wait_for()
    page.locator("#extensions-filter").fill("10999")
    page.locator("#extensions tbody th", has_text="10999").wait_for()
    assert json.loads(page.locator("#extensions").get_attribute("aria-rowcount") or "") == 2


def test_an_update_writes_the_rows_in_sight_and_no_others(
    page: Page, server: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """All levels change each time. How much of the browser's time an update takes is printed."""
    LargeServer(page, server)
    open_page(page, server)
    show_all(page)
    page.evaluate(WATCH)
    metrics = page.context.new_cdp_session(page)
    metrics.send("Performance.enable")

    def spent() -> float:
        found = {each["name"]: each["value"] for each in metrics.send("Performance.getMetrics")["metrics"]}
        return float(sum(found[name] for name in ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration")))

    before = spent()
    page.wait_for_function("() => window.updates >= 4", timeout=30_000)
    updates, written = page.evaluate("() => [window.updates, window.written.size]")
    each = 1000 * (spent() - before) / updates
    last = page.evaluate("() => performance.getEntriesByName('update')[0].duration")
    with capsys.disabled():
        print(f"\n{EXTENSIONS} extensions, {2 * CALLS} legs: {each:.0f} ms of script, style and layout an update")
        print(f"(with the JSON, and counting on once a second); the last update itself took {last:.1f} ms")
    assert 5 < written < MOST_ROWS
