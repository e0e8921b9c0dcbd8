"""The description of a change: id, field, old and new value."""

from __future__ import annotations

from dataclasses import replace

from audiosocket.extensions.changes import MAX_DESCRIBED, describe_change, describe_changes
from audiosocket.extensions.model import Extension

ONE = Extension(1, "1000", "1001", "", 8080, None, 0)


def test_each_changed_field_has_its_old_and_new_value() -> None:
    after = replace(ONE, port=8081, return_port=9000, number="1002")
    assert (
        describe_change(dict(ONE.to_json()), dict(after.to_json()))
        == 'extension 1: ramal_ia "1000" -> "1002", porta_ia 8080 -> 8081, porta_retorno none -> 9000'
    )
    assert describe_change(dict(ONE.to_json()), dict(ONE.to_json())) == "extension 1: nothing differs"


def test_what_comes_and_goes_is_shown_in_full() -> None:
    values = (
        'ramal_ia "1000", ramal_retorno "1001", ip_servidor "", porta_ia 8080, porta_retorno none, condominio_id 0'
    )
    assert list(describe_changes([1], {}, {1: ONE})) == [f"extension 1 added: {values}"]
    assert list(describe_changes([1], {1: ONE}, {})) == [f"extension 1 removed: {values}"]


def test_of_many_changes_the_first_are_described() -> None:
    many = {key: replace(ONE, id=key) for key in range(MAX_DESCRIBED + 2)}
    lines = list(describe_changes(list(many), {}, many))
    assert len(lines) == MAX_DESCRIBED + 1
    assert lines[-1] == "2 more extensions changed"
