"""The log says who changed what: id, field, old and new value, by which peer and token, from which source."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psycopg2
import pytest
from twisted.internet.threads import deferToThread

from audiosocket import schema
from audiosocket.settings import Settings
from tests.support.loopback_server import until
from tests.support.ports import free_ports
from tests.support.server_calls import call
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.deadline(60)
APPS = {"VISITOR_APP": "echo", "RESIDENT_APP": "echo"}


def lines(server: ServerProcess, text: str) -> list[str]:
    return [line.partition(" - INFO - ")[2] for line in server.log().splitlines() if text in line]


async def test_changes_over_the_api_and_in_the_file(tmp_path: Path) -> None:
    first, second, third = free_ports(3)
    with ServerProcess(tmp_path, APPS) as server:
        visitor = server.visitor
        caller = await call(visitor)
        new = {"ramal_ia": "2000", "porta_ia": first, "ip_servidor": "127.0.0.1"}
        await deferToThread(server.api, "/api/extensions", new, "POST")
        await deferToThread(server.api, "/api/extensions/2", {"porta_ia": second, "ramal_ia": "2001"}, "PUT")
        await deferToThread(server.api, "/api/extensions/2", None, "DELETE")
        hang_up = {"call_id": str(caller.call_id), "role": "visitor"}
        await deferToThread(server.api, "/api/hangup", hang_up, "POST")
        await caller.ended
        added, changed, removed = lines(server, "/api/extensions")
        assert added.startswith('POST /api/extensions by 127.0.0.1: 201 extension 2 added: ramal_ia "2000"')
        assert changed == (
            f'PUT /api/extensions/2 by 127.0.0.1: 200 extension 2: ramal_ia "2000" -> "2001", '
            f"porta_ia {first} -> {second}"
        )
        assert removed.startswith(
            'DELETE /api/extensions/2 by 127.0.0.1: 200 extension 2 removed: ramal_ia "2001"'
        )
        assert lines(server, "/api/hangup") == [
            f"POST /api/hangup by 127.0.0.1: 200 call {caller.call_id} visitor"
        ]
        file = tmp_path / "data" / "ramais_config.json"
        rows = json.loads(file.read_text())
        rows["ramais"][0]["porta_ia"] = third
        file.write_text(json.dumps(rows))
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: "was read again" in server.log())
        assert lines(server, "extension 1: porta_ia") == [
            f"extension 1: porta_ia {visitor} -> {third}; from {file}"
        ]


async def test_changes_of_the_table(tmp_path: Path, database_settings: dict[str, str]) -> None:
    first, second = free_ports(2)
    schema.apply(Settings.parse(database_settings))
    token = {"API_TOKEN": "a-token-of-the-tests"}
    with ServerProcess(tmp_path, {**APPS, **database_settings, **token}) as server:
        new = {"ramal_ia": "2000", "porta_ia": first, "ip_servidor": "127.0.0.1"}
        key = (await deferToThread(server.api, "/api/extensions", new, "POST"))["extension"]["id"]
        (added,) = lines(server, f"extension {key} added")
        assert "(127.0.0.1): 201" in added, "once, with the name of the token"
        await until(lambda: "listening for changes" in server.log())
        await deferToThread(
            _run, database_settings, f"update extension_ia set extension_ia_number_port = '{second}'"
        )
        await until(lambda: bool(lines(server, f"extension {key}: porta_ia")))
        assert lines(server, f"extension {key}: porta_ia") == [
            f"extension {key}: porta_ia {first} -> {second}; from the table (notify)"
        ]


def _run(settings: dict[str, str], sql: str) -> None:
    connection = psycopg2.connect(
        host=settings["DB_HOST"],
        port=settings["DB_PORT"],
        dbname=settings["DB_NAME"],
        user=settings["DB_USER"],
        password=settings["DB_PASSWORD"],
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
    connection.close()
