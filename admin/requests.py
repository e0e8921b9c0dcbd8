"""What comes in: request bodies, queries and ids, checked as far as HTTP goes.

Whether a port is a port is not decided here: that is `audiosocket.extensions.parsing.parse_json`, behind Control.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from admin.responses import HTTPError, quoted
from audiosocket.asterisk.dialplan import STYLES, Style, named
from audiosocket.errors import UnknownExtension
from audiosocket.extensions.model import COLUMNS, MAX_INTEGER, Role

#: Keys of a request body that describes an extension.
FIELDS = tuple(key for key in COLUMNS.values() if key != "id")

_INTEGER = re.compile(r"-?[0-9]{1,10}", re.ASCII)
_UUID = re.compile(r"(?:urn:uuid:)?\{?[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}\}?", re.ASCII | re.IGNORECASE)
_WISHES = ("force", "dry_run")
_FLAGS = {"": True, "true": True, "1": True, "false": False, "0": False}


def parse_object(raw: bytes, *, may_be_empty: bool = False) -> dict[str, Any]:
    """The JSON object in a body; raises `HTTPError` (400).

    Stricter than `json.loads` where a lenient reading would guess: duplicate keys, NaN, infinite numbers
    and half surrogate pairs are refused.
    """
    if not raw.strip():
        if may_be_empty:
            return {}
        raise HTTPError(400, "The body is empty; send a JSON object.")
    try:
        value = json.loads(
            raw.decode("utf-8-sig"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise HTTPError(400, "The body is not UTF-8 text (or escapes half a surrogate pair).") from None
    except RecursionError:
        raise HTTPError(400, "The body is nested too deeply.") from None
    except ValueError as error:
        raise HTTPError(400, f"The body is not valid JSON: {quoted(str(error), 160)}.") from None
    if not isinstance(value, dict):
        raise HTTPError(400, f"The body is {quoted(value)}, not a JSON object.")
    return value


def extension_fields(raw: bytes) -> dict[str, Any]:
    """The fields of a new extension; raises `HTTPError` (400, 422)."""
    given = parse_object(raw)
    if "id" in given:
        raise HTTPError(422, "id is given by the server; leave it out.", field="id")
    _known(given, FIELDS)
    return given


def changed_fields(raw: bytes, extension_id: int) -> dict[str, Any]:
    """The fields to change of an extension, those not given stay; raises `HTTPError` (400, 422)."""
    given = parse_object(raw)
    if str(given.pop("id", extension_id)) != str(extension_id):
        raise HTTPError(422, f"id cannot change; leave it out or send {extension_id}.", field="id")
    _known(given, FIELDS)
    if not given:
        raise HTTPError(422, f"There is nothing to change; send at least one of {', '.join(FIELDS)}.")
    return given


def which_extension(raw: bytes) -> tuple[int | None, str | None]:
    """The extension a body names, as (id, None) or (None, number); the id wins; raises `HTTPError` (400)."""
    given = parse_object(raw)
    extension_id, number = given.get("extension_id"), given.get("ramal")
    if extension_id is not None:
        if isinstance(extension_id, bool) or not isinstance(extension_id, int):
            raise HTTPError(400, f"extension_id is {quoted(extension_id)}, not an integer.", field="extension_id")
        return parse_extension_id(str(extension_id)), None
    if number is None:
        raise HTTPError(400, 'Name the extension: {"extension_id": 123} or {"ramal": "1001"}.')
    if not isinstance(number, str) or not number.strip():
        raise HTTPError(400, f"ramal is {quoted(number)}, not the number of an extension as text.", field="ramal")
    return None, number.strip()


def which_leg(raw: bytes) -> tuple[UUID, Role]:
    """The leg a body names, the visitor's when it names no role; raises `HTTPError` (400)."""
    given = parse_object(raw)
    call_id, role = given.get("call_id"), given.get("role")
    if call_id is None:
        raise HTTPError(400, "call_id is missing; it is the UUID of the call.", field="call_id")
    known = [member.value for member in Role]
    if role is not None and role not in known:
        raise HTTPError(400, f"role is {quoted(role)}; it must be {' or '.join(known)}.", field="role")
    return parse_call_id(call_id), Role.VISITOR if role is None else Role(role)


def return_numbers(raw: bytes) -> list[str]:
    """The numbers to ring, in their order; raises `HTTPError` (400, 422 for a key that is unknown).

    A whole number stands for its digits; one with leading zeros must be text.
    """
    given = parse_object(raw)
    _known(given, ("number", "numbers"))
    if len(given) != 1:
        raise HTTPError(400, 'Name whom to ring: {"number": "101"} or {"numbers": ["101", "102"]}.')
    key, value = next(iter(given.items()))
    numbers = value if key == "numbers" and isinstance(value, list) else [value]
    for number in numbers:
        whole = isinstance(number, int) and not isinstance(number, bool) and number >= 0
        if not whole and not isinstance(number, str):
            raise HTTPError(400, f"{key} is {quoted(value)}, not text or a list of texts.", field=key)
    return [str(number).strip() for number in numbers]


def attempt_end(raw: bytes) -> tuple[str, str]:
    """How an attempt ended and why; which ends there are is not decided here. Raises `HTTPError` (400, 422)."""
    given = parse_object(raw)
    _known(given, ("end", "reason"))
    end, reason = given.get("end"), given.get("reason")
    if not isinstance(end, str):
        raise HTTPError(400, 'Say how it ended: {"end": "busy", "reason": "in another call"}.', field="end")
    if not isinstance(reason, str | None):
        raise HTTPError(400, f"reason is {quoted(reason)}, not text.", field="reason")
    return end, reason or ""


def refresh_wishes(raw: bytes, uri: bytes) -> dict[str, bool]:
    """``force`` and ``dry_run`` from the body or the query of ``uri``, the body wins; raises `HTTPError`.

    A misspelt wish is an error: somebody who asked for a dry run must not get a real one.
    """
    # Twisted's own query parser drops "?dry_run" because it has no "=".
    _, _, query = uri.partition(b"?")
    given: dict[str, Any] = {}
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        given[name] = _FLAGS.get(text.lower(), text)
    given.update(parse_object(raw, may_be_empty=True))
    _known(given, _WISHES)
    for name, value in given.items():
        if not isinstance(value, bool):
            raise HTTPError(400, f"{name} is {quoted(value)}; it must be true or false.", field=name)
    return {name: given.get(name, False) for name in _WISHES}


def dialplan_wishes(uri: bytes) -> tuple[Style, bool, str]:
    """``style``, ``wideband`` and ``host`` (empty: not given) from the query of ``uri``.

    Raises `HTTPError`, and `InvalidExtension` for a host that is none.
    """
    _, _, query = uri.partition(b"?")
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    _known(given, ("style", "wideband", "host"))
    name, flag = given.get("style", "plain"), given.get("wideband", "false")
    style = next((style for style in STYLES if style == name), None)
    if style is None:
        raise HTTPError(400, f"style is {quoted(name)}; it must be {' or '.join(STYLES)}.", field="style")
    wideband = _FLAGS.get(flag.lower())
    if wideband is None:
        raise HTTPError(400, f"wideband is {quoted(flag)}; it must be true or false.", field="wideband")
    return style, wideband, named(given["host"]) if "host" in given else ""


def parse_call_id(text: object) -> UUID:
    """A UUID in any of its spellings; raises `HTTPError` (400)."""
    if not isinstance(text, str) or not _UUID.fullmatch(text):
        raise HTTPError(400, f"call_id is {quoted(text)}, not a UUID.", field="call_id")
    return UUID(text)


def parse_extension_id(text: str) -> int:
    """The id of an extension; raises `UnknownExtension` for what no row can have."""
    if not _INTEGER.fullmatch(text) or abs(int(text)) > MAX_INTEGER:
        raise UnknownExtension(f"No extension has the id {quoted(text)}.")
    return int(text)


def _known(given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise HTTPError(
                422, f"{quoted(key)} is not known here; there are {', '.join(known)}.", field=quoted(key)
            )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {quoted(twice)} is there twice")
    return members


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{quoted(text)} is out of range")
    return number
