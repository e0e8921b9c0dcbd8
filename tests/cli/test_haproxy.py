"""The configuration that ``audiosocket haproxy`` prints, and the shipped one of a pair."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.cli.__main__ import run
from audiosocket.cli.haproxy import port_ranges
from tests.support.server_process import ROOT

EXAMPLES = ROOT / "examples" / "haproxy"
NODES = ("--node", "10.0.0.31", "--node", "10.0.0.32", "--ports", "8101-8300")
FIRST, SECOND = ("--peer", "lb1=10.0.0.21"), ("--peer", "lb2=10.0.0.22")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use an empty directory, which has no ``.env``."""
    monkeypatch.chdir(tmp_path)


def printed(*arguments: str, **environment: str) -> str:
    out = io.StringIO()
    assert run(["haproxy", *arguments], environment, out) == 0
    return out.getvalue()


def checked(text: str, directory: Path) -> str:
    """Return what HAProxy says of a configuration, which it must take."""
    binary = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if binary is None:
        pytest.skip("haproxy is not installed (Debian: haproxy)")
    path = directory / "haproxy.cfg"
    path.write_text(text)
    done = subprocess.run([binary, "-c", "-f", str(path)], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


@pytest.mark.parametrize(
    ("name", "peers"), [("lb1", (*FIRST, *SECOND)), ("lb2", (*SECOND, *FIRST))], ids=["lb1", "lb2"]
)
def test_the_shipped_configurations_are_those_that_are_printed(
    name: str, peers: tuple[str, ...], tmp_path: Path
) -> None:
    text = printed(*NODES, *peers)
    assert (EXAMPLES / f"{name}.cfg").read_text() == text
    said = checked(text, tmp_path)
    assert "WARNING" not in said
    assert "ALERT" not in said


def test_everything_else_has_an_example_value(tmp_path: Path) -> None:
    text = printed()
    assert "bind 10.0.0.21:8080-8081" in text  # the built-in extension
    checked(text, tmp_path)


def test_ports_come_from_the_command_then_from_the_setting_then_from_the_local_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = [{"id": n, "ramal_ia": str(n), "porta_ia": 9_000 + 2 * n} for n in range(20)]
    (data / "ramais_config.json").write_text(str({"ramais": rows}).replace("'", '"'))
    binds = [line for line in printed().splitlines() if line.startswith("    bind ")]
    assert re.findall(r":([0-9]+)\b", "".join(binds)) == [str(row["porta_ia"]) for row in rows]
    checked(printed(), tmp_path)
    assert "bind 10.0.0.21:8101-8300\n" in printed(FLEET_PORTS="8101-8300")
    assert "bind 10.0.0.99:8200-8201\n" in printed(
        "--ports", "8200-8201", "--bind", "10.0.0.99", FLEET_PORTS="1-2"
    )


def test_nodes_have_names_and_the_port_of_the_api() -> None:
    text = printed("--node", "west=10.1.0.1", "--node", "10.1.0.2", API_PORT="8090")
    assert "server west 10.1.0.1 check port 8090 send-proxy-v2\n" in text
    assert "server n2 10.1.0.2 check port 8090 send-proxy-v2\n" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("--node", "a b"),
        ("--node", "x\n=10.0.0.1"),
        ("--node", "a=1.1.1.1", "--node", "a=2.2.2.2"),
        ("--peer", "="),
        ("--ports", "9-1"),
        ("--api-port", "x"),
    ],
)
def test_what_cannot_be_used_is_refused(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["haproxy", *arguments], {}, io.StringIO()) == 1
    assert capsys.readouterr().err.startswith("audiosocket haproxy: ")


@given(st.sets(st.integers(1, 300), min_size=1))
def test_ranges_have_exactly_the_ports(ports: set[int]) -> None:
    found: list[int] = []
    for each in port_ranges(ports):
        low, _, high = each.partition("-")
        found += range(int(low), int(high or low) + 1)
    assert found == sorted(ports)
