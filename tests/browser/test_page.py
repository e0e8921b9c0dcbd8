"""What an operator sees in a real browser: calls, extensions, one call, what is wrong and when it is over."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.support.browser import SHOWN_MS, Console, browser, phone_call
from tests.support.postgres import PostgresServer
from tests.support.server_process import ServerProcess, free_ports

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: Milliseconds for what the test does itself, such as starting a call.
SETUP_MS = 10_000


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
    lost = re.compile(r"Failed to load resource: net::ERR|status of (401|403|404|409|422)|CORS policy")
    assert [error for error in console.errors if not lost.search(error)] == []


def rows(count: int) -> list[dict[str, Any]]:
    ports = free_ports(2 * count)
    return [
        {"id": i + 1, "ramal_ia": str(1000 + i), "porta_ia": ports[2 * i], "porta_retorno": ports[2 * i + 1]}
        for i in range(count)
    ]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "server") as started:
        yield started


def open_page(page: Page, server: ServerProcess, rest: str = "") -> None:
    page.goto(f"http://127.0.0.1:{server.api_port}/{rest}")
    page.locator("#connection-text", has_text="Live").wait_for()


def problem(page: Page, key: str) -> Any:
    return page.locator(f'[data-problem="{key}"]')


def test_a_call_is_shown_opened_by_its_link_and_hung_up(page: Page, server: ServerProcess) -> None:
    open_page(page, server)
    page.get_by_text("No call is going on.").wait_for()
    with phone_call(server.visitor) as caller:
        link = page.locator("#calls tbody button.link")
        link.wait_for(timeout=SETUP_MS)
        link.click()
        page.locator("#one-call svg rect.leg.visitor").wait_for()
        address = page.url
        assert re.search(r"#call=[0-9a-f-]{36}$", address)
        page.keyboard.press("Escape")
        page.locator("#one-call").wait_for(state="hidden")
        assert "#call" not in page.url
        page.goto(address)
        page.locator("#one-call .facts", has_text=address[-36:]).wait_for()
        page.locator('#one-call [data-act="hangUp"]').click()
        page.locator("#question button.danger").click()
        page.locator("#one-call .facts", has_text="hung up by an operator").wait_for(timeout=SHOWN_MS)
        assert caller.wait(10) == 0
    page.keyboard.press("Escape")
    page.locator("#calls-ended").check()
    page.locator("#calls tbody", has_text="hung up by an operator").wait_for(timeout=SHOWN_MS)


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


def test_a_taken_port_is_shown_and_taken_back(page: Page, tmp_path: Path) -> None:
    (row,) = rows(1)
    with socket.socket() as other:
        other.bind(("0.0.0.0", row["porta_ia"]))
        other.listen()
        with ServerProcess(tmp_path / "server", rows=[row], wait=False) as server:
            until_answering(page, server)
            open_page(page, server)
            one = problem(page, "portAlternative")
            one.wait_for(timeout=SHOWN_MS)
            assert f"Asterisk dials {row['porta_ia']}" in one.inner_text()
            other.close()
            one.wait_for(state="detached", timeout=SHOWN_MS)


def until_answering(page: Page, server: ServerProcess) -> None:
    for _ in range(200):
        try:
            server.api("/api/status")
        except OSError:
            page.wait_for_timeout(100)
        else:
            return
    raise AssertionError(server.stdout())


def test_a_server_that_is_gone_is_shown_and_its_return(page: Page, server: ServerProcess) -> None:
    open_page(page, server)
    server.stop()
    problem(page, "serverLost").wait_for(timeout=SHOWN_MS + 1000)
    server.start()
    problem(page, "serverLost").wait_for(state="detached", timeout=SETUP_MS)


@pytest.mark.usefixtures("database_with_table")
def test_a_database_that_is_gone_a_broken_row_and_the_diff(
    page: Page,
    tmp_path: Path,
    postgres: PostgresServer,
    database_name: str,
    database_settings: Mapping[str, str],
) -> None:
    port, other = free_ports(2)
    add = "insert into extension_ia values (default, %s, '', '0.0.0.0', %s, 7, null)"
    postgres.execute(database_name, add, ("5001", str(port)))
    with ServerProcess(tmp_path / "server", database_settings) as server:
        open_page(page, server)
        postgres.execute(database_name, add, ("5002", str(port)))
        problem(page, "rowRejected").wait_for(timeout=SHOWN_MS)
        postgres.execute(
            database_name,
            "update extension_ia set extension_ia_number_port = %s where extension_ia_number = '5002'",
            (str(other),),
        )
        problem(page, "rowRejected").wait_for(state="detached", timeout=SHOWN_MS)
        page.locator("#table-compare").click()
        page.get_by_text("The table and what runs are the same.").wait_for(timeout=SHOWN_MS)
        postgres.kill()
        away = problem(page, "databaseAway")
        away.wait_for(timeout=SHOWN_MS)
        assert "Calls go on with the extensions that were read last." in away.inner_text()
        postgres.start()
        away.wait_for(state="detached", timeout=SETUP_MS)


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


@pytest.mark.parametrize("width", [375, 1280, 2560])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_widths_themes_and_languages(chromium: Browser, server: ServerProcess, width: int, theme: str) -> None:
    """The page never scrolls sideways, and its theme and language are those that the browser wants."""
    locale = "pt-BR" if theme == "dark" else "en-US"
    context = chromium.new_context(
        locale=locale, viewport={"width": width, "height": 900}, color_scheme=cast("Any", theme)
    )
    page = context.new_page()
    console = Console(page)
    page.goto(f"http://127.0.0.1:{server.api_port}/")
    page.locator("#extensions tbody th", has_text="1000").wait_for()
    assert page.evaluate("() => document.documentElement.scrollWidth") == width
    assert page.evaluate("() => document.documentElement.lang") == ("pt-BR" if theme == "dark" else "en")
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(14, 19, 24)" if theme == "dark" else "rgb(238, 241, 244)")
    page.locator("#theme").click()
    page.locator("#language").click()
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") != background
    assert page.evaluate("() => document.documentElement.lang") == ("en" if theme == "dark" else "pt-BR")
    context.close()
    assert console.errors == []


def test_many_rows_have_few_elements(page: Page, server: ServerProcess) -> None:
    """With 2,000 calls and 1,000 extensions, elements exist for the rows in sight only, also after scrolling."""
    status, calls = server.api("/api/status"), []
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
                "legs": [{**leg, "late_turns": 0}],
                "return": None,
            }
        )
    page.route("**/api/status", lambda route: route.fulfill(json=status))
    page.route("**/api/calls", lambda route: route.fulfill(json={"status": "success", "calls": calls}))
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


class _HostilePage(BaseHTTPRequestHandler):
    """An empty page without any policy."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def hostile_address() -> Iterator[str]:
    """The address of a page of another origin, but of the same site: a browser sends our cookie along."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _HostilePage) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{other.server_port}/"
        other.shutdown()
        thread.join()


ATTEMPTS = """async target => {
    const attempt = async (path, options) => {
        try {
            return (await fetch(target + path, {credentials: 'include', ...options})).type
        } catch {
            return 'refused'
        }
    }
    const socket = address => new Promise(done => {
        const one = new WebSocket(address)
        one.onopen = () => done('open')
        one.onerror = () => done('refused')
    })
    const body = '{"extension_id": 1}'
    const frame = document.createElement('iframe')
    frame.src = target + '/'
    document.body.append(frame)
    await new Promise(done => { frame.onload = done })
    return {
        read: await attempt('/api/status', {}),
        post: await attempt('/api/restart', {method: 'POST', body}),
        simple: await attempt('/api/restart', {method: 'POST', mode: 'no-cors', body}),
        phone: await socket(target.replace('http', 'ws') + '/api/phone?extension=1000'),
        framed: Boolean(frame.contentDocument),
    }
}"""


def test_a_page_of_another_origin_reads_nothing_and_does_nothing(
    chromium: Browser, hostile_address: str, tmp_path: Path
) -> None:
    """Not even with the cookie of an operator who is signed in."""
    with ServerProcess(tmp_path / "server", {"API_TOKEN": "open sesame, said nobody"}) as server:
        page = chromium.new_page()
        ours = f"http://127.0.0.1:{server.api_port}"
        page.goto(ours)
        page.locator("#sign-in input").fill("open sesame, said nobody")
        page.locator("#sign-in input").press("Enter")
        page.locator("#extensions tbody th", has_text="1000").wait_for()
        page.goto(hostile_address)
        found = page.evaluate(ATTEMPTS, ours)
        page.close()
        assert found == {
            "read": "refused",
            "post": "refused",
            "simple": "refused",
            "phone": "refused",
            "framed": False,
        }
        assert "restart" not in server.log()
        assert server.api("/api/calls")["total"] == 0


def test_axe_finds_nothing_serious(page: Page, server: ServerProcess) -> None:
    """In both themes and languages, with a call open, and in a question."""
    source = axe()
    with phone_call(server.visitor):
        open_page(page, server)
        page.locator("#calls tbody button.link").wait_for(timeout=SETUP_MS)
        page.evaluate(source)
        found = serious(page)
        page.locator("#theme").click()
        page.locator("#language").click()
        found += serious(page)
        page.locator("#calls tbody button.link").click()
        page.locator("#one-call svg").wait_for()
        found += serious(page)
        page.keyboard.press("Escape")
        page.locator('#extensions [data-act="change"]').click()
        found += serious(page)
    assert found == []


def axe() -> str:
    """The script axe-core; skips the test where it is not installed."""
    folder = os.environ.get("AXE_CORE", "node_modules/axe-core")
    path = Path(folder) / "axe.min.js"
    if not path.exists():
        pytest.skip(f"axe-core is not installed ({path}): npm install axe-core, or set AXE_CORE to its directory")
    return path.read_text(encoding="utf-8")


def serious(page: Page) -> list[str]:
    """What axe finds that is serious or worse, and where."""
    found = page.evaluate("async () => (await axe.run(document)).violations")
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]


def test_events_are_shown_as_they_happen_with_those_before(page: Page, server: ServerProcess) -> None:
    with phone_call(server.visitor):
        page.wait_for_timeout(1500)
        open_page(page, server)
        page.locator("#events tbody", has_text="call began").wait_for(timeout=SETUP_MS)
    page.locator("#events tbody", has_text="call ended").wait_for(timeout=SHOWN_MS)
    page.locator("#events-filter").fill("call.ended")
    page.locator("#events-count", has_text=re.compile("^1$")).wait_for()
    page.locator("#events tbody button.link").first.click()
    page.locator("#one-call .facts", has_text="caller hung up").wait_for()


def test_pictures(page: Page, tmp_path: Path) -> None:
    """The pictures of README and docs; PAGE_PICTURES is the directory to write them to."""
    directory = Path(os.environ.get("PAGE_PICTURES") or tmp_path)
    some = rows(4)
    call_id = "7c1e04d2-5d0e-4b4e-9a57-0c1a53b8a3f1"
    settings = {"VISITOR_APP": "echo", "RESIDENT_APP": "echo", "ACCEPT_UNEXPECTED_RESIDENT": "true"}
    with socket.socket() as other:
        other.bind(("0.0.0.0", some[3]["porta_ia"]))
        other.listen()
        with ServerProcess(tmp_path / "server", settings, rows=some, wait=False) as server:
            until_answering(page, server)
            visitor = ("--uuid", call_id, "--digits", "102#")
            with phone_call(some[0]["porta_ia"], *visitor), phone_call(some[1]["porta_ia"]):
                page.wait_for_timeout(4000)
                with phone_call(some[0]["porta_retorno"], "--uuid", call_id, "--digits", "5"):
                    page.wait_for_timeout(4000)
                    open_page(page, server)
                    problem(page, "portAlternative").wait_for()
                    page.wait_for_timeout(500)
                    page.screenshot(path=directory / "page.png")
                page.goto(f"http://127.0.0.1:{server.api_port}/#call={call_id}")
                page.reload()
                page.locator("#one-call svg rect.leg.resident").wait_for()
                page.locator("#one-call").screenshot(path=directory / "call.png")
    for name in ("page.png", "call.png"):
        assert 10_000 < (directory / name).stat().st_size < 300_000
