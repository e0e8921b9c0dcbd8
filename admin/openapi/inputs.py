"""What each route takes, in its body and in its query. The values of an extension are checked in
`audiosocket.extensions.parsing`, and are only described here."""

from __future__ import annotations

from collections.abc import Mapping

from admin.openapi.fields import Field, Schema, Shape
from audiosocket.asterisk.dialplan import STYLES
from audiosocket.control_interface import FLEET_ACTIONS, REPORTABLE_ENDS
from audiosocket.extensions.model import COLUMNS, MAX_INTEGER, MAX_TEXT, Role

#: Entries in one answer.
MAX_APARTMENTS, MAX_AUDIT_LINES = 1_000, 1_000
#: Calls in one page.
MAX_CALLS = 1_000
#: Most characters of the reason of a hang-up, and of what calls are searched for.
MAX_REASON, MAX_SEARCH = 200, 100
#: Characters of the name of a node.
MAX_NODE_NAME = 200
#: Whole numbers of a query have at most 16 digits.
MAX_WHOLE = 10**16 - 1

_ROLES = [role.value for role in Role]
_TEXT: Schema = {"type": "string"}
_UUID: Schema = {"type": "string", "format": "uuid"}
_NAME: Schema = {"type": ["string", "integer", "null"], "maxLength": MAX_TEXT}
_NUMBER: Schema = {"type": ["string", "integer"], "minimum": 0}
_FLAG = Field({"type": "boolean"}, "true or false")
_CURSOR = r"^(?:live|ended)_[0-9TZ:.+-]{1,40}_[0-9a-f-]{36}$"


def _port(*more: str, lowest: int = 1) -> Schema:
    text = {"type": "string", "pattern": r"^\s*[0-9]{1,5}\s*$" if not more else r"^\s*[0-9]{0,5}\s*$"}
    whole = {"type": "integer", "minimum": lowest, "maximum": 65_535}
    return {"anyOf": [whole, text, *({"type": kind} for kind in more)]}


def _whole(low: int, high: int, *, blank: bool = False) -> Field:
    schema: Schema = {"type": "integer", "minimum": low, "maximum": high}
    return Field(schema, f"a number from {low} to {high}", blank)


def _choice(values: list[str] | tuple[str, ...], *, blank: bool = False) -> Field:
    return Field({"enum": list(values)}, " or ".join(values), blank)


_NAMED = {
    **{key: Field(_NAME, "text") for key in COLUMNS.values() if key != "id"},
    "ramal_ia": Field({"type": ["string", "integer"], "pattern": r"\S", "maxLength": MAX_TEXT}, "a number"),
    "porta_ia": Field(_port(), "a TCP port"),
    "porta_retorno": Field(_port("null", lowest=0), "a TCP port, or nothing"),
    "condominio_id": Field(
        {
            "anyOf": [
                {"type": "integer", "minimum": -MAX_INTEGER, "maximum": MAX_INTEGER},
                {"type": "string", "pattern": r"^(?:\s*-?[0-9]{1,10}\s*)?$"},
                {"type": "null"},
            ]
        },
        "an integer",
    ),
}

NEW_EXTENSION = Shape(_NAMED, required=("ramal_ia", "porta_ia"), elsewhere=True)
CHANGED_EXTENSION = Shape(
    {**_NAMED, "id": Field({"type": ["integer", "string"]}, "the id of the path")}, elsewhere=True
)
REFRESH = Shape({"force": _FLAG, "dry_run": _FLAG})
RESTART = Shape(
    {
        "extension_id": Field({"type": "integer"}, "an integer"),
        "ramal": Field({"type": "string", "pattern": r"\S"}, "the number of an extension as text"),
    },
    first_of=("extension_id", "ramal"),
    hint='Name the extension: {"extension_id": 123} or {"ramal": "1001"}.',
    open_ended=True,
)
HANG_UP = Shape(
    {
        "role": Field({"enum": [*_ROLES, None]}, " or ".join(_ROLES)),
        "call_id": Field(_UUID, "a UUID"),
        "reason": Field(
            {"type": ["string", "null"], "maxLength": MAX_REASON}, f"text of at most {MAX_REASON} characters"
        ),
    },
    required=("call_id",),
    hint="call_id is missing; it is the UUID of the call.",
    open_ended=True,
)
FLEET_COMMAND = Shape(
    {
        "action": _choice(FLEET_ACTIONS),
        "node": Field({"type": ["string", "null"], "maxLength": MAX_NODE_NAME}, "the name of a node"),
        "call_id": Field(_UUID, "a UUID"),
        "role": _choice(_ROLES),
        "force": _FLAG,
    },
    required=("action",),
    hint=f"action is missing; it is one of {', '.join(FLEET_ACTIONS)}.",
)
COMMAND = Shape({"role": _choice(_ROLES)}, open_ended=True)
RETURN_CALL = Shape(
    {
        "number": Field(_NUMBER, "text, or a number without a sign"),
        "numbers": Field({"anyOf": [{"type": "array", "items": _NUMBER}, _NUMBER]}, "text or a list of texts"),
    },
    one_of=("number", "numbers"),
    hint='Give the number to call: {"number": "101"} or {"numbers": ["101", "102"]}.',
)
ATTEMPT_END = Shape(
    {
        "attempt_id": Field(_TEXT, "the id of the path"),
        "end": Field({"enum": list(REPORTABLE_ENDS)}, f"one of {', '.join(REPORTABLE_ENDS)}"),
        "reason": Field({"type": ["string", "null"]}, "text"),
    },
    required=("end",),
    hint='Give how the attempt ended: {"end": "busy", "reason": "in another call"}.',
)

STATUS = Shape({"extensions": _FLAG})
DIALPLAN = Shape({"style": _choice(STYLES), "wideband": _FLAG, "host": Field(_TEXT, "an address")})
APARTMENTS = Shape(
    {
        "condominium": _whole(-MAX_INTEGER, MAX_INTEGER),
        "limit": _whole(1, MAX_APARTMENTS),
        "offset": _whole(0, MAX_INTEGER),
    }
)
AUDIT = Shape({"since": Field(_TEXT, "ISO 8601 or Unix time"), "limit": _whole(1, MAX_AUDIT_LINES)})
CALLS = Shape(
    {
        "state": _choice(("live", "ended"), blank=True),
        "extension": _whole(0, MAX_WHOLE, blank=True),
        "limit": _whole(1, MAX_CALLS, blank=True),
        "cursor": Field({"type": "string", "pattern": _CURSOR}, "the next_cursor of a page", blank=True),
        "fleet": _FLAG,
        "search": Field({"type": "string", "maxLength": MAX_SEARCH}, f"text of at most {MAX_SEARCH} characters"),
    }
)
EVENTS = Shape(
    {
        "after": _whole(0, MAX_WHOLE, blank=True),
        "event": Field(_TEXT, "names of events, separated by commas"),
        "extension": _whole(0, MAX_WHOLE, blank=True),
        "call_id": Field(_UUID, "a UUID", blank=True),
    }
)

#: The shapes of queries and bodies by the name of the route's function; the others take none.
BODIES: Mapping[str, Shape] = {
    "refresh": REFRESH,
    "restart": RESTART,
    "add_extension": NEW_EXTENSION,
    "change_extension": CHANGED_EXTENSION,
    "start_return_call": RETURN_CALL,
    "run_command": COMMAND,
    "report_attempt": ATTEMPT_END,
    "hang_up": HANG_UP,
    "command_nodes": FLEET_COMMAND,
}
QUERIES: Mapping[str, Shape] = {
    "status": STATUS,
    "refresh": REFRESH,
    "dialplan": DIALPLAN,
    "whole_dialplan": DIALPLAN,
    "list_apartments": APARTMENTS,
    "read_audit": AUDIT,
    "list_calls": CALLS,
    "follow_events": EVENTS,
}
