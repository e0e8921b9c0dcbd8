"""The nodes of a fleet in the operator page: what is shown of them, and draining one from any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import SETUP_MS, axe_core, open_page, serious
from tests.support.fleet import create_tables, two_nodes
from tests.support.ports import free_ports
from tests.support.postgres import PostgresServer
from tests.support.server_process import ServerProcess, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SECONDS = 30
ADD_ROW = "insert into extension_ia values (default, %s, '9', '0.0.0.0', %s, 7, null) returning 1"
HOSTILE = "<img src=x onerror=alert(1)>"
NODES: list[dict[str, Any]] = [
    {"name": "node-a", "state": "ready", "calls": 12, "generation": "3fe0c1a4b2d7", "seen_seconds_ago": 0.4},
    {"name": "node-b", "state": "draining", "calls": 3, "generation": "3fe0c1a4b2d7", "seen_seconds_ago": 0.9},
    {"name": HOSTILE, "state": "ready", "calls": 0, "generation": "91ab00d2c3e4", "seen_seconds_ago": 0.1},
    {"name": "node-d", "state": "gone", "calls": 0, "generation": "000000000000", "seen_seconds_ago": 3725.0},
]


@pytest.fixture
def nodes(
    tmp_path: Path, postgres: PostgresServer, database_name: str, database_settings: Mapping[str, str]
) -> Iterator[dict[str, ServerProcess]]:
    """Two nodes of one table, which see each other."""
    create_tables(postgres, database_name)
    postgres.execute(database_name, ADD_ROW, ("1000", str(free_ports(1)[0])))
    with two_nodes(tmp_path, lambda address: database_settings) as found:
        for server in found.values():
            assert wait_until(lambda server=server: states(server) == ["ready", "ready"], SECONDS)  # type: ignore[misc]
        yield found


def states(server: ServerProcess) -> list[str]:
    """Return the states of all nodes, as one of them says; none while it does not answer."""
    status, answer = server.request("/api/fleet")
    return [each["state"] for each in answer["nodes"]] if status == 200 else []


def row(page: Page, name: str) -> Locator:
    """Return the row of a node."""
    return page.locator("#nodes tbody tr").filter(has=page.get_by_text(name, exact=True))


class FleetAnswers:
    """Answers for a real server as if it were node-a of four; afterwards as PostgreSQL that does not answer."""

    def __init__(self, page: Page, server: ServerProcess) -> None:
        self._status = server.api("/api/status")
        self._status["fleet"]["node"] = "node-a"
        self.away = False
        page.route("**/api/status**", lambda route: route.fulfill(json=self._status))
        page.route("**/api/fleet", self._answer)

    def _answer(self, route: Route) -> None:
        if self.away:
            route.fulfill(status=503, json={"status": "error", "message": "PostgreSQL does not answer."})
            return
        rows = [{**each, "url": "http://127.0.0.1:8082", "version": "1.0.0"} for each in NODES]
        route.fulfill(json={"status": "success", "node": "node-a", "total": len(rows), "nodes": rows})


def test_a_node_is_drained_and_taken_back_from_the_page_of_another(
    page: Page, nodes: dict[str, ServerProcess]
) -> None:
    open_page(page, nodes["n1"])
    row(page, "n1").get_by_text("serves this page").wait_for(timeout=SETUP_MS)
    second = row(page, "n2")
    second.get_by_text("ready", exact=True).wait_for(timeout=SETUP_MS)
    second.locator('[data-act="nodeDrain"]').click()
    assert "no new calls" in page.locator("#question").inner_text()
    page.keyboard.press("Escape")
    second.locator('[data-act="nodeDrain"]').click()
    page.locator("#question button.primary").click()
    second.get_by_text("draining", exact=True).wait_for(timeout=SETUP_MS)
    assert nodes["n2"].request("/livez") == (404, {"status": "error", "message": "draining"})
    row(page, "n1").locator('[data-act="nodeDrain"]').click()
    page.locator("#question", has_text="No other node takes new calls").wait_for()
    page.keyboard.press("Escape")
    second.locator('[data-act="nodeUndrain"]').click()
    page.locator("#question button.primary").click()
    second.get_by_text("ready", exact=True).wait_for(timeout=SETUP_MS)
    assert wait_until(lambda: states(nodes["n1"]) == ["ready", "ready"], SECONDS)


def test_what_is_shown_of_each_node(page: Page, server: ServerProcess) -> None:
    """A name is text; one configuration differs; who is gone is not compared, and cannot be drained."""
    source = axe_core()
    answers = FleetAnswers(page, server)
    open_page(page, server)
    page.locator("#nodes-count", has_text="4").wait_for(timeout=SETUP_MS)
    assert page.locator("#nodes img").count() == 0
    assert page.get_by_text("differs from the others").filter(visible=True).count() == 1
    row(page, HOSTILE).get_by_text("differs from the others").wait_for()
    row(page, "node-d").get_by_text("1:02:05").wait_for()
    shown = {
        each["name"]: row(page, each["name"]).locator("button").filter(visible=True).all_inner_texts()
        for each in NODES
    }
    assert shown == {"node-a": ["Drain"], "node-b": ["Take back"], HOSTILE: ["Drain"], "node-d": []}
    page.evaluate(source)
    assert serious(page) == []
    page.locator("#language").click()
    row(page, "node-d").get_by_text("sem sinal").wait_for()
    answers.away = True
    page.locator("#nodes-empty", has_text="PostgreSQL does not answer.").wait_for(timeout=SETUP_MS)
    assert row(page, "node-a").filter(visible=True).count() == 0


def test_who_may_only_read_is_offered_no_drain(page: Page, server: ServerProcess) -> None:
    FleetAnswers(page, server)
    page.route("**/session", lambda route: route.fulfill(json={"status": "success", "scope": "read"}))
    open_page(page, server)
    row(page, "node-b").get_by_text("draining", exact=True).wait_for(timeout=SETUP_MS)
    assert page.locator("#nodes button").filter(visible=True).count() == 0


def test_without_a_fleet_there_are_no_nodes(page: Page, server: ServerProcess) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_page(page, server)
    with page.expect_response("**/api/status?extensions=false"):
        pass  # the next reading: what belongs to the first has been asked for
    assert page.locator("#nodes-card").is_hidden()
    assert [url for url in asked if "/api/fleet" in url or url.endswith("/session")] == []
