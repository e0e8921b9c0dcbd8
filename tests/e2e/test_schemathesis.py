"""Schemathesis against a real server: no fault, no answer that the OpenAPI document does not have."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import KEPT, install
from tests.support.ports import free_ports
from tests.support.server_process import ServerProcess

PACKAGES = ("schemathesis>=4.3,<5",)
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
RUN_SECONDS = 240
#: Random requests for each operation, besides those that are made from its schema. The same ones at each run: it
#: is a check of what has landed and takes a bounded time. Without the token all are answered alike.
EXAMPLES = {"the token": 10, "no token": 3, "a server without tokens": 5}
#: A stream without an end, and a WebSocket.
NOT_HTTP = ("/api/events", "/api/phone")


@pytest.fixture(scope="session")
def schemathesis() -> Path:
    """The program, in an environment of its own."""
    return install(KEPT.with_name(f"{KEPT.name}-schemathesis"), PACKAGES, "Schemathesis").with_name("schemathesis")


@pytest.mark.slow
@pytest.mark.deadline(1200)
@pytest.mark.parametrize("given", EXAMPLES)
def test_it_finds_nothing(
    given: str, schemathesis: Path, tmp_path: Path, database_with_table: str, database_settings: dict[str, str]
) -> None:
    visitor, resident = free_ports(2)
    tokens = {} if given == "a server without tokens" else {"API_TOKEN": "sesame"}
    headers = ["-H", "Authorization: Bearer sesame"] if given == "the token" else []
    # A token that is guessed again and again locks the peer out, as it should: 429 for all that follows.
    unchecked = "ignored_auth"
    with ServerProcess(tmp_path / "server", {**database_settings, **tokens}, app="echo") as server:
        server.api("/api/extensions", {"ramal_ia": "1000", "porta_ia": visitor, "porta_retorno": resident})
        document = tmp_path / "openapi.json"
        document.write_bytes(_fetched(server))
        command = [
            *(str(schemathesis), "--config-file", str(CONFIGURATION), "run", str(document)),
            *(
                "--url",
                f"http://127.0.0.1:{server.api_port}",
                *(word for path in NOT_HTTP for word in ("--exclude-path", path)),
            ),
            *("--exclude-checks", unchecked),
            *(
                "--phases",
                "examples,coverage,fuzzing",
                "--max-examples",
                str(EXAMPLES[given]),
                "--seed",
                "1",
                *headers,
            ),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False, cwd=tmp_path
        )
        assert server.process is not None
        assert server.process.poll() is None
        assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-1_000:]
        assert "Traceback" not in server.log()


def _fetched(server: ServerProcess) -> bytes:
    return json.dumps(server.api("/api/openapi.json")).encode()
