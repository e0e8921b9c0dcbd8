"""The compared servers, each started for one measurement and stopped after it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bench import machine
from bench.speech import write_speech

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.005


class DidNotStart(Exception):
    """A server that did not become ready; the text has the end of its output."""


@dataclass(frozen=True)
class Server:
    """A running server. ``api`` is the port of our HTTP API, 0 for the others."""

    pid: int
    ports: tuple[int, ...]
    directory: Path
    api: int = 0


@contextmanager
def ours(
    settings: Mapping[str, str],
    *,
    options: Sequence[str] = (),
    extensions: int = 1,
    core: int | None = machine.SERVER_CORE,
    app_rules: str = "",
) -> Iterator[Server]:
    """Run our server in a directory of its own, with defaults except for ``settings`` and ``options``.

    Log, journal and API are on. Its extensions are in the local file; ``PLAY_FILE`` has numbered frames;
    ``app_rules`` is the text of ``apps.toml``.
    """
    api, *ports = machine.free_ports(1 + 2 * extensions)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        directory = Path(scratch)
        (directory / "data").mkdir()
        (directory / "data" / "ramais_config.json").write_text(json.dumps({"ramais": rows(ports)}))
        if app_rules:
            (directory / "data" / "apps.toml").write_text(app_rules)
        write_speech(directory / "speech.wav")
        with started(Server(0, tuple(ports), directory, api), settings, options=options, core=core) as server:
            yield server


@contextmanager
def started(
    server: Server, settings: Mapping[str, str], *, options: Sequence[str] = (), core: int | None = None
) -> Iterator[Server]:
    """Run our server in the directory and on the ports of another one, which has ended."""
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(ROOT),
        "API_PORT": str(server.api),
        "PLAY_FILE": str(server.directory / "speech.wav"),
        "MAX_CALLS_PER_SECOND": "0",
        **settings,
    }
    command = [sys.executable, "-m", "audiosocket", *options]
    with _running(command, server.directory, environment, core) as process:
        _wait(lambda: _ready(server.api), process, server.directory)
        yield replace(server, pid=process.pid)


def rows(ports: Sequence[int]) -> list[dict[str, object]]:
    """Return extensions for the local file, each with two of ``ports``."""
    return [
        {
            "id": number,
            "ramal_ia": str(100_000 + number),
            "ramal_retorno": str(200_000 + number),
            "ip_servidor": "127.0.0.1",
            "porta_ia": visitor,
            "porta_retorno": resident,
            "condominio_id": 1,
        }
        for number, (visitor, resident) in enumerate(zip(ports[::2], ports[1::2], strict=True), 1)
    ]


@contextmanager
def reference(command: Sequence[str], *, speaking: bool = False) -> Iterator[Server]:
    """Run a server whose arguments are a port and, with ``speaking``, the word ``speak``."""
    (port,) = machine.free_ports(1)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        directory = Path(scratch)
        output = [*command, str(port), *(["speak"] if speaking else [])]
        with _running(output, directory, os.environ, machine.SERVER_CORE) as process:
            _wait(lambda: answers(port), process, directory)
            yield Server(process.pid, (port,), directory)


@contextmanager
def _running(
    command: Sequence[str], directory: Path, environment: Mapping[str, str], core: int | None
) -> Iterator[subprocess.Popen[bytes]]:
    with (directory / "output").open("wb") as output, machine.on_core(core):
        process = subprocess.Popen(
            command, cwd=directory, env=dict(environment), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(there: Callable[[], bool], process: subprocess.Popen[bytes], directory: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        if there():
            return
        time.sleep(POLL_SECONDS)
    last = (directory / "output").read_text(errors="replace").strip().splitlines()[-5:]
    state = "still not ready" if process.poll() is None else f"ended with status {process.returncode}"
    raise DidNotStart(f"{process.args!r} is {state}; the end of its output: {last}")


def _ready(api: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{api}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def answers(port: int) -> bool:
    """Return whether the port is open."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
