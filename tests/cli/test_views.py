"""What is printed of a fleet."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest

from audiosocket.cli.commands import succeeded
from audiosocket.cli.texts import Style
from audiosocket.cli.views import node_answers, nodes


def node(name: str, generation: str = "3fe0c1a4b2d7", state: str = "ready") -> dict[str, Any]:
    numbers = {"version": "1.0.0", "calls": 7, "seen_seconds_ago": 0.4}
    return {"name": name, "state": state, "generation": generation, **numbers}


def test_nodes_are_a_table_that_marks_the_one_that_answered() -> None:
    assert list(nodes([node("n1"), node("n2", "other", "gone")], "n1", Style())) == [
        "NODE  STATE  VERSION  CALLS   SEEN  EXTENSIONS",
        "n1 *  ready  1.0.0        7  0.4 s  3fe0c1a4b2d7",
        "n2    gone   1.0.0        7  0.4 s  other",
        "",
        "2 nodes, 1 of them alive; * answered.",
    ]
    *_, last = nodes([node("n1"), node("n2", "other")], "n1", Style())
    assert last.endswith(" They do not run the same extensions.")


def test_each_node_says_what_became_of_a_command() -> None:
    results = [{"node": "n1", "done": True, "message": "drains"}, {"node": "n2", "done": False, "message": "no"}]
    assert list(node_answers({"results": results, "missing": ["n3"]}, Style())) == [
        "done    n1: drains",
        "failed  n2: no",
        "missing n3: no answer within 2 s; it may still do it",
    ]
    assert list(node_answers({"results": [], "missing": []}, Style())) == ["No node was there."]


@pytest.mark.parametrize(
    ("action", "done", "missing", "expected"),
    [
        ("drain", [True, True], [], True),
        ("drain", [True, False], [], False),
        ("drain", [True], ["n2"], False),
        ("hang-up", [True, False], [], True),
        ("hang-up", [False, False], [], False),
    ],
)
def test_all_nodes_must_have_done_it_but_one_hangs_up(
    action: str, done: list[bool], missing: list[str], expected: bool
) -> None:
    answer = {"command": {"results": [{"done": each} for each in done], "missing": missing}}
    assert succeeded(Namespace(command="fleet", action=action), answer) is expected
