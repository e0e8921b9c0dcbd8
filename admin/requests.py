"""HTTP requests: from bodies, queries and ids to values. What they may be is in `admin.openapi.inputs`."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from admin.openapi import inputs
from admin.openapi.fields import Shape
from admin.responses import HTTPError, quoted
from audiosocket.asterisk.dialplan import Style, named
from audiosocket.control_interface import CallSelection
from audiosocket.errors import UnknownExtension
from audiosocket.extensions.model import MAX_INTEGER, Role
from audiosocket.runtime.event_filter import EventFilter

DEFAULT_AUDIT_LINES, DEFAULT_CALLS = 100, 100
#: Objects and lists in one another at most; Python 3.14 reads far more than it can show in an error.
MAX_NESTING = 32
_BODY_TYPES = frozenset({"", "application/json", "application/x-www-form-urlencoded"})
_TOO_DEEP = "The body is nested too deeply."
#: Up to here a float has every integer.
_EXACT = 2**53
_INTEGER = re.compile(r"-?[0-9]{1,10}", re.ASCII)
_UUID = re.compile(r"(?:urn:uuid:)?\{?[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}\}?", re.ASCII | re.IGNORECASE)


def check_type(given: str | None, size: int) -> None:
    """Raise `HTTPError` (415) for a body of ``size`` bytes with a Content-Type ``given`` that is not JSON.

    curl names what ``-d`` sends a form; scripts that do so worked with the replaced service.
    """
    kind = (given or "").partition(";")[0].strip().lower()
    if size and kind not in _BODY_TYPES and not kind.endswith("+json"):
        raise HTTPError(415, f"The body is of the type {quoted(kind)}; send JSON as application/json.")


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
        raise HTTPError(400, _TOO_DEEP) from None
    except ValueError as error:
        raise HTTPError(400, f"The body is not valid JSON: {quoted(str(error), 160)}.") from None
    if not _is_flat_enough(value):
        raise HTTPError(400, _TOO_DEEP)
    if not isinstance(value, dict):
        raise HTTPError(400, f"The body is {quoted(value)}, not a JSON object.")
    return value


def _is_flat_enough(value: Any) -> bool:
    """Return whether a value of JSON is nested at most `MAX_NESTING` deep; does not recurse itself."""
    level = [value]
    for _ in range(MAX_NESTING + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return True
    return False


def extension_fields(raw: bytes) -> dict[str, Any]:
    """Return the fields of a new extension; raise `HTTPError` (400, 422)."""
    given = parse_object(raw)
    if "id" in given:
        raise HTTPError(422, "id is assigned by the server; leave it out.", field="id")
    inputs.NEW_EXTENSION.check(given)
    return given


def changed_fields(raw: bytes, extension_id: int) -> dict[str, Any]:
    """Return the fields of an extension that change, those not given stay; raise `HTTPError` (400, 422)."""
    given = parse_object(raw)
    inputs.CHANGED_EXTENSION.check(given)
    if str(given.pop("id", extension_id)) != str(extension_id):
        raise HTTPError(422, f"id cannot change; leave it out or send {extension_id}.", field="id")
    if not given:
        known = ", ".join(inputs.NEW_EXTENSION.fields)
        raise HTTPError(422, f"There is nothing to change; send at least one of {known}.")
    return given


def which_extension(raw: bytes) -> tuple[int | None, str | None]:
    """Return the extension a body names, as (id, None) or else (None, number); raise `HTTPError` (400)."""
    given = parse_object(raw)
    inputs.RESTART.check(given)
    if given.get("extension_id") is not None:
        return parse_extension_id(str(given["extension_id"])), None
    return None, given["ramal"].strip()


def which_leg(raw: bytes) -> tuple[UUID, Role, str]:
    """Return the leg a body names, the visitor's by default, and the reason given; raise `HTTPError` (400)."""
    given = parse_object(raw)
    inputs.HANG_UP.check(given)
    role = Role(given.get("role") or Role.VISITOR)
    return parse_call_id(given["call_id"]), role, (given.get("reason") or "").strip()


def fleet_command(raw: bytes) -> tuple[str, str | None, str]:
    """Return action, node (None: all) and argument of a command to nodes; raise `HTTPError` (400, 422)."""
    given = parse_object(raw)
    inputs.FLEET_COMMAND.check(given)
    action, argument = str(given["action"]), ""
    if action == "hang_up":
        if "call_id" not in given:
            raise HTTPError(422, "call_id is missing; it is the UUID of the call.", field="call_id")
        argument = f"{parse_call_id(given['call_id'])} {given.get('role', Role.VISITOR.value)}"
    elif action == "refresh" and given.get("force"):
        argument = "force"
    return action, given.get("node"), argument


def command_arguments(raw: bytes) -> tuple[Role, dict[str, Any]]:
    """Return the leg's role, the visitor's by default, and the arguments of a command; raise `HTTPError` (400)."""
    given = parse_object(raw, may_be_empty=True)
    inputs.COMMAND.check(given)
    return Role(given.pop("role", Role.VISITOR)), given


def return_numbers(raw: bytes) -> list[str]:
    """Return the numbers to call, in order; raise `HTTPError` (400, 422 for an unknown key).

    A JSON integer stands for its digits; a number with leading zeros must be text.
    """
    given = parse_object(raw)
    inputs.RETURN_CALL.check(given)
    (value,) = given.values()
    return [str(number).strip() for number in (value if isinstance(value, list) else [value])]


def attempt_end(raw: bytes, attempt_id: str) -> tuple[str, str]:
    """Return how an attempt ended and why; raise `HTTPError` (400, 422).

    ``attempt_id`` is that of the path; the body may repeat it, and must if it is signed.
    """
    given = parse_object(raw)
    inputs.ATTEMPT_END.check(given)
    if given.get("attempt_id", attempt_id) != attempt_id:
        raise HTTPError(422, "attempt_id in the body is not that of the path.", field="attempt_id")
    return given["end"], given.get("reason") or ""


def refresh_options(raw: bytes, uri: bytes) -> dict[str, bool]:
    """Return ``force`` and ``dry_run`` from the body or the query of ``uri``; the body has priority.

    Raises `HTTPError` (400, 422), also for an unknown option: a misspelt ``dry_run`` must not become a real
    refresh.
    """
    given = _query(uri, inputs.REFRESH)
    body = parse_object(raw, may_be_empty=True)
    inputs.REFRESH.check(body)
    return {name: bool({**given, **body}.get(name, False)) for name in inputs.REFRESH.fields}


def status_options(uri: bytes) -> bool:
    """Return whether the list of extensions is wanted, from the query; raise `HTTPError` (400, 422)."""
    return bool(_query(uri, inputs.STATUS).get("extensions", True))


def dialplan_options(uri: bytes) -> tuple[Style, bool, str]:
    """Return ``style``, ``wideband`` and ``host`` (empty: not given) from the query of ``uri``.

    Raises `HTTPError` (400, 422), and `InvalidExtension` for an invalid host.
    """
    given = _query(uri, inputs.DIALPLAN)
    host = named(given["host"]) if "host" in given else ""
    return given.get("style", "plain"), given.get("wideband", False), host


def apartment_page(uri: bytes) -> tuple[int | None, int, int]:
    """Return ``condominium`` (None: all), ``limit`` and ``offset`` of the query; raise `HTTPError` (400, 422)."""
    given = _query(uri, inputs.APARTMENTS)
    return given.get("condominium"), given.get("limit", inputs.MAX_APARTMENTS), given.get("offset", 0)


def audit_page(uri: bytes) -> tuple[datetime | None, int]:
    """Return ``since`` (ISO 8601 or Unix seconds) and ``limit`` from the query; raise `HTTPError` (400, 422)."""
    given = _query(uri, inputs.AUDIT)
    text, limit = given.get("since"), given.get("limit", DEFAULT_AUDIT_LINES)
    if text is None:
        return None, limit
    try:
        if text.replace(".", "", 1).isdigit():
            return datetime.fromtimestamp(float(text), timezone.utc), limit
        since = datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "+"))
    except (ValueError, OverflowError, OSError):
        raise HTTPError(422, f"since is {quoted(text)}, neither ISO 8601 nor Unix time.", field="since") from None
    return since if since.tzinfo is not None else since.replace(tzinfo=timezone.utc), limit


def call_selection(uri: bytes) -> CallSelection | None:
    """Return which calls the query asks for, None without a query: then all of them.

    Raises `HTTPError` (400, 422).
    """
    if not _texts(uri):
        return None
    given = _query(uri, inputs.CALLS)
    limit, search = given.get("limit", DEFAULT_CALLS), given.get("search", "").strip()
    return CallSelection(given.get("state", ""), given.get("extension"), limit, given.get("cursor", ""), search)


def of_fleet(uri: bytes) -> bool:
    """Return whether the query asks for the calls of all nodes; raise `HTTPError` (400, 422)."""
    return bool(_query(uri, inputs.CALLS).get("fleet", False))


def event_options(uri: bytes, last_event_id: str | None) -> tuple[EventFilter, int | None]:
    """Return which events a client wants, and the id of the last one it has (None: only new ones).

    ``last_event_id`` is the header of a browser that connects again; it wins over ``after`` in the query, which
    the browser repeats unchanged. Raises `HTTPError` (400, 422).
    """
    given = _query(uri, inputs.EVENTS)
    if last_event_id:
        given["after"] = inputs.EVENTS.fields["after"].from_text("after", last_event_id)
    names = tuple(name for name in given.get("event", "").split(",") if name)
    call_id = str(parse_call_id(given["call_id"])) if "call_id" in given else ""
    return EventFilter(names, given.get("extension"), call_id), given.get("after")


def _texts(uri: bytes) -> dict[str, str]:
    """Return the query of ``uri``. Twisted's own parser drops "?dry_run" because it has no "="."""
    _, _, query = uri.partition(b"?")
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))


def _query(uri: bytes, shape: Shape) -> dict[str, Any]:
    return shape.from_query(_texts(uri))


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
    """Return the number; a whole one as an integer, as JSON Schema has it: 101.0 is 101."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{quoted(text)} is out of range")
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number
