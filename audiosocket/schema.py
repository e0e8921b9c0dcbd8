"""Creates the table ``extension_ia`` and its triggers: ``python -m audiosocket.schema``.

A command that runs once and ends, so it may wait for PostgreSQL; the server itself never does.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import psycopg2
from dotenv import dotenv_values

from audiosocket.errors import AudioSocketError, InvalidSetting
from audiosocket.postgres.connection import one_line
from audiosocket.settings import Settings

#: How long to wait for somebody who has locked the table, in seconds.
LOCK_SECONDS = 5.0


def sql() -> str:
    """The statements, safe to run again and again."""
    return resources.files("audiosocket").joinpath("postgres/extension_ia.sql").read_text("utf-8")


def load_settings(env_file: Path, environment: Mapping[str, str]) -> Settings:
    """The settings of ``env_file`` (which may be missing), those in ``environment`` taking precedence.

    Raises `InvalidSetting`.
    """
    try:
        written = dotenv_values(env_file, interpolate=False)
    except (OSError, UnicodeDecodeError) as problem:
        raise InvalidSetting(f"--env-file: {str(env_file)!r} cannot be read ({problem})") from None
    return Settings.parse({**{name: value or "" for name, value in written.items()}, **environment})


def password(settings: Settings) -> str:
    """DB_PASSWORD, or the first line of DB_PASSWORD_FILE; raises `InvalidSetting`."""
    if not settings.db_password_file:
        return settings.db_password
    try:
        text = Path(settings.db_password_file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise InvalidSetting(
            f"DB_PASSWORD_FILE: {settings.db_password_file!r} cannot be read ({problem})"
        ) from None
    return text.splitlines()[0] if text else ""


def apply(settings: Settings) -> str:
    """Runs the statements in one transaction; returns what was done to which database.

    Raises `InvalidSetting` without a database, psycopg2's errors from it.
    """
    if not settings.db_host:
        raise InvalidSetting(
            "DB_HOST: not set, so there is no database; set it in the environment or in --env-file"
        )
    connection = psycopg2.connect(
        host=settings.db_host,
        port=settings.db_port,
        dbname=settings.db_name,
        user=settings.db_user or None,
        password=password(settings) or None,
        sslmode=settings.db_sslmode,
        connect_timeout=5,
        application_name="audiosocket-schema",
        options=f"-c lock_timeout={int(LOCK_SECONDS * 1000)} -c statement_timeout=15000",
    )
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql())
            cursor.execute("select count(*) from public.extension_ia")
            (rows,) = cursor.fetchone() or (0,)
    finally:
        connection.close()
    return f"extension_ia and its triggers are in place in database {settings.db_name!r} ({rows} row(s))"


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m audiosocket.schema", description=__doc__)
    parser.add_argument(
        "--env-file", type=Path, default=Path(".env"), help="file with the DB_ settings (default .env)"
    )
    parser.add_argument("--print", action="store_true", help="print the SQL instead of running it")
    options = parser.parse_args(arguments)
    if options.print:
        sys.stdout.write(sql())
        return 0
    try:
        done = apply(load_settings(options.env_file, environment))
    except AudioSocketError as problem:
        sys.stderr.write(f"{problem}\n")
    except psycopg2.Error as problem:
        sys.stderr.write(f"the database refuses: {one_line(problem)}\n")
    else:
        sys.stdout.write(f"{done}\n")
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
