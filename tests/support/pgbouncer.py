"""A real pgbouncer in front of the PostgreSQL of the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg2
import pytest

from tests.support.ports import free_port
from tests.support.postgres import ADMIN, ADMIN_PASSWORD, NOBODY, ROLE, ROLE_PASSWORD, PostgresServer

BINARY = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(BINARY is None, reason="pgbouncer is not installed (Debian: pgbouncer)")


class PgBouncer:
    """One pgbouncer on a free port of loopback; a context manager. ``pool_mode`` is pgbouncer's own setting."""

    def __init__(self, postgres: PostgresServer, pool_mode: str) -> None:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="asbouncer-"))
        users = self._directory / "users"
        users.write_text(f'"{ROLE}" "{ROLE_PASSWORD}"\n"{ADMIN}" "{ADMIN_PASSWORD}"\n')
        (self._directory / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={postgres.host} port={postgres.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\npool_mode = {pool_mode}\ndefault_pool_size = 5\n"
            f"logfile = {self._directory / 'log'}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PgBouncer:
        assert BINARY is not None
        user: dict[str, Any] = {}
        if os.geteuid() == 0:  # pgbouncer does not run as root
            user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            for path in (self._directory, *self._directory.iterdir()):
                os.chown(path, NOBODY, NOBODY)
        command = [BINARY, str(self._directory / "pgbouncer.ini")]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user)
        while not self._answers():
            try:
                status = self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise RuntimeError(f"pgbouncer ended with {status}:\n{(self._directory / 'log').read_text()}")
        return self

    def _answers(self) -> bool:
        try:
            psycopg2.connect(
                host="127.0.0.1", port=self.port, user=ADMIN, password=ADMIN_PASSWORD, dbname="postgres"
            ).close()
        except psycopg2.OperationalError:
            return False
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)
