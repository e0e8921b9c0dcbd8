"""`audiosocket.provisioning.table_source`: what a real PostgreSQL says makes the poller read the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from audiosocket.extensions.model import Extension
from audiosocket.extensions.reconcile import Plan, plan
from audiosocket.provisioning.table_source import make_table_source
from audiosocket.settings import Settings
from tests.support.loopback_server import until
from tests.support.postgres import PostgresServer
from tests.support.reactor import reactor

INSERT = """
    insert into extension_ia (extension_ia_number, extension_ia_return, extension_ia_ip,
                              extension_ia_number_port, condominium_id)
    values (%s, %s, '192.0.2.1', %s, 7)
"""


class Applied:
    """Listeners that open nothing: the numbers of the extensions that were applied last."""

    def __init__(self) -> None:
        self.extensions: dict[int, Extension] = {}

    @property
    def numbers(self) -> list[str]:
        return [extension.number for extension in self.extensions.values()]

    async def apply(self, desired: Sequence[Extension]) -> Plan:
        steps = self.preview(desired)
        self.extensions = {extension.id: extension for extension in desired}
        return steps

    def preview(self, desired: Sequence[Extension]) -> Plan:
        return plan({extension.id: extension for extension in desired}, self.extensions, {}, {})


def run(function: Callable[..., Any], *values: Any) -> Deferred[Any]:
    return deferToThread(function, *values)


def test_without_a_database_there_is_only_the_poller(tmp_path: Path) -> None:
    settings = Settings.parse({"DATA_DIR": str(tmp_path)})
    poller, database = make_table_source(settings, "", Applied(), run, reactor)
    assert database is None
    assert not poller.running


@pytest.mark.usefixtures("no_traceback", "database_with_table")
async def test_the_table_is_read_when_the_database_comes_up_and_when_it_changes(
    tmp_path: Path, postgres: PostgresServer, database_name: str, database_settings: dict[str, str]
) -> None:
    settings = Settings.parse({**database_settings, "DATA_DIR": str(tmp_path), "REFRESH_INTERVAL_SECONDS": "3600"})
    listeners = Applied()
    await run(postgres.execute, database_name, INSERT, ["1001", "2001", "21001"])
    poller, database = make_table_source(settings, settings.db_password, listeners, run, reactor)
    assert database is not None
    poller.startService()
    await until(lambda: bool(listeners.extensions))  # the default: there is no database yet
    database.startService()
    await until(lambda: listeners.numbers == ["1001"] and database.state.listening)
    await run(postgres.execute, database_name, INSERT, ["1002", "2002", "21002"])
    await until(lambda: listeners.numbers == ["1001", "1002"])
    await poller.stopService()
    await database.stopService()
