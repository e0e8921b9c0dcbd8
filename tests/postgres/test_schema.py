"""`audiosocket.schema`: the SQL against a real PostgreSQL, and the command around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from audiosocket import schema
from audiosocket.errors import InvalidSetting
from audiosocket.settings_files import read_password
from tests.support.ports import free_port
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer

INSERT = "insert into extension_ia values (default, '1001', '1002', '192.0.2.1', '8080', 7, '8081')"


def run(capsys: pytest.CaptureFixture[str], environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    status = schema.main(["--env-file", "/nonexistent/.env", *arguments], environment)
    out, err = capsys.readouterr()
    return status, out, err


def payloads(postgres: PostgresServer, database: str, *statements: str) -> list[Any]:
    listener = postgres.connect(database)
    with listener.cursor() as cursor:
        cursor.execute("listen change_record_extension_ia")
        for statement in statements:
            postgres.execute(database, statement)
        cursor.execute("select 1")
    listener.close()
    assert all(len(notify.payload.encode()) < 8000 for notify in listener.notifies)
    return [json.loads(notify.payload) for notify in listener.notifies]


def test_it_may_be_run_repeatedly_and_keeps_the_rows(
    capsys: pytest.CaptureFixture[str],
    postgres: PostgresServer,
    database_name: str,
    database_settings: dict[str, str],
) -> None:
    assert run(capsys, database_settings)[0] == 0
    postgres.execute(database_name, INSERT)
    for _ in range(2):
        status, out, err = run(capsys, database_settings)
        assert (status, err) == (0, "")
        assert out == f"extension_ia and its triggers are in place in database '{database_name}' (1 row(s))\n"
    triggers = postgres.execute(
        database_name,
        "select tgname from pg_trigger where tgrelid = 'extension_ia'::regclass and not tgisinternal order by 1",
    )
    assert triggers == [
        ("extension_ia_delete_trigger",),
        ("extension_ia_insert_trigger",),
        ("extension_ia_update_trigger",),
    ]
    assert len(payloads(postgres, database_name, "delete from extension_ia")) == 1  # not once per run


def test_the_table_is_the_one_that_operators_have(postgres: PostgresServer, database_with_table: str) -> None:
    columns = postgres.execute(
        database_with_table,
        "select column_name, data_type, character_maximum_length, is_nullable, identity_generation "
        "from information_schema.columns where table_name = 'extension_ia' order by ordinal_position",
    )
    text, required = ("character", 50), ("NO", None)
    assert columns == [
        ("extension_ia_id", "integer", None, "NO", "ALWAYS"),
        ("extension_ia_number", *text, *required),
        ("extension_ia_return", *text, *required),
        ("extension_ia_ip", *text, *required),
        ("extension_ia_number_port", *text, *required),
        ("condominium_id", "integer", None, *required),
        ("extension_ia_return_port", *text, "YES", None),
    ]


def test_each_change_is_announced_with_its_row(postgres: PostgresServer, database_with_table: str) -> None:
    heard = payloads(
        postgres,
        database_with_table,
        INSERT,
        "update extension_ia set extension_ia_return_port = null",
        "delete from extension_ia",
    )
    assert [entry["action"] for entry in heard] == ["INSERT", "UPDATE", "DELETE"]
    assert heard[0]["data"] == {
        "extension_ia_id": 1,
        "extension_ia_number": "1001".ljust(50),
        "extension_ia_return": "1002".ljust(50),
        "extension_ia_ip": "192.0.2.1".ljust(50),
        "extension_ia_number_port": "8080".ljust(50),
        "condominium_id": 7,
        "extension_ia_return_port": "8081".ljust(50),
    }
    assert heard[1]["data"]["extension_ia_return_port"] is None
    assert heard[2]["data"] == heard[1]["data"]


def test_a_row_too_long_for_notify_is_announced_by_its_id(
    postgres: PostgresServer, database_with_table: str
) -> None:
    postgres.execute(database_with_table, "alter table extension_ia add notes text")
    for length in (7_500, 7_600, 7_700, 8_000, 100_000):  # around the limit, and far beyond it
        heard = payloads(
            postgres,
            database_with_table,
            f"insert into extension_ia values (default, '1', '2', '3', '4', 7, null, repeat('é', {length} / 2))",
        )
        assert heard[0]["action"] == "INSERT"
        assert heard[0]["data"]["extension_ia_id"] > 0
    assert heard[0]["data"].keys() == {"extension_ia_id"}


def test_a_table_that_exists_already_stays_as_it_is(
    capsys: pytest.CaptureFixture[str],
    postgres: PostgresServer,
    database_name: str,
    database_settings: dict[str, str],
) -> None:
    connection = postgres.connect(database_name, ROLE, ROLE_PASSWORD)
    with connection.cursor() as cursor:
        cursor.execute("create table extension_ia (extension_ia_id integer, note text)")
        cursor.execute("insert into extension_ia values (5, 'ours')")
    connection.close()
    assert run(capsys, database_settings)[0] == 0
    assert postgres.execute(database_name, "select * from extension_ia") == [(5, "ours")]


def test_print_needs_no_database(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, {}, "--print")
    assert (status, err) == (0, "")
    assert out == schema.sql()
    assert "create table if not exists public.extension_ia" in out


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"DB_HOST": ""}, "DB_HOST: not set"),
        ({"DB_PORT": "many"}, "DB_PORT: 'many' is not a TCP port"),
        ({"DB_PASSWORD": "wrong-secret"}, "password authentication failed"),
        ({"DB_NAME": "nowhere"}, 'database "nowhere" does not exist'),
        ({"DB_PORT": str(free_port())}, "Connection refused"),
        (
            {"DB_PASSWORD": "", "DB_PASSWORD_FILE": "/nonexistent"},
            "DB_PASSWORD_FILE: (not shown) cannot be read",
        ),
    ],
)
def test_an_error_is_one_line_and_status_1(
    changed: dict[str, str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    database_settings: dict[str, str],
) -> None:
    status, out, err = run(capsys, {**database_settings, **changed})
    assert status == 1
    assert out == ""
    assert expected in err
    assert err.count("\n") == 1
    assert "wrong-secret" not in err


def test_a_role_without_the_right_to_create_gets_an_error(
    capsys: pytest.CaptureFixture[str],
    postgres: PostgresServer,
    database_name: str,
    database_settings: dict[str, str],
) -> None:
    postgres.execute("postgres", f"alter database {database_name} owner to test")
    assert run(capsys, database_settings)[::2] == (
        1,
        "the database reports: permission denied for schema public\n",
    )


def test_a_locked_table_ends_the_command(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    postgres: PostgresServer,
    database_with_table: str,
    database_settings: dict[str, str],
) -> None:
    monkeypatch.setattr(schema, "LOCK_SECONDS", 0.2)
    blocker = postgres.connect(database_with_table)
    with blocker.cursor() as cursor:
        cursor.execute("begin; lock table extension_ia")
    status, _, err = run(capsys, database_settings)
    blocker.close()
    assert (status, err) == (1, "the database reports: canceling statement due to lock timeout\n")


def test_the_environment_overrides_the_env_file(tmp_path: Path) -> None:
    file = tmp_path / "our.env"
    file.write_text("DB_HOST=db.example\nDB_USER='a$c'\nDB_PORT=5555\n")
    settings = schema.load_settings(file, {"DB_PORT": "6666", "PATH": "/bin"})
    assert (settings.db_host, settings.db_user, settings.db_port) == ("db.example", "a$c", 6666)
    assert schema.load_settings(file, {"DB_HOST": ""}).db_host == "db.example"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSetting, match="--env-file"):
        schema.load_settings(file, {})


def test_the_password_can_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret \n# not this\n")
    settings = schema.load_settings(tmp_path / "none", {"DB_PASSWORD_FILE": str(file)})
    assert read_password(settings) == "s3cret "
    file.write_text("")
    assert read_password(settings) == ""


def test_as_a_command(postgres: PostgresServer, database_name: str, database_settings: dict[str, str]) -> None:
    environment = {**os.environ, **database_settings, "DB_USER": ""}
    environment.pop("DB_USER")
    env_file = postgres.directory / "command.env"
    env_file.write_text(f"DB_USER={ROLE}\n")
    command = [sys.executable, "-m", "audiosocket.schema", "--env-file", str(env_file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    connection = psycopg2.connect(
        host=postgres.host, port=postgres.port, dbname=database_name, user=ROLE, password=ROLE_PASSWORD
    )
    with connection.cursor() as cursor:
        cursor.execute("select * from extension_ia")
        assert cursor.fetchall() == []
    connection.close()


def test_its_answers_are_json_on_request(
    capsys: pytest.CaptureFixture[str], database_settings: dict[str, str]
) -> None:
    status, out, _ = run(capsys, {}, "--print", "--json")
    assert (status, json.loads(out)) == (0, {"status": "success", "sql": schema.sql()})
    status, out, err = run(capsys, {}, "--json")
    assert (status, json.loads(out)["status"], err) == (1, "error", "")
    assert json.loads(out)["message"].startswith("DB_HOST: not set")
    status, out, _ = run(capsys, database_settings, "--json")
    assert (status, json.loads(out)["status"]) == (0, "success")


def test_the_tables_of_a_fleet_are_created_when_asked_for(
    capsys: pytest.CaptureFixture[str],
    postgres: PostgresServer,
    database_name: str,
    database_settings: dict[str, str],
) -> None:
    tables = "select tablename from pg_tables where tablename like 'audiosocket%%'"
    assert run(capsys, database_settings)[0] == 0
    assert postgres.execute(database_name, tables, ()) == []
    for _ in range(2):
        status, out, _ = run(capsys, {**database_settings, "FLEET": "true"})
        assert status == 0
        assert out.startswith("extension_ia, its triggers and the tables of the fleet are in place")
    assert ("audiosocket_nodes",) in postgres.execute(database_name, tables, ())
    assert run(capsys, {}, "--fleet", "--print")[1] == schema.sql(fleet=True)
