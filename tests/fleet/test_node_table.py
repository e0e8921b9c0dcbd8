"""Rows of the tables of nodes and commands, as the API shows them."""

from __future__ import annotations

from audiosocket.fleet.node_table import nodes_json, results_json


def test_a_node_is_shown_with_the_age_of_its_heartbeat() -> None:
    (shown,) = nodes_json([("n1", "http://192.0.2.1:8082", "0.1.0", "abc", 7, "ready", 0.44)])
    assert shown == {
        "name": "n1",
        "url": "http://192.0.2.1:8082",
        "version": "0.1.0",
        "generation": "abc",
        "calls": 7,
        "state": "ready",
        "seen_seconds_ago": 0.4,
    }


def test_the_result_of_a_command_has_its_node() -> None:
    rows = [("n1", True, ""), ("n2", False, "no such call")]
    assert results_json(rows) == [
        {"node": "n1", "done": True, "message": ""},
        {"node": "n2", "done": False, "message": "no such call"},
    ]
