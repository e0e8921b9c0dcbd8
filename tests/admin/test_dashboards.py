"""Alert rules and dashboard in ``examples``: about figures that exist, and each alert fires when it should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.documented_figures import documented

EXAMPLES = Path(__file__).parents[2] / "examples"
ALERTS = EXAMPLES / "prometheus" / "alerts.yml"
RULE_TESTS = EXAMPLES / "prometheus" / "alerts_test.yml"
BOARD = EXAMPLES / "grafana" / "audiosocket.json"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)


def named(text: str) -> set[str]:
    return set(re.findall(r"\baudiosocket_[a-z_]+", text))


def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(BOARD.read_text(encoding="utf-8"))
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in board()["panels"] for target in panel["targets"]]


def test_the_page_names_enough_to_compare_with() -> None:
    assert {"audiosocket_calls", "audiosocket_reactor_lag_seconds_bucket", "audiosocket_open_fds"} <= documented()
    assert len(documented()) > 40


def test_the_dashboard_is_about_figures_that_exist() -> None:
    text = " ".join(expressions())
    assert named(text) - documented() == set()
    assert len(named(text)) > 25


def test_the_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = board()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set[tuple[int, int]]()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in panels:
        assert panel["title"]
        for target in panel["targets"]:
            assert target["legendFormat"]


def test_every_alert_is_about_figures_that_exist_and_has_a_test() -> None:
    text = ALERTS.read_text(encoding="utf-8")
    assert named(text) - documented() == set()
    alerts = re.findall(r"- alert: (\w+)", text)
    assert sorted(alerts) == sorted(set(re.findall(r"alertname: (\w+)\n", RULE_TESTS.read_text(encoding="utf-8"))))


@needs_promtool
def test_each_alert_fires_when_it_should() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", RULE_TESTS.name],
        cwd=RULE_TESTS.parent,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_parses_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    """Grafana's own variables are filled as it fills them."""
    rules = [
        {"record": f"panel:{number}", "expr": each.replace("$__rate_interval", "1m").replace("$instance", ".*")}
        for number, each in enumerate(expressions())
    ]
    path = tmp_path / "expressions.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(path)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
