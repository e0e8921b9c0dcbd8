"""Rows, judged alone and against each other: a bad one is left out with a reason, a good one never is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.errors import InvalidExtension
from audiosocket.extensions.model import COLUMNS, DEFAULT_EXTENSION, Extension, Role
from audiosocket.extensions.parsing import parse_json, parse_row
from audiosocket.extensions.validation import MAX_PROBLEMS, ValidationResult, Validator
from tests.support.loopback_server import calm


def row(
    extension_id: object = 1,
    number: object = "1000",
    port: object = "8080",
    return_port: object = "8081",
    **other: object,
) -> dict[str, object]:
    """A row as psycopg2 gives it: ``char(50)`` is blank-padded."""
    values: dict[str, object] = {
        "extension_ia_id": extension_id,
        "extension_ia_number": number,
        "extension_ia_return": "1001",
        "extension_ia_ip": "192.0.2.1",
        "extension_ia_number_port": port,
        "extension_ia_return_port": return_port,
        "condominium_id": 7,
        **other,
    }
    return {key: value.ljust(50) if isinstance(value, str) else value for key, value in values.items()}


def extension(
    extension_id: int, port: int, return_port: int | None = None, number: str | None = None
) -> Extension:
    return Extension(extension_id, number or f"n{extension_id}", "r", "0.0.0.0", port, return_port, 0)


def judge(
    rows: Sequence[Extension | dict[str, object]],
    running: Sequence[Extension] = (),
    *,
    limit: int = 1000,
    page: int = 500,
    step: int = 500,
) -> ValidationResult:
    """The verdict on ``rows``, read in pages of ``page`` and settled in steps of ``step``."""
    as_rows = [{"extension_ia_id": r.id, **r.as_row()} if isinstance(r, Extension) else r for r in rows]
    court = Validator(running, limit)
    for start in range(0, len(as_rows), page):
        court.offer_rows(as_rows[start : start + page])
    while not court.settle(step):
        pass
    return court.verdict()


def ids(verdict: ValidationResult) -> list[int]:
    return [accepted.id for accepted in verdict.extensions]


# one row


def test_a_padded_row_becomes_an_extension_and_goes_back_to_the_table_and_the_file() -> None:
    parsed = parse_row(row())
    assert parsed == Extension(1, "1000", "1001", "192.0.2.1", 8080, 8081, 7)
    assert parsed.ports() == {Role.VISITOR: 8080, Role.RESIDENT: 8081}
    assert parse_row({"extension_ia_id": 1, **parsed.as_row()}) == parsed
    assert parse_json(parsed.to_json()) == parsed
    assert list(parsed.to_json()) == [
        "id", "ramal_ia", "ramal_retorno", "ip_servidor", "porta_ia", "porta_retorno", "condominio_id",
    ]  # fmt: skip


def test_a_return_port_of_zero_or_blank_is_none() -> None:
    for blank in (None, "", "   ", 0, "0", "00", "0    "):
        parsed = parse_row(row(return_port=blank))
        assert parsed.return_port is None, blank
        assert parsed.ports() == {Role.VISITOR: 8080}
        assert parsed.as_row()["extension_ia_return_port"] is None


def test_ports_may_be_text_or_integers() -> None:
    for port in ("1", "65535", 8080, "08080", "\t9000 "):
        assert parse_row(row(port=port)).port == int(port)


def refusal(**values: object) -> InvalidExtension:
    """Why the usual row with these values is refused; whoever reads it in a log sees one short line."""
    with pytest.raises(InvalidExtension) as caught:
        parse_row(row(**values))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 150
    return caught.value


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


#: What ``repr`` and ``str`` raise on.
UNSPEAKABLE = (10**5000, -(10**5000), [10**5000], nested(100_000))
BAD_PORTS = (
    None, "", " ", "0", 0, "-1", -1, "65536", 65536, "8080x", "80 80", "8080.0", 8080.0, "1e3", "0x50", "٨٠٨٠",
    "²", True, False, b"8080", [8080], {}, "9" * 100_000, "8080\0", float("nan"), *UNSPEAKABLE,
)  # fmt: skip


def test_a_bad_visitor_port_is_named_with_its_value_cut_short() -> None:
    for port in BAD_PORTS:
        error = refusal(extension_ia_number_port=port)
        assert error.field == "porta_ia"
        assert str(error).startswith("porta_ia is ")


def test_a_bad_return_port_is_not_taken_for_none() -> None:
    for port in ("-1", "65536", "x", True, False, 1.5, b"1", "8081 8082", *UNSPEAKABLE):
        error = refusal(extension_ia_return_port=port)
        assert error.field == "porta_retorno"
        assert str(error).startswith("porta_retorno is ")


def test_the_two_ports_of_a_row_must_differ() -> None:
    assert (
        str(refusal(extension_ia_number_port="8080", extension_ia_return_port=8080))
        == "porta_retorno is 8080, the same as porta_ia"
    )


def test_a_blank_number_is_refused() -> None:
    for number in (None, "", "  ", "\t\n"):
        error = refusal(extension_ia_number=number)
        assert error.field == "ramal_ia"
        assert "blank" in str(error)


def test_text_that_no_log_line_should_carry_is_refused() -> None:
    texts = ("10\x0000", "a\nb", "\x1b[31m", "a\u202eb", "x" * 51, 1.5, True, b"1", [], "\ud800", *UNSPEAKABLE)
    for column in ("extension_ia_number", "extension_ia_return", "extension_ia_ip"):
        for text in texts:
            assert refusal(**{column: text}).field == COLUMNS[column]


def test_ids_are_integers_of_the_column_s_range() -> None:
    for value in ("x", "", None, True, 1.0, 2**31, -(2**31), "99999999999", [], *UNSPEAKABLE):
        assert refusal(extension_ia_id=value).field == "id"
    for value in ("x", True, 1.0, 2**31, [], *UNSPEAKABLE):
        assert refusal(condominium_id=value).field == "condominio_id"


def test_a_row_with_only_what_is_needed_gets_the_rest_filled_in() -> None:
    assert parse_json({"id": 3, "ramal_ia": "1", "porta_ia": 5000}) == Extension(
        3, "1", "", "0.0.0.0", 5000, None, 0
    )


def test_an_entry_that_is_no_object_is_refused() -> None:
    for entry in (None, 1, "x", [], [{}], 1.5, True):
        with pytest.raises(InvalidExtension, match="is not an object"):
            parse_json(entry)


def test_an_entry_nobody_can_print_is_reported_all_the_same() -> None:
    for value in UNSPEAKABLE:
        verdict = judge([dict.fromkeys(COLUMNS, value), extension(1, 8080)])
        assert ids(verdict) == [1]
        json.dumps([problem.to_json() for problem in verdict.problems])


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, 8080, 65535, 65536]),
    st.floats(),
    st.text(max_size=60),
    st.sampled_from(["8080", " 8081 ", "1000", "\0", "8080\0", "x" * 100_000, "\ud800", "٣"]),
    st.binary(max_size=8),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@calm
@given(st.dictionaries(st.sampled_from(list(COLUMNS)), ANYTHING))
def test_any_row_is_an_extension_or_an_invalid_one_and_never_hides_a_good_one(values: dict[str, object]) -> None:
    verdict = judge([values, extension(-1, 65000, 65001)])
    parsed = verdict.extensions[-1] if ids(verdict) != [-1] else None
    assert -1 in ids(verdict)
    assert verdict.rejected == (parsed is None)
    assert all(problem.reason.isprintable() for problem in verdict.problems)
    json.dumps([problem.to_json() for problem in verdict.problems])
    if parsed is not None:
        assert parse_json(json.loads(json.dumps(parsed.to_json()))) == parsed
        assert all(1 <= port <= 65535 for port in parsed.ports().values())


# the old service's file


def test_entries_of_the_old_file_load_as_they_are() -> None:
    old = {
        "id": 12,
        "ramal_ia": "1000",
        "ramal_retorno": "1001",
        "ip_servidor": "192.0.2.7",
        "porta_ia": 8080,
        "porta_retorno": 0,
        "condominio_id": 3,
        "binding_ip": "0.0.0.0",
    }
    assert parse_json(old) == Extension(12, "1000", "1001", "192.0.2.7", 8080, None, 3)
    assert parse_json({**old, "porta_retorno": ""}).return_port is None
    assert parse_json({**old, "porta_retorno": None}).return_port is None
    assert parse_json({**old, "id": "12", "porta_ia": "8080", "porta_retorno": "8081"}).return_port == 8081


def test_the_default_extension_is_the_documented_one() -> None:
    assert DEFAULT_EXTENSION.to_json() == {
        "id": 0,
        "ramal_ia": "1000",
        "ramal_retorno": "1001",
        "ip_servidor": "0.0.0.0",
        "porta_ia": 8080,
        "porta_retorno": 8081,
        "condominio_id": 0,
    }


# rows against each other


def test_of_two_rows_that_collide_the_second_is_left_out_with_id_and_reason() -> None:
    for second, reason in (
        (extension(1, 9000), "id 1 is used by another row"),
        (extension(2, 9000, number="n1"), "ramal_ia n1 belongs to extension 1"),
        (extension(2, 8080), "porta_ia 8080 belongs to extension 1"),
        (extension(2, 8081), "porta_ia 8081 belongs to extension 1"),
        (extension(2, 9000, 8080), "porta_retorno 8080 belongs to extension 1"),
        (extension(2, 9000, 8081), "porta_retorno 8081 belongs to extension 1"),
    ):
        verdict = judge([extension(1, 8080, 8081), second, extension(3, 9500)])
        assert ids(verdict) == [1, 3], reason
        assert [(problem.id, problem.reason) for problem in verdict.problems] == [(second.id, reason)]
        assert verdict.rejected == 1


def test_a_rejected_row_claims_nothing() -> None:
    verdict = judge([extension(1, 8080), extension(2, 8080, 9000), extension(3, 9000)])
    assert ids(verdict) == [1, 3]


RUNNING = [extension(5, 8080, 8081), extension(6, 8090, 8091)]


def test_a_running_row_keeps_its_port_and_number_against_a_new_one_that_comes_first() -> None:
    for thief in (
        extension(1, 8080),
        extension(1, 9000, 8080),
        extension(1, 8081),
        extension(1, 9000, 8091),
        extension(1, 9000, number="n5"),
    ):
        verdict = judge([thief, *RUNNING], RUNNING)
        assert ids(verdict) == [5, 6], thief
        assert [problem.id for problem in verdict.problems] == [1]


def test_a_running_row_that_changed_into_a_thief_costs_itself_only() -> None:
    """Row 6 did nothing wrong: an edit of row 5 must not close its ports."""
    relabelled = Extension(6, "n6", "other", "192.0.2.9", 8090, 8091, 99)
    for changed in (
        extension(5, 8080, 8090),
        extension(5, 8080, 8091),
        extension(5, 8080, 8081, number="n6"),
        extension(5, 8090, 8081),
    ):
        for victim in (RUNNING[1], relabelled):
            verdict = judge([changed, victim], RUNNING)
            assert ids(verdict) == [6], changed
            assert [problem.id for problem in verdict.problems] == [5]


def test_a_running_row_that_changed_something_else_keeps_its_visitor_port_against_a_new_one() -> None:
    for changed in (extension(5, 8080, 9500), extension(5, 8080, 8081, number="new")):
        verdict = judge([extension(1, 8080), changed], RUNNING)
        assert verdict.extensions == (changed,)


def test_rows_may_swap_or_pass_on_what_runs() -> None:
    swapped = [extension(5, 8090, 8091, number="n6"), extension(6, 8080, 8081, number="n5")]
    assert judge(swapped, RUNNING).extensions == tuple(swapped)
    passed_on = [extension(5, 9000, 9001, number="new"), extension(7, 8080, 8081, number="n5")]
    assert judge(passed_on, RUNNING).extensions == tuple(passed_on)


def test_the_double_of_a_running_row_does_not_replace_it() -> None:
    assert judge([extension(5, 9000), *RUNNING], RUNNING).extensions == tuple(RUNNING)


def test_at_most_so_many_extensions_are_accepted_and_those_that_run_come_first() -> None:
    rows = [extension(n, 9000 + n) for n in range(1, 5)]
    verdict = judge([*rows, *RUNNING], RUNNING, limit=3)
    assert ids(verdict) == [1, 5, 6]
    assert "MAX_EXTENSIONS" in verdict.problems[0].reason


def test_a_hundred_problems_are_kept_and_all_are_counted() -> None:
    verdict = judge([row(n, number="same", port=str(1000 + n)) for n in range(1000)])
    assert verdict.rejected == 999
    assert len(verdict.problems) == MAX_PROBLEMS == 100
    assert ids(verdict) == [0]


SMALL = st.builds(
    extension,
    st.integers(1, 6),
    st.integers(8080, 8086),
    st.none() | st.integers(8087, 8090) | st.integers(8080, 8082),
    st.sampled_from(["a", "b", "c", "d", "e", "f"]),
).filter(lambda e: e.port != e.return_port)


@calm
@given(st.lists(SMALL, max_size=12), st.lists(SMALL, max_size=6), st.integers(1, 5), st.integers(1, 5))
def test_the_verdict_depends_neither_on_pages_nor_on_steps_and_is_free_of_conflicts(
    rows: list[Extension], before: list[Extension], page: int, step: int
) -> None:
    running = judge(before).extensions
    verdict = judge(rows, running)
    assert judge(rows, running, page=page, step=step) == verdict
    ports = [port for accepted in verdict.extensions for port in accepted.ports().values()]
    assert len(set(ports)) == len(ports)
    assert len({accepted.number for accepted in verdict.extensions}) == len(verdict.extensions)
    assert len(set(ids(verdict))) == len(verdict.extensions) == len(rows) - verdict.rejected
    assert set(verdict.extensions) <= set(rows)
    # Whoever claims nothing but what it holds already stays, whatever the other rows say.
    held = {e.id: ({e.port, e.return_port, None}, e.number) for e in running}
    modest = {
        e.id
        for e in rows
        if e.id in held and {e.port, e.return_port} <= held[e.id][0] and e.number == held[e.id][1]
    }
    assert modest <= set(ids(verdict))
