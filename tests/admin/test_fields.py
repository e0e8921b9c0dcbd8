"""What bodies and queries may be: the check and the JSON Schema in the document are the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from admin.openapi import inputs
from admin.openapi.answers import ROUTES
from admin.openapi.fields import fits
from admin.responses import HTTPError
from audiosocket.control_interface import REPORTABLE_ENDS
from audiosocket.returncalls.backends.pending import REPORTABLE

SHAPES = {f"body {name}": shape for name, shape in inputs.BODIES.items()}
SHAPES |= {f"query {name}": shape for name, shape in inputs.QUERIES.items()}

scalars = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(max_size=250)
scalars |= st.sampled_from(["visitor", "busy", "live", "1000", "8080", " ", "plain", 0, 1, 70_000])
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=3), scalars, max_size=2)


def accepts(shape: Any, body: dict[str, Any]) -> bool:
    try:
        shape.check(body)
    except HTTPError:
        return False
    return True


def test_the_shapes_are_of_routes_and_the_ends_those_that_may_be_reported() -> None:
    assert {*inputs.BODIES, *inputs.QUERIES} <= set(ROUTES)
    assert set(REPORTABLE_ENDS) == {end.value for end in REPORTABLE}


# Not parametrized: pytest-twisted wraps a property test once for each of its parameters.
@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(SHAPES)), data=st.data())
def test_what_is_accepted_is_what_the_schema_says(name: str, data: st.DataObject) -> None:
    shape = SHAPES[name]
    keys = st.sampled_from([*shape.fields, "unknown"])
    body = data.draw(st.dictionaries(keys, values, max_size=4))
    if not shape.elsewhere:
        # A call_id that is text, and no UUID, is found by the route.
        assert accepts(shape, body) == Draft202012Validator(shape.schema()).is_valid(body), body
    for each, one in shape.fields.items():
        value = body.get(each)
        assert fits(value, one.schema) == Draft202012Validator(one.schema).is_valid(value), (each, value)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from([name for name in SHAPES if name.startswith("query")]),
    text=st.text(max_size=20)
    | st.integers().map(str)
    | st.from_regex(r"-?[0-9]{14,18}", fullmatch=True)
    | st.sampled_from(["", "true", "0", "live", "plain"]),
)
def test_texts_of_queries_are_what_the_schema_of_the_parameter_says(name: str, text: str) -> None:
    shape = SHAPES[name]
    for each, schema in shape.query_schemas().items():
        kinds = str(schema)
        digits = text.removeprefix("-")
        whole = "integer" in kinds and digits.isdigit() and text.isascii() and len(digits) <= 16
        value = int(text) if whole else text
        assert _parses(shape, each, text) == Draft202012Validator(schema).is_valid(value), (each, text)


def _parses(shape: Any, name: str, text: str) -> bool:
    try:
        shape.from_query({name: text})
    except HTTPError:
        return False
    return True


def test_words_of_errors() -> None:
    with pytest.raises(HTTPError, match=r"limit is 1001; it must be a number from 1 to 1000\."):
        inputs.CALLS.from_query({"limit": "1001"})
    with pytest.raises(
        HTTPError, match=r"limti is unknown; known are state, extension, limit, cursor, fleet, search\."
    ):
        inputs.CALLS.from_query({"limti": "1"})
    assert inputs.CALLS.from_query({"limit": "", "state": "live"}) == {"state": "live"}
    assert inputs.REFRESH.from_query({"force": "", "dry_run": "False"}) == {"force": True, "dry_run": False}
