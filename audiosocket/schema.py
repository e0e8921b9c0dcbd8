"""The command that creates the table ``extension_ia`` and those of a fleet: ``python -m audiosocket.schema``.

It may block while it waits for PostgreSQL, unlike the server.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import psycopg2

from audiosocket.errors import AudioSocketError, InvalidSetting
from audiosocket.postgres.connect_errors import connect_error
from audiosocket.postgres.connection import one_line
from audiosocket.settings import Settings
from audiosocket.settings_files import merge, read_env_file, read_password

#: How long to wait for a lock of the table, in seconds.
LOCK_SECONDS = 5.0

_PROGRAM = "python -m audiosocket.schema"


def sql(fleet: bool = False) -> str:
    """Return the statements, with those of the tables of a fleet or without; they may be run repeatedly."""
    package = resources.files("audiosocket")
    texts = [package.joinpath("postgres/extension_ia.sql").read_text("utf-8")]
    if fleet:
        files = (each for each in package.joinpath("fleet").iterdir() if each.name.endswith(".sql"))
        texts += [each.read_text("utf-8") for each in sorted(files, key=lambda each: each.name)]
    return "\n".join(texts)


def load_settings(env_file: Path, environment: Mapping[str, str]) -> Settings:
    """Return the settings as the server has them; ``env_file`` need not exist. Raises `InvalidSetting`."""
    return Settings.parse(merge(read_env_file(env_file, environment), environment))


def apply(settings: Settings, fleet: bool = False) -> str:
    """Run the statements in one transaction; return a sentence about the result.

    With ``fleet`` or FLEET=true those of the tables of a fleet, too.

    Raises `InvalidSetting` when no database is configured, and the errors of psycopg2.
    """
    if not settings.db_host:
        raise InvalidSetting(
            "DB_HOST: not set, so there is no database; set it in the environment or in --env-file"
        )
    fleet = fleet or settings.fleet
    connection = psycopg2.connect(
        host=settings.db_host,
        port=settings.db_port,
        dbname=settings.db_name,
        user=settings.db_user or None,
        password=read_password(settings) or None,
        sslmode=settings.db_sslmode,
        sslrootcert=settings.db_sslrootcert or None,
        connect_timeout=5,
        application_name="audiosocket-schema",
    )
    try:
        with connection, connection.cursor() as cursor:
            # Here, as poolers such as pgbouncer refuse limits in the parameter "options".
            cursor.execute(f"set local lock_timeout = {int(LOCK_SECONDS * 1000)}")
            cursor.execute("set local statement_timeout = 15000")
            cursor.execute(sql(fleet))
            cursor.execute("select count(*) from public.extension_ia")
            (rows,) = cursor.fetchone() or (0,)
    finally:
        connection.close()
    what = "extension_ia, its triggers and the tables of the fleet" if fleet else "extension_ia and its triggers"
    return f"{what} are in place in database {settings.db_name!r} ({rows} row(s))"


def make_parser(program: str = _PROGRAM) -> argparse.ArgumentParser:
    """Return the parser of the command line; ``program`` is the command as it was typed."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Creates the table extension_ia and its triggers; may be run again.",
    )
    parser.add_argument(
        "--env-file", type=Path, default=Path(".env"), help="file with the DB_ settings (default .env)"
    )
    parser.add_argument("--fleet", action="store_true", help="also the tables of a fleet, as with FLEET=true")
    parser.add_argument("--print", action="store_true", help="print the SQL instead of running it")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a text")
    return parser


def main(arguments: Sequence[str], environment: Mapping[str, str], program: str = _PROGRAM) -> int:
    """Run the command and return the exit status; ``program`` is the command as it was typed."""
    parser = make_parser(program)
    options = parser.parse_args(arguments)
    if options.print:
        text = sql(options.fleet)
        sys.stdout.write(_json(status="success", sql=text) if options.json else text)
        return 0
    try:
        done = apply(load_settings(options.env_file, environment), options.fleet)
    except AudioSocketError as error:
        wrong = str(error)
    except psycopg2.Error as error:
        wrong = f"the database reports: {connect_error(one_line(error))}"
    else:
        sys.stdout.write(_json(status="success", message=done) if options.json else f"{done}\n")
        return 0
    if options.json:
        sys.stdout.write(_json(status="error", message=wrong))
    else:
        sys.stderr.write(f"{wrong}\n")
    return 1


def _json(**answer: str) -> str:
    return json.dumps(answer, ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
