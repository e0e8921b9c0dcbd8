"""`ServerProcess` runs the checkout that it belongs to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server_process import ROOT, ServerProcess, checkout_environment


def test_processes_import_this_checkout_whatever_else_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "installed"
    (other / "audiosocket").mkdir(parents=True)
    (other / "audiosocket" / "__init__.py").write_text("raise AssertionError('the other one')\n")
    monkeypatch.setenv("PYTHONPATH", str(other))
    monkeypatch.setenv("VISITOR_APP", "no such app")
    program = "import audiosocket, os; print(audiosocket.__file__, os.environ.get('VISITOR_APP'))"
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=checkout_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == [str(ROOT / "audiosocket" / "__init__.py"), "None"]


def test_the_server_starts_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting of the environment in which the tests run is not one of the server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISITOR_APP", "no such app")
    with ServerProcess(tmp_path / "server") as server:
        assert server.api("/readyz") == {"status": "ok"}
