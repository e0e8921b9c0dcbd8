"""Programs of others, in environments of their own; without them these tests are skipped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_ports
from tests.support.server_process import wait_until

PACKAGES = ("pipecat-ai[websocket]>=1.14,<2", "uvicorn", "python-multipart", "websockets>=13", "openai>=2,<4")
#: What the realtime server of speech-to-speech imports; the models, a few gigabytes, are left out.
REALTIME_PACKAGES = (
    "fastapi>=0.115",
    "uvicorn>=0.30",
    "websockets>=12",
    "openai==2.28.0",
    "numpy>=1.26",
    "scipy>=1.10",
    "soxr>=0.3.2",
    "httpx>=0.28",
    "jsonschema>=4",
    "PyYAML>=6",
    "huggingface-hub>=0.34",
    "rich>=13",
)
INSTALL_SECONDS, START_SECONDS = 600, 120
#: Where the environment is kept from one run to the next.
KEPT = Path(os.environ.get("E2E_VENV") or Path(tempfile.gettempdir()) / f"audiosocket-e2e-{sys.version_info[1]}")


@pytest.fixture(scope="session")
def bot_python() -> Path:
    """The interpreter that has `PACKAGES`; only with ``E2E=1``, as it takes a minute and half a gigabyte."""
    return install(KEPT, PACKAGES, "Pipecat")


@pytest.fixture(scope="session")
def realtime_python() -> Path:
    """The interpreter that has the Realtime server of speech-to-speech, of Python 3.11 or newer."""
    directory = KEPT.with_name(f"{KEPT.name}-realtime")
    install(directory, REALTIME_PACKAGES, "speech-to-speech")
    return install(directory, ("--no-deps", "speech-to-speech>=1.1,<1.2"), "speech-to-speech")


def install(directory: Path, packages: Sequence[str], what: str) -> Path:
    """Install packages into an environment in ``directory``; return its interpreter, or skip the test."""
    if os.environ.get("E2E") != "1":
        pytest.skip(f"set E2E=1 to install {what} into an environment of its own and run it")
    python = directory / "bin" / "python"
    if not python.exists():
        venv.create(directory, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{what} was not installed within {INSTALL_SECONDS} s")
    if done.returncode:
        pytest.skip(f"{what} cannot be installed: {done.stderr.strip()[-500:]}")
    return python


@contextmanager
def running_bot(python: Path, script: Path, *arguments: str, directory: Path) -> Iterator[int]:
    """Run a bot until the test is over; ``{port}`` in ``arguments`` is a free port."""
    (chosen,) = free_ports(1)
    settings = {**os.environ, "TWILIO_ACCOUNT_SID": "AC0", "TWILIO_AUTH_TOKEN": "x"}
    settings.pop("PYTHONPATH", None)
    with (directory / "bot.log").open("wb") as log:
        words = [each.replace("{port}", str(chosen)) for each in arguments]
        process = subprocess.Popen([str(python), str(script), *words], stdout=log, stderr=log, env=settings)
    try:
        up = wait_until(lambda: process.poll() is not None or _listens(chosen), START_SECONDS)
        assert up, "the bot does not listen"
        assert process.poll() is None, (directory / "bot.log").read_text()[-3000:]
        yield chosen
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
