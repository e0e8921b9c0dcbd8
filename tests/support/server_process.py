"""The real server in a process of its own."""

from __future__ import annotations

import configparser
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from audiosocket.settings import catalogue
from tests.support.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20
STOP_SECONDS = 15


def checkout_environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that imports this checkout and has no settings but ``settings``.

    Only LEG_TRANSPORT is inherited: the whole suite runs with each of its values.
    """
    names = {setting.name for setting in catalogue()} - {"LEG_TRANSPORT"}
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    # PYTHONPATH comes before everything that is installed.
    return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1", **(settings or {})}


def install_example_app(directory: Path, name: str) -> None:
    """Install one of ``examples/apps`` as pip would, into the working directory of the server."""
    package = ROOT / "examples" / "apps" / name
    declared = configparser.ConfigParser()
    declared.read(package / "setup.cfg")
    module = f"audiosocket_{name}"
    (entry,) = declared["options.entry_points"]["audiosocket.apps"].strip().splitlines()
    assert entry.startswith(f"{name} = {module}:")
    install_app(directory, entry, (package / f"{module}.py").read_text())


def install_app(directory: Path, entry: str, source: str) -> None:
    """Install an app with the entry point ``name = module:Class`` into the working directory of the server."""
    module = entry.partition(" = ")[2].partition(":")[0]
    info = directory / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[audiosocket.apps]\n{entry}\n")
    (directory / f"{module}.py").write_text(source)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition is true; return whether it was within ``seconds``."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return True
        pause.wait(0.02)
    return condition()


class ServerProcess:
    """``python -m audiosocket`` in a directory, with settings from the environment.

    Without ``rows`` the local file has one extension, id 1, number 1000, on `visitor` and `resident`; with a
    database in ``settings`` there is no file. Both legs run ``app``; if it is empty, what a fresh install runs.
    As a context manager it waits until ``/readyz`` answers 200, and stops the process in every case.
    """

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, str] | None = None,
        *,
        rows: Sequence[Mapping[str, Any]] | None = None,
        options: Sequence[str] = (),
        command: Sequence[str] = (sys.executable, "-m", "audiosocket"),
        wait: bool = True,
        app: str = "play+echo",
    ) -> None:
        self.directory = directory
        self.visitor, self.resident, self.api_port = free_ports(3)
        apps = {"VISITOR_APP": app, "RESIDENT_APP": app} if app else {}
        self.settings = {"API_PORT": str(self.api_port), "DRAIN_SECONDS": "0", **apps, **(settings or {})}
        self.api_port = int(self.settings["API_PORT"])
        self._rows = rows
        self._options = options
        self._command = command
        self._wait = wait
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServerProcess:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._rows is None and "DB_HOST" not in self.settings:
            self._rows = [{"id": 1, "ramal_ia": "1000", "porta_ia": self.visitor, "porta_retorno": self.resident}]
        if self._rows is not None:
            data = self.directory / "data"
            data.mkdir(exist_ok=True)
            (data / "ramais_config.json").write_text(json.dumps({"ramais": list(self._rows)}))
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    @property
    def pid(self) -> int:
        """The process id of the server."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start the process, for the first time or again."""
        with (self.directory / "stdout.txt").open("ab") as out:
            self.process = subprocess.Popen(
                [*self._command, *self._options],
                cwd=self.directory,
                env=checkout_environment(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        if self._wait and not self.until_ready():
            self.stop()
            raise AssertionError("the server did not become ready:\n" + self.stdout())

    def until_ready(self, seconds: float = START_SECONDS) -> bool:
        """Wait until ``/readyz`` answers 200; return False after ``seconds`` or when the process has ended."""
        pause = threading.Event()
        for _ in range(int(seconds / 0.05)):
            if self.process is None or self.process.poll() is not None:
                return False
            try:
                if self.request("/readyz")[0] == 200:
                    return True
            except OSError:  # not there yet, or about to take another port
                pause.wait(0.05)
            else:
                pause.wait(0.05)
        return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status; if the process does not end, fail with its stacks."""
        assert self.process is not None
        self.process.send_signal(how)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler writes the stacks of all threads
            self.process.wait(STOP_SECONDS)
            raise AssertionError(f"it did not stop:\n{self.stdout()[-10_000:]}") from None

    def request(self, path: str, body: object = None, method: str | None = None) -> tuple[int, Any]:
        """Send one HTTP request, with ``body`` as JSON a POST; return status and JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept-Language": "en"}
        if "API_TOKEN" in self.settings:
            headers["Authorization"] = f"Bearer {self.settings['API_TOKEN']}"
        host = self.settings.get("API_HOST", "127.0.0.1")
        request = Request(f"http://{host}:{self.api_port}{path}", data, headers, method=method)
        try:
            with urlopen(request, timeout=15) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    def api(self, path: str, body: object = None, method: str | None = None) -> Any:
        """Send a request that must succeed; return its JSON."""
        status, answer = self.request(path, body, method)
        assert status < 300, (status, answer)
        return answer

    def log(self) -> str:
        """Return the log file so far."""
        return (self.directory / "logs" / "audiosocket.log").read_text(encoding="utf-8")

    def stdout(self) -> str:
        """Return what the process wrote to standard output and error."""
        return (self.directory / "stdout.txt").read_text(encoding="utf-8", errors="replace")
