"""What a key of a body or of a query may be: one JSON Schema that is checked and that the document shows. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from admin.responses import HTTPError, quoted

Schema = dict[str, Any]

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}
_WHOLE = re.compile(r"-?[0-9]{1,16}", re.ASCII)
#: A flag in a query; ``?dry_run`` alone is true. Clients in Python write True.
_FLAGS = {"": True, **dict.fromkeys(("true", "True", "TRUE", "1"), True)}
_FLAGS |= dict.fromkeys(("false", "False", "FALSE", "0"), False)


@dataclass(frozen=True)
class Field:
    """One key: the JSON Schema of its value, and what it must be in words.

    ``blank`` values of a query count as not given.
    """

    schema: Schema
    must_be: str
    blank: bool = False

    def check(self, name: str, value: object) -> None:
        """Raise `HTTPError` (400) for a value that the schema does not allow."""
        if not fits(value, self.schema):
            raise HTTPError(400, f"{name} is {quoted(value)}; it must be {self.must_be}.", field=name)

    def from_text(self, name: str, text: str) -> Any:
        """Return the value of a query; raise `HTTPError` (400)."""
        kind = self.schema.get("type")
        value: object = text
        if kind == "boolean":
            value = _FLAGS.get(text, text)
        elif kind == "integer" and _WHOLE.fullmatch(text):
            value = int(text)
        if not fits(value, self.schema):
            raise HTTPError(400, f"{name} is {quoted(text)}; it must be {self.must_be}.", field=name)
        return value

    @property
    def query_schema(self) -> Schema:
        """The schema of the text in a query."""
        schema: Schema = {"enum": list(_FLAGS)} if self.schema.get("type") == "boolean" else self.schema
        return {"anyOf": [schema, {"const": ""}]} if self.blank else schema


def fits(value: object, schema: Mapping[str, Any]) -> bool:
    """Return whether a value is as its schema says; only the words that `admin.openapi.inputs` uses are known."""
    if "anyOf" in schema:
        return any(fits(value, each) for each in schema["anyOf"])
    if "enum" in schema:
        return any(type(value) is type(each) and value == each for each in schema["enum"])
    kinds = schema.get("type")
    if kinds is not None and not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if isinstance(value, str):
        long_enough = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        return long_enough and re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, int) and not isinstance(value, bool):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0) and all(
            fits(each, schema.get("items", {})) for each in value
        )
    return True


def _is(value: object, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


@dataclass(frozen=True)
class Shape:
    """A JSON object, or a query: its keys, and which of them are needed.

    Of ``first_of`` the first one that is given and not null counts, the others are not looked at. Of ``one_of``
    exactly one must be given. ``hint`` is the error where what is needed is missing. Unknown keys are 422, unless
    the shape is ``open_ended``. The values of ``elsewhere`` are described here and checked behind the control.
    """

    fields: Mapping[str, Field] = field(default_factory=dict)
    required: Sequence[str] = ()
    first_of: Sequence[str] = ()
    one_of: Sequence[str] = ()
    hint: str = ""
    open_ended: bool = False
    elsewhere: bool = False

    def check(self, given: Mapping[str, Any]) -> None:
        """Raise `HTTPError` for an object that is not of this shape: 400, or 422 for an unknown key."""
        if not self.open_ended:
            self.check_keys(given)
        if self.elsewhere:
            return
        looked_at = [name for name in self.fields if name in given]
        if self.first_of:
            chosen = next((name for name in self.first_of if given.get(name) is not None), None)
            looked_at = [name for name in looked_at if name not in self.first_of or name == chosen]
            if chosen is None:
                raise HTTPError(400, self.hint)
        if self.one_of and sum(name in given for name in self.one_of) != 1:
            raise HTTPError(400, self.hint)
        for name in self.required:
            if given.get(name) is None:
                raise HTTPError(400, self.hint, field=name)
        for name in looked_at:
            self.fields[name].check(name, given[name])

    def check_keys(self, given: Mapping[str, Any]) -> None:
        """Raise `HTTPError` (422) for an unknown key: a misspelt one must not be ignored."""
        for key in given:
            if key not in self.fields:
                known = ", ".join(self.fields)
                raise HTTPError(422, f"{quoted(key)} is unknown; known are {known}.", field=quoted(key))

    def from_query(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Return the values of a query; raise `HTTPError` (400, 422)."""
        self.check_keys(given)
        return {
            name: self.fields[name].from_text(name, text)
            for name, text in given.items()
            if text or not self.fields[name].blank
        }

    def schema(self) -> Schema:
        """Return the JSON Schema of the object."""
        own = {name: one.schema for name, one in self.fields.items() if name not in self.first_of}
        schema: Schema = {"type": "object", "properties": {**own, **{name: {} for name in self.first_of}}}
        if self.required:
            schema["required"] = list(self.required)
        if self.one_of:
            schema["oneOf"] = [{"required": [name]} for name in self.one_of]
        if self.first_of:
            schema["anyOf"] = [
                {
                    "required": [name],
                    "properties": {
                        **{before: {"type": "null"} for before in self.first_of[:place]},
                        name: self.fields[name].schema,
                    },
                }
                for place, name in enumerate(self.first_of)
            ]
        return schema if self.open_ended else {**schema, "additionalProperties": False}

    def query_schemas(self) -> dict[str, Schema]:
        """Return the JSON Schema of each parameter of the query."""
        return {name: one.query_schema for name, one in self.fields.items()}
