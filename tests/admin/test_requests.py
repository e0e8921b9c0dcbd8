"""Parsing of requests."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admin.requests import parse_call_id, parse_object
from admin.responses import HTTPError, encode, quoted
from tests.support.admin_client import AdminClient, for_each


@for_each(
    (b"", "empty"),
    (b" \t\r\n", "empty"),
    (b"{", "line 1 column 2"),
    (b"{'a': 1}", "JSON"),
    (b'{"a": 1} x', "JSON"),
    (b"\xff", "UTF-8"),
    ('{"a": "\u00fc"}'.encode("latin-1"), "UTF-8"),
    ('{"a": 1}'.encode("utf-16"), "UTF-8"),
    (b'{"a": "\\ud800"}', "surrogate"),
    (b'{"\\udfff": 1}', "surrogate"),
    (b'{"a": NaN}', "NaN"),
    (b'{"a": [-Infinity]}', "Infinity"),
    (b'{"a": 1e999}', "1e999"),
    (b'{"a": ' + b"9" * 60_000 + b".0}", "range"),
    (b'{"a": 1, "a": 1}', "occurs twice"),
    (b'{"a": {"b": 1, "b": 2}}', "b occurs twice"),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "deep"),
    (b"[" * 30_000 + b"]" * 30_000, "deep"),
    (b'{"a":' * 40 + b"1" + b"}" * 40, "deep"),
    (b"[]", "object"),
    (b"null", "object"),
    (b"1", "object"),
    (b'"' + b"x" * 60_000 + b'"', "object"),
)
def test_invalid_bodies(web: AdminClient, raw: bytes, word: str) -> None:
    answer = web.request("POST", "/api/restart", raw)
    message = answer.json()["message"]
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/json; charset=utf-8")
    assert word in message, message
    assert len(message) < 250
    assert web.control.requests == []


def test_valid_bodies() -> None:
    assert parse_object(b'\xef\xbb\xbf{"a": "\\u00fc\\ud83d\\ude00"}') == {"a": "ü😀"}
    assert parse_object(b' {"a": 1.5e3, "b": [true, null]} ') == {"a": 1500.0, "b": [True, None]}
    assert parse_object(b"", may_be_empty=True) == {}
    whole = parse_object(b'{"a": 101.0, "b": 1e300, "c": 0.5}')
    assert [type(value) for value in whole.values()] == [int, float, float], "as JSON Schema has it"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), values))
def test_every_json_object_is_read_unchanged(value: dict[str, object]) -> None:
    assert parse_object(json.dumps(value).encode()) == value
    assert parse_object(json.dumps(value, ensure_ascii=False).encode()) == value


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=50))
def test_any_bytes_give_an_object_or_an_error(raw: bytes) -> None:
    web = AdminClient()
    answer = web.request("PUT", "/api/extensions/0", raw)
    assert answer.status in {400, 422}, answer.body
    assert web.control.requests == []


def test_forms_of_a_uuid() -> None:
    call_id = uuid4()
    text = str(call_id)
    for spelling in (text, text.upper(), call_id.hex, f"{{{text}}}", call_id.urn, text.replace("-", "", 1)):
        assert parse_call_id(spelling) == call_id
    for rubbish in (
        *("", text[:-1], text + "0", f" {text}", f"{text}\n", text[:-1] + "g", text[:-1] + "\u0663"),
        *("_".join(text), "-" * 32, 5, None, [text], text.encode()),
    ):
        with pytest.raises(HTTPError):
            parse_call_id(rubbish)


def test_responses_are_one_line_of_utf8_with_the_spaces_of_the_replaced_service() -> None:
    said = encode({"status": "success", "message": "Configurações", "n": [1, 2], "id": ""})
    assert said == '{"status": "success", "message": "Configurações", "n": [1, 2], "id": ""}\n'.encode()
    assert encode({"a": "\udc80"}) == b'{"a": "\\udc80"}\n'


def test_quoted_values_are_short_and_printable() -> None:
    assert quoted("x" * 60) == "x" * 60
    assert quoted("x" * 61) == "x" * 57 + "..."
    assert quoted("a\r\nb\x1b") == r"'a\r\nb\x1b'"
    assert quoted(["\u202e"]) == r"['\u202e']"


@for_each("text/plain", "text/xml; charset=utf-8", "multipart/form-data; boundary=x", "application/octet-stream")
def test_a_body_of_another_type_than_json_is_415(web: AdminClient, kind: str) -> None:
    answer = web.request("POST", "/api/restart", {"extension_id": 0}, Content_Type=kind)
    assert answer.status == 415
    assert kind.partition(";")[0] in answer.json()["message"]
    assert web.control.requests == []


@for_each("", "application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json")
def test_json_is_taken_with_its_type_and_without_one(web: AdminClient, kind: str) -> None:
    assert web.request("POST", "/api/restart", {"extension_id": 0}, Content_Type=kind).status == 200


def test_what_curl_calls_a_form_is_read_as_json() -> None:
    """``curl -d`` sends this type unless it is told another one; so do the scripts of the replaced service."""
    web = AdminClient()
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    assert web.request("POST", "/api/restart", {"extension_id": 0}, **form).status == 200
    assert web.request("POST", "/api/restart", b"extension_id=0", **form).status == 400


def test_a_type_without_a_body_does_not_matter() -> None:
    web = AdminClient()
    assert web.request("POST", "/api/refresh", Content_Type="text/plain").status == 200
