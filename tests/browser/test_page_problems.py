"""What is wrong now, said by the operator page within three seconds and taken back when it is over."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import SETUP_MS, SHOWN_MS, open_page, phone_call, problem, rows, until_answering
from tests.support.ports import free_ports
from tests.support.postgres import PostgresServer
from tests.support.server_process import ServerProcess
from tests.support.websocket_bot import silent_bot

if TYPE_CHECKING:
    from playwright.sync_api import Page


pytestmark = [pytest.mark.browser, pytest.mark.slow]


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


def test_a_server_that_is_gone_is_shown_and_its_return(page: Page, server: ServerProcess) -> None:
    open_page(page, server)
    server.stop()
    problem(page, "serverLost").wait_for(timeout=SHOWN_MS + 1000)
    server.start()
    problem(page, "serverLost").wait_for(state="detached", timeout=SETUP_MS)


@pytest.mark.usefixtures("database_with_table")
def test_a_database_that_is_gone_and_a_broken_row(
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
        postgres.kill()
        away = problem(page, "databaseAway")
        away.wait_for(timeout=SHOWN_MS)
        assert "Calls go on with the extensions that were read last." in away.inner_text()
        postgres.start()
        away.wait_for(state="detached", timeout=SETUP_MS)


BOT = """
[extension."1000"]
visitor = "twilio"

[extension."1000".twilio]
url = "ws://127.0.0.1:{port}/media"
fallback = "echo"
retry_seconds = 0.5
"""


def test_a_bot_that_is_gone_and_its_return(page: Page, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    data = tmp_path / "server" / "data"
    data.mkdir(parents=True)
    (data / "apps.toml").write_text(BOT.format(port=port))
    with ServerProcess(tmp_path / "server") as server:
        open_page(page, server)
        away = problem(page, "botAway")
        with phone_call(server.visitor):
            page.locator("#calls tbody button.link").wait_for(timeout=SETUP_MS)
            away.wait_for(timeout=SETUP_MS)
            assert "refused" in away.inner_text()
            row = page.locator("#extensions tbody tr", has_text="1000")
            row.get_by_text("app replaced").wait_for(timeout=SHOWN_MS)
        with silent_bot(port), phone_call(server.visitor):
            away.wait_for(state="detached", timeout=SETUP_MS)


def test_rules_for_apps_that_are_broken(page: Page, server: ServerProcess) -> None:
    open_page(page, server)
    rules = server.directory / "data" / "apps.toml"
    rules.write_text('[extension."1000"]\nvisitor = "no_such_app"\n')
    wrong = problem(page, "appsRejected")
    wrong.wait_for(timeout=SETUP_MS)
    assert "no_such_app" in wrong.inner_text()
    rules.write_text('[extension."1000"]\nvisitor = "echo"\n')
    wrong.wait_for(state="detached", timeout=SETUP_MS)
    page.locator("#extensions .runs", has_text="echo / play+echo").wait_for(timeout=SHOWN_MS)
