"""The app porteiro on a real server: whole visits between two callers, and a gate that is a program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.porteiro_visits import Door, door

pytestmark = [pytest.mark.slow]


async def to_menu(here: Door, typed: str = "#101#") -> tuple[object, object]:
    """A visitor who has typed, and a resident who hears the menu."""
    visitor = await here.visitor()
    visitor.press(typed)
    await here.until_state(visitor, "ringing")
    resident = await here.resident(visitor)
    await here.until_state(visitor, "menu")
    resident.press("9")  # cuts the greeting; the menu begins after a moment
    return visitor, resident


@pytest.mark.deadline(20)
async def test_a_whole_visit_on_a_fresh_install(tmp_path: Path) -> None:
    async with door(tmp_path, apartments=None) as here:
        visitor = await here.visitor()
        visitor.press("#101#")
        await here.until_state(visitor, "ringing")
        resident = await here.resident(visitor)
        await here.until_state(visitor, "menu")
        await here.authorise(visitor, resident)
        call = await here.until_ended(visitor)
        assert call["outcome"] == "authorised"
        (line,) = await here.until_audited()
        assert (line["call_id"], line["apartment"], line["key"], line["opened"]) == (
            str(visitor.call_id),
            "101",
            "1",
            True,
        )
        events = [entry["event"] for entry in call["timeline"]]
        assert [event for event in events if event.startswith("gate.")] == ["gate.opening", "gate.opened"]
        assert (await visitor.ended).ok
        assert (await resident.ended).ok
