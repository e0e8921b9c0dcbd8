"""JSON Schemas of the answers, made from the TypedDicts that describe them to mypy."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

_SIMPLE = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}

Schema = dict[str, Any]


class Schemas:
    """The schemas that were asked for; those of TypedDicts are kept in ``components`` and referred to."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def of(self, hint: Any) -> Schema:
        """Return the schema of a type; raise TypeError for one that JSON does not have."""
        origin, arguments = get_origin(hint), get_args(hint)
        if hint in (Any, object):
            return {}
        if hint in _SIMPLE:
            return {"type": _SIMPLE[hint]}
        if is_typeddict(hint):
            return self._reference(hint)
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(each) for each in arguments]}
        if origin is list:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        raise TypeError(f"{hint} has no JSON Schema")

    def answer(self, shape: Any) -> Schema:
        """Return the schema of a successful answer: ``status``, and the keys of a TypedDict or a mapping.

        Without a shape it is any object.
        """
        if shape is None:
            return {"type": "object"}
        hints = get_type_hints(shape) if is_typeddict(shape) else dict(shape)
        required = shape.__required_keys__ if is_typeddict(shape) else hints.keys()
        return {
            "type": "object",
            "properties": {"status": {"type": "string"}, **{key: self.of(hints[key]) for key in hints}},
            "required": sorted({"status", *required}),
        }

    def _reference(self, shape: Any) -> Schema:
        name = shape.__name__.removesuffix("JSON")
        if name not in self.components:
            schema: Schema = {"type": "object"}
            self.components[name] = schema  # first, as a shape may refer to itself
            if shape.__doc__:
                schema["description"] = " ".join(shape.__doc__.split())
            hints: Mapping[str, Any] = get_type_hints(shape)
            schema["properties"] = {key: self.of(hints[key]) for key in hints}
            if shape.__required_keys__:
                schema["required"] = sorted(shape.__required_keys__)
        return {"$ref": f"#/components/schemas/{name}"}
