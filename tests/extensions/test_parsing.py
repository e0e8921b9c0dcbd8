"""Parsing and validation of rows: a bad one is left out with a reason, a good one never is."""

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
from tests.support.loopback_server import no_deadline


def row(
    extension_id: object = 1,
    number: object = "1000",
    port: object = "8080",
    return_port: object = "8081",
    **other: object,
) -> dict[str, object]:
    """Return a row as psycopg2 does: ``char(50)`` is blank-padded."""
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


def validate(
    rows: Sequence[Extension | dict[str, object]],
    running: Sequence[Extension] = (),
    *,
    limit: int = 1000,
    page: int = 500,
    step: int = 500,
) -> ValidationResult:
    """Return the result for ``rows``, added in pages of ``page`` and validated in steps of ``step``."""
    as_rows = [{"extension_ia_id": r.id, **r.as_row()} if isinstance(r, Extension) else r for r in rows]
    validator = Validator(running, limit)
    for start in range(0, len(as_rows), page):
        validator.add_rows(as_rows[start : start + page])
    while not validator.validate_pending(step):
        pass
    return validator.result()


def ids(result: ValidationResult) -> list[int]:
    return [accepted.id for accepted in result.extensions]


# one row


def test_a_padded_row_survives_the_round_trip_to_table_and_file() -> None:
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


def rejection(**values: object) -> InvalidExtension:
    """Return the error for a valid row with these values changed; its text is one short line."""
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


#: Values on which ``repr`` and ``str`` raise.
UNPRINTABLE: tuple[object, ...] = (10**5000, -(10**5000), [10**5000], nested(100_000))
BAD_PORTS: tuple[object, ...] = (
    None, "", " ", "0", 0, "-1", -1, "65536", 65536, "8080x", "80 80", "8080.0", 8080.0, "1e3", "0x50", "٨٠٨٠",
    "²", True, False, b"8080", [8080], {}, "9" * 100_000, "8080\0", float("nan"), *UNPRINTABLE,
)  # fmt: skip


def test_a_bad_visitor_port_is_reported_with_its_shortened_value() -> None:
    for port in BAD_PORTS:
        error = rejection(extension_ia_number_port=port)
        assert error.field == "porta_ia"
        assert str(error).startswith("porta_ia is ")


def test_a_bad_return_port_is_an_error_and_not_none() -> None:
    for port in ("-1", "65536", "x", True, False, 1.5, b"1", "8081 8082", *UNPRINTABLE):
        error = rejection(extension_ia_return_port=port)
        assert error.field == "porta_retorno"
        assert str(error).startswith("porta_retorno is ")


def test_the_two_ports_of_a_row_must_differ() -> None:
    assert (
        str(rejection(extension_ia_number_port="8080", extension_ia_return_port=8080))
        == "porta_retorno is 8080, the same as porta_ia"
    )


def test_a_blank_number_is_rejected() -> None:
    for number in (None, "", "  ", "\t\n"):
        error = rejection(extension_ia_number=number)
        assert error.field == "ramal_ia"
        assert "blank" in str(error)


def test_text_with_control_characters_or_too_long_is_rejected() -> None:
    texts: tuple[object, ...] = (
        "10\x0000",
        "a\nb",
        "\x1b[31m",
        "a\u202eb",
        "x" * 51,
        1.5,
        True,
        b"1",
        [],
        "\ud800",
        *UNPRINTABLE,
    )
    for column in ("extension_ia_number", "extension_ia_return", "extension_ia_ip"):
        for text in texts:
            assert rejection(**{column: text}).field == COLUMNS[column]


def test_ids_must_be_in_the_range_of_an_integer_column() -> None:
    for value in ("x", "", None, True, 1.0, 2**31, -(2**31), "99999999999", [], *UNPRINTABLE):
        assert rejection(extension_ia_id=value).field == "id"
    for value in ("x", True, 1.0, 2**31, [], *UNPRINTABLE):
        assert rejection(condominium_id=value).field == "condominio_id"


def test_optional_fields_have_defaults() -> None:
    assert parse_json({"id": 3, "ramal_ia": "1", "porta_ia": 5000}) == Extension(
        3, "1", "", "0.0.0.0", 5000, None, 0
    )


def test_an_entry_that_is_no_object_is_rejected() -> None:
    entries: tuple[object, ...] = (None, 1, "x", [], [{}], 1.5, True)
    for entry in entries:
        with pytest.raises(InvalidExtension, match="is not an object"):
            parse_json(entry)


def test_an_entry_that_cannot_be_printed_is_reported() -> None:
    for value in UNPRINTABLE:
        result = validate([dict.fromkeys(COLUMNS, value), extension(1, 8080)])
        assert ids(result) == [1]
        json.dumps([problem.to_json() for problem in result.problems])


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


@no_deadline
@given(st.dictionaries(st.sampled_from(list(COLUMNS)), ANYTHING))
def test_any_row_is_parsed_or_rejected_and_does_not_affect_a_good_one(values: dict[str, object]) -> None:
    result = validate([values, extension(-1, 65000, 65001)])
    parsed = result.extensions[-1] if ids(result) != [-1] else None
    assert -1 in ids(result)
    assert result.rejected == (parsed is None)
    assert all(problem.reason.isprintable() for problem in result.problems)
    json.dumps([problem.to_json() for problem in result.problems])
    if parsed is not None:
        assert parse_json(json.loads(json.dumps(parsed.to_json()))) == parsed
        assert all(1 <= port <= 65535 for port in parsed.ports().values())


# the previous service's file


def test_entries_of_the_previous_services_file_can_be_parsed() -> None:
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


# validation across rows


def test_of_two_conflicting_rows_the_second_is_left_out_with_id_and_reason() -> None:
    for second, reason in (
        (extension(1, 9000), "id 1 is used by another row"),
        (extension(2, 9000, number="n1"), "ramal_ia n1 belongs to extension 1"),
        (extension(2, 8080), "porta_ia 8080 belongs to extension 1"),
        (extension(2, 8081), "porta_ia 8081 belongs to extension 1"),
        (extension(2, 9000, 8080), "porta_retorno 8080 belongs to extension 1"),
        (extension(2, 9000, 8081), "porta_retorno 8081 belongs to extension 1"),
    ):
        result = validate([extension(1, 8080, 8081), second, extension(3, 9500)])
        assert ids(result) == [1, 3], reason
        assert [(problem.id, problem.reason) for problem in result.problems] == [(second.id, reason)]
        assert result.rejected == 1


def test_a_rejected_row_claims_nothing() -> None:
    result = validate([extension(1, 8080), extension(2, 8080, 9000), extension(3, 9000)])
    assert ids(result) == [1, 3]


RUNNING = [extension(5, 8080, 8081), extension(6, 8090, 8091)]


def test_a_running_row_keeps_port_and_number_against_a_new_row_before_it() -> None:
    for new in (
        extension(1, 8080),
        extension(1, 9000, 8080),
        extension(1, 8081),
        extension(1, 9000, 8091),
        extension(1, 9000, number="n5"),
    ):
        result = validate([new, *RUNNING], RUNNING)
        assert ids(result) == [5, 6], new
        assert [problem.id for problem in result.problems] == [1]


def test_a_running_row_changed_into_a_conflict_is_rejected_and_the_other_kept() -> None:
    """An edit of row 5 must not close the ports of row 6."""
    relabelled = Extension(6, "n6", "other", "192.0.2.9", 8090, 8091, 99)
    for changed in (
        extension(5, 8080, 8090),
        extension(5, 8080, 8091),
        extension(5, 8080, 8081, number="n6"),
        extension(5, 8090, 8081),
    ):
        for other in (RUNNING[1], relabelled):
            result = validate([changed, other], RUNNING)
            assert ids(result) == [6], changed
            assert [problem.id for problem in result.problems] == [5]


def test_a_changed_row_keeps_its_visitor_port_against_a_new_row() -> None:
    for changed in (extension(5, 8080, 9500), extension(5, 8080, 8081, number="new")):
        result = validate([extension(1, 8080), changed], RUNNING)
        assert result.extensions == (changed,)


def test_running_rows_may_swap_or_hand_over_ports_and_numbers() -> None:
    swapped = [extension(5, 8090, 8091, number="n6"), extension(6, 8080, 8081, number="n5")]
    assert validate(swapped, RUNNING).extensions == tuple(swapped)
    handed_over = [extension(5, 9000, 9001, number="new"), extension(7, 8080, 8081, number="n5")]
    assert validate(handed_over, RUNNING).extensions == tuple(handed_over)


def test_a_second_row_with_a_running_id_does_not_replace_it() -> None:
    assert validate([extension(5, 9000), *RUNNING], RUNNING).extensions == tuple(RUNNING)


def test_at_most_limit_extensions_are_accepted_running_ones_first() -> None:
    rows = [extension(n, 9000 + n) for n in range(1, 5)]
    result = validate([*rows, *RUNNING], RUNNING, limit=3)
    assert ids(result) == [1, 5, 6]
    assert "MAX_EXTENSIONS" in result.problems[0].reason


def test_a_hundred_problems_are_kept_and_all_are_counted() -> None:
    result = validate([row(n, number="same", port=str(1000 + n)) for n in range(1000)])
    assert result.rejected == 999
    assert len(result.problems) == MAX_PROBLEMS == 100
    assert ids(result) == [0]


SMALL = st.builds(
    extension,
    st.integers(1, 6),
    st.integers(8080, 8086),
    st.none() | st.integers(8087, 8090) | st.integers(8080, 8082),
    st.sampled_from(["a", "b", "c", "d", "e", "f"]),
).filter(lambda e: e.port != e.return_port)


@no_deadline
@given(st.lists(SMALL, max_size=12), st.lists(SMALL, max_size=6), st.integers(1, 5), st.integers(1, 5))
def test_the_result_is_free_of_conflicts_and_does_not_depend_on_pages_or_steps(
    rows: list[Extension], before: list[Extension], page: int, step: int
) -> None:
    running = validate(before).extensions
    result = validate(rows, running)
    assert validate(rows, running, page=page, step=step) == result
    ports = [port for accepted in result.extensions for port in accepted.ports().values()]
    assert len(set(ports)) == len(ports)
    assert len({accepted.number for accepted in result.extensions}) == len(result.extensions)
    assert len(set(ids(result))) == len(result.extensions) == len(rows) - result.rejected
    assert set(result.extensions) <= set(rows)
    # A row with nothing but what its running extension has is kept, whatever the other rows are.
    held = {e.id: ({e.port, e.return_port, None}, e.number) for e in running}
    unchanged = {
        e.id
        for e in rows
        if e.id in held and {e.port, e.return_port} <= held[e.id][0] and e.number == held[e.id][1]
    }
    assert unchanged <= set(ids(result))
