"""The name of a node, and how it is noticed that another node uses it."""

from __future__ import annotations

from audiosocket.fleet.identity import MAX_REFUSED, REMEMBERED, NameWatch, node


def test_a_node_is_called_as_set_else_after_its_host_and_its_data_directory() -> None:
    assert node("n1", "door", "data", "life").name == "n1"
    default = node("", "door", "data", "life")
    assert default.name == f"door-{default.place}"
    assert default == node("", "door", "data", "life")
    assert len({node("", host, path, "").name for host in ("a", "b") for path in ("x", "y")}) == 4


def test_a_restart_is_no_second_node() -> None:
    watch = NameWatch("new")
    watch.answered("old", "new")
    assert not watch.shared
    watch.answered(None, "new")  # the row was deleted meanwhile
    watch.answered("new", "new")
    assert not watch.shared


def test_a_name_that_changes_hands_is_shared_and_stays_so_for_a_while() -> None:
    watch = NameWatch("mine")
    watch.answered("", "mine")
    watch.answered("other", "mine")
    assert watch.shared
    for _ in range(REMEMBERED):
        watch.answered("mine", "mine")
    assert not watch.shared


def test_a_killed_node_may_refuse_its_name_for_some_seconds_and_a_living_one_is_noticed() -> None:
    watch = NameWatch("mine")
    for _ in range(MAX_REFUSED - 1):
        watch.answered("other", "other" if watch.shared else None)
    assert not watch.shared
    watch.answered("other", None)
    assert watch.shared
