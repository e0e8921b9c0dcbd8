"""What differs between two states of an extension, as text for the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from audiosocket.extensions.model import Extension

#: Changes of one reading that are described; of a table with thousands of rows the others are counted.
MAX_DESCRIBED = 50


def describe_change(before: Mapping[str, object] | None, after: Mapping[str, object] | None) -> str:
    """Return ``extension 1: porta_ia 8080 -> 8081, ...`` for two states under the keys of the API.

    None is an extension that is not there; the other state is shown in full then. ``after`` may have the changed
    keys only.
    """
    known = {**(before or {}), **(after or {})}
    key = known.get("id")
    if before is None or after is None:
        values = ", ".join(f"{name} {_shown(value)}" for name, value in known.items() if name != "id")
        return f"extension {key} {'added' if before is None else 'removed'}: {values}"
    changed = ", ".join(
        f"{name} {_shown(before.get(name))} -> {_shown(value)}"
        for name, value in after.items()
        if name != "id" and before.get(name) != value
    )
    return f"extension {key}: {changed or 'nothing differs'}"


def describe_changes(
    ids: Sequence[int], before: Mapping[int, Extension], after: Mapping[int, Extension]
) -> Iterator[str]:
    """Yield how each of these extensions has changed, at last how many are not described."""
    for key in ids[:MAX_DESCRIBED]:
        old, new = before.get(key), after.get(key)
        yield describe_change(None if old is None else old.to_json(), None if new is None else new.to_json())
    if len(ids) > MAX_DESCRIBED:
        yield f"{len(ids) - MAX_DESCRIBED} more extensions changed"


def _shown(value: object) -> str:
    return "none" if value is None else str(value) if isinstance(value, int) else f'"{value}"'
