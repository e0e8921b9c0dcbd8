"""HTTP requests: parsing of bodies, queries and ids.

The values of an extension are not checked here but in `audiosocket.extensions.parsing.parse_json`, behind
`Control`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from admin.responses import HTTPError, quoted
from audiosocket.asterisk.dialplan import STYLES, Style, named
from audiosocket.control_interface import CallSelection
from audiosocket.errors import UnknownExtension
from audiosocket.extensions.model import COLUMNS, MAX_INTEGER, Role
from audiosocket.runtime.event_filter import EventFilter

#: Keys of a request body that describes an extension.
FIELDS = tuple(key for key in COLUMNS.values() if key != "id")

#: Entries in one answer.
MAX_APARTMENTS = 1_000
DEFAULT_AUDIT_LINES, MAX_AUDIT_LINES = 100, 1_000
#: Calls in one page.
DEFAULT_CALLS, MAX_CALLS = 100, 1_000
#: Most characters of what calls are searched for.
MAX_SEARCH = 100
#: Most characters of the reason of a hang-up.
MAX_REASON = 200

_INTEGER = re.compile(r"-?[0-9]{1,10}", re.ASCII)
_INTEGER_16 = re.compile(r"[0-9]{1,16}", re.ASCII)
_CURSOR = re.compile(r"(?:live|ended)_[0-9TZ:.+-]{1,40}_[0-9a-f-]{36}", re.ASCII)
_UUID = re.compile(r"(?:urn:uuid:)?\{?[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}\}?", re.ASCII | re.IGNORECASE)
_REFRESH_OPTIONS = ("force", "dry_run")
_FLAGS = {"": True, "true": True, "1": True, "false": False, "0": False}


def parse_object(raw: bytes, *, may_be_empty: bool = False) -> dict[str, Any]:
    """Return the JSON object in a body; raise `HTTPError` (400).

    Stricter than `json.loads`: duplicate keys, NaN, infinite numbers and unpaired surrogates are errors.
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
        raise HTTPError(400, "The body is not UTF-8 text (or has an unpaired surrogate).") from None
    except RecursionError:
        raise HTTPError(400, "The body is nested too deeply.") from None
    except ValueError as error:
        raise HTTPError(400, f"The body is not valid JSON: {quoted(str(error), 160)}.") from None
    if not isinstance(value, dict):
        raise HTTPError(400, f"The body is {quoted(value)}, not a JSON object.")
    return value


def extension_fields(raw: bytes) -> dict[str, Any]:
    """Return the fields of a new extension; raise `HTTPError` (400, 422)."""
    given = parse_object(raw)
    if "id" in given:
        raise HTTPError(422, "id is assigned by the server; leave it out.", field="id")
    _check_keys(given, FIELDS)
    return given


def changed_fields(raw: bytes, extension_id: int) -> dict[str, Any]:
    """Return the fields of an extension that change, those not given stay; raise `HTTPError` (400, 422)."""
    given = parse_object(raw)
    if str(given.pop("id", extension_id)) != str(extension_id):
        raise HTTPError(422, f"id cannot change; leave it out or send {extension_id}.", field="id")
    _check_keys(given, FIELDS)
    if not given:
        raise HTTPError(422, f"There is nothing to change; send at least one of {', '.join(FIELDS)}.")
    return given


def which_extension(raw: bytes) -> tuple[int | None, str | None]:
    """Return the extension a body names, as (id, None) or else (None, number); raise `HTTPError` (400)."""
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


def which_leg(raw: bytes) -> tuple[UUID, Role, str]:
    """Return the leg a body names, the visitor's by default, and the reason given; raise `HTTPError` (400)."""
    given = parse_object(raw)
    call_id, role, reason = given.get("call_id"), given.get("role"), given.get("reason")
    if call_id is None:
        raise HTTPError(400, "call_id is missing; it is the UUID of the call.", field="call_id")
    known = [member.value for member in Role]
    if role is not None and role not in known:
        raise HTTPError(400, f"role is {quoted(role)}; it must be {' or '.join(known)}.", field="role")
    if not isinstance(reason, str | None) or len(reason or "") > MAX_REASON:
        message = f"reason is {quoted(reason)}, not text of at most {MAX_REASON} characters."
        raise HTTPError(400, message, field="reason")
    return parse_call_id(call_id), Role.VISITOR if role is None else Role(role), (reason or "").strip()


def command_arguments(raw: bytes) -> tuple[Role, dict[str, Any]]:
    """Return the leg's role, the visitor's by default, and the arguments of a command; raise `HTTPError` (400)."""
    given = dict(parse_object(raw)) if raw.strip() else {}
    role = given.pop("role", Role.VISITOR.value)
    known = [member.value for member in Role]
    if role not in known:
        raise HTTPError(400, f"role is {quoted(role)}; it must be {' or '.join(known)}.", field="role")
    return Role(role), given


def return_numbers(raw: bytes) -> list[str]:
    """Return the numbers to call, in order; raise `HTTPError` (400, 422 for an unknown key).

    A JSON integer stands for its digits; a number with leading zeros must be text.
    """
    given = parse_object(raw)
    _check_keys(given, ("number", "numbers"))
    if len(given) != 1:
        raise HTTPError(400, 'Give the number to call: {"number": "101"} or {"numbers": ["101", "102"]}.')
    key, value = next(iter(given.items()))
    numbers = value if key == "numbers" and isinstance(value, list) else [value]
    for number in numbers:
        whole = isinstance(number, int) and not isinstance(number, bool) and number >= 0
        if not whole and not isinstance(number, str):
            raise HTTPError(400, f"{key} is {quoted(value)}, not text or a list of texts.", field=key)
    return [str(number).strip() for number in numbers]


def attempt_end(raw: bytes, attempt_id: str) -> tuple[str, str]:
    """Return how an attempt ended and why, the end unchecked; raise `HTTPError` (400, 422).

    ``attempt_id`` is that of the path; the body may repeat it, and must if it is signed.
    """
    given = parse_object(raw)
    _check_keys(given, ("attempt_id", "end", "reason"))
    end, reason = given.get("end"), given.get("reason")
    if given.get("attempt_id", attempt_id) != attempt_id:
        raise HTTPError(400, "attempt_id in the body is not that of the path.", field="attempt_id")
    if not isinstance(end, str):
        raise HTTPError(
            400, 'Give how the attempt ended: {"end": "busy", "reason": "in another call"}.', field="end"
        )
    if not isinstance(reason, str | None):
        raise HTTPError(400, f"reason is {quoted(reason)}, not text.", field="reason")
    return end, reason or ""


def refresh_options(raw: bytes, uri: bytes) -> dict[str, bool]:
    """Return ``force`` and ``dry_run`` from the body or the query of ``uri``; the body has priority.

    Raises `HTTPError` (400, 422), also for an unknown option: a misspelt ``dry_run`` must not become a real
    refresh.
    """
    # Twisted's own query parser drops "?dry_run" because it has no "=".
    _, _, query = uri.partition(b"?")
    given: dict[str, Any] = {}
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        given[name] = _FLAGS.get(text.lower(), text)
    given.update(parse_object(raw, may_be_empty=True))
    _check_keys(given, _REFRESH_OPTIONS)
    for name, value in given.items():
        if not isinstance(value, bool):
            raise HTTPError(400, f"{name} is {quoted(value)}; it must be true or false.", field=name)
    return {name: given.get(name, False) for name in _REFRESH_OPTIONS}


def status_options(uri: bytes) -> bool:
    """Return whether the list of extensions is wanted, from the query; raise `HTTPError` (400, 422)."""
    text = _query(uri, ("extensions",)).get("extensions", "true")
    wanted = _FLAGS.get(text.lower())
    if wanted is None:
        raise HTTPError(400, f"extensions is {quoted(text)}; it must be true or false.", field="extensions")
    return wanted


def dialplan_options(uri: bytes) -> tuple[Style, bool, str]:
    """Return ``style``, ``wideband`` and ``host`` (empty: not given) from the query of ``uri``.

    Raises `HTTPError` (400, 422), and `InvalidExtension` for an invalid host.
    """
    _, _, query = uri.partition(b"?")
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    _check_keys(given, ("style", "wideband", "host"))
    name, flag = given.get("style", "plain"), given.get("wideband", "false")
    style = next((style for style in STYLES if style == name), None)
    if style is None:
        raise HTTPError(400, f"style is {quoted(name)}; it must be {' or '.join(STYLES)}.", field="style")
    wideband = _FLAGS.get(flag.lower())
    if wideband is None:
        raise HTTPError(400, f"wideband is {quoted(flag)}; it must be true or false.", field="wideband")
    return style, wideband, named(given["host"]) if "host" in given else ""


def apartment_page(uri: bytes) -> tuple[int | None, int, int]:
    """Return ``condominium`` (None: all), ``limit`` and ``offset`` of the query; raise `HTTPError` (400, 422)."""
    given = _query(uri, ("condominium", "limit", "offset"))
    condominium = given.get("condominium")
    if condominium is not None and not (_INTEGER.fullmatch(condominium) and abs(int(condominium)) <= MAX_INTEGER):
        raise HTTPError(400, f"condominium is {quoted(condominium)}, not an id.", field="condominium")
    return (
        None if condominium is None else int(condominium),
        _whole(given, "limit", 1, MAX_APARTMENTS, MAX_APARTMENTS),
        _whole(given, "offset", 0, MAX_INTEGER, 0),
    )


def audit_page(uri: bytes) -> tuple[datetime | None, int]:
    """Return ``since`` (ISO 8601 or Unix seconds) and ``limit`` from the query; raise `HTTPError` (400, 422)."""
    given = _query(uri, ("since", "limit"))
    limit = _whole(given, "limit", 1, MAX_AUDIT_LINES, DEFAULT_AUDIT_LINES)
    text = given.get("since")
    if text is None:
        return None, limit
    try:
        if text.replace(".", "", 1).isdigit():
            return datetime.fromtimestamp(float(text), timezone.utc), limit
        since = datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "+"))
    except (ValueError, OverflowError, OSError):
        raise HTTPError(400, f"since is {quoted(text)}, neither ISO 8601 nor Unix time.", field="since") from None
    return since if since.tzinfo is not None else since.replace(tzinfo=timezone.utc), limit


def _query(uri: bytes, known: tuple[str, ...]) -> dict[str, str]:
    _, _, query = uri.partition(b"?")
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    _check_keys(given, known)
    return given


def _whole(given: Mapping[str, str], name: str, low: int, high: int, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not (_INTEGER.fullmatch(text) and low <= int(text) <= high):
        raise HTTPError(400, f"{name} is {quoted(text)}; it must be a number from {low} to {high}.", field=name)
    return int(text)


def call_selection(uri: bytes) -> CallSelection | None:
    """Return which calls the query asks for, None without a query: then all of them.

    Raises `HTTPError` (400, 422).
    """
    _, _, query = uri.partition(b"?")
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    if not given:
        return None
    _check_keys(given, ("state", "extension", "limit", "cursor", "search"))
    state, cursor = given.get("state", ""), given.get("cursor", "")
    if state not in ("", "live", "ended"):
        raise HTTPError(400, f"state is {quoted(state)}; it must be live or ended.", field="state")
    limit = _whole_number(given.get("limit") or None, "limit")
    if limit is not None and not 1 <= limit <= MAX_CALLS:
        raise HTTPError(400, f"limit is {limit}; it must be 1 to {MAX_CALLS}.", field="limit")
    if cursor and not _CURSOR.fullmatch(cursor):
        raise HTTPError(400, f"cursor is {quoted(cursor)}, not the next_cursor of a page.", field="cursor")
    search = given.get("search", "").strip()
    if len(search) > MAX_SEARCH:
        raise HTTPError(400, f"search has more than {MAX_SEARCH} characters.", field="search")
    extension = _whole_number(given.get("extension") or None, "extension")
    return CallSelection(state, extension, DEFAULT_CALLS if limit is None else limit, cursor, search)


def event_options(uri: bytes, last_event_id: str | None) -> tuple[EventFilter, int | None]:
    """Return which events a client wants, and the id of the last one it has (None: only new ones).

    ``last_event_id`` is the header of a browser that connects again; it wins over ``after`` in the query, which
    the browser repeats unchanged. Raises `HTTPError` (400, 422).
    """
    _, _, query = uri.partition(b"?")
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    _check_keys(given, ("after", "event", "extension", "call_id"))
    after = _whole_number(last_event_id or given.get("after") or None, "after")
    names = tuple(name for name in given.get("event", "").split(",") if name)
    call_id = str(parse_call_id(given["call_id"])) if given.get("call_id") else ""
    return EventFilter(names, _whole_number(given.get("extension") or None, "extension"), call_id), after


def _whole_number(text: str | None, field: str) -> int | None:
    if text is None:
        return None
    if not _INTEGER_16.fullmatch(text):
        raise HTTPError(400, f"{field} is {quoted(text)}, not a whole number.", field=field)
    return int(text)


def parse_call_id(text: object) -> UUID:
    """Return a UUID, written in any of its forms; raise `HTTPError` (400)."""
    if not isinstance(text, str) or not _UUID.fullmatch(text):
        raise HTTPError(400, f"call_id is {quoted(text)}, not a UUID.", field="call_id")
    return UUID(text)


def parse_extension_id(text: str) -> int:
    """Return the id of an extension; raise `UnknownExtension` for what no row can have."""
    if not _INTEGER.fullmatch(text) or abs(int(text)) > MAX_INTEGER:
        raise UnknownExtension(f"No extension has the id {quoted(text)}.")
    return int(text)


def _check_keys(given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise HTTPError(422, f"{quoted(key)} is unknown; known are {', '.join(known)}.", field=quoted(key))


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {quoted(duplicate)} occurs twice")
    return members


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{quoted(text)} is out of range")
    return number
