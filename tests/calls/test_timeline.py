"""What a full timeline keeps."""

from __future__ import annotations

import pytest

from audiosocket.calls.events import EVENTS
from audiosocket.calls.journal_records import MAX_TIMELINE
from audiosocket.calls.timeline import FIRST_KEPT, REPEATABLE, shorten


def noted(*events: str) -> list[dict[str, object]]:
    """Return the timeline of a call to which these events happened, each numbered."""
    timeline: list[dict[str, object]] = []
    for number, event in enumerate(events):
        timeline.append({"at_seconds": float(number), "event": event})
        shorten(timeline)
    return timeline


def test_the_repeatable_events_exist() -> None:
    assert EVENTS.keys() >= REPEATABLE


@pytest.mark.parametrize("event", sorted(REPEATABLE))
def test_a_flood_pushes_out_neither_the_beginning_nor_a_decision_nor_the_end(event: str) -> None:
    begin = ["call.started", "leg.joined", "return.started", "return.attempt"]
    timeline = noted(
        *begin, *[event] * 5_000, "gate.opening", "gate.opened", *[event] * 5_000, "leg.left", "call.ended"
    )
    names = [str(entry["event"]) for entry in timeline]
    assert len(names) == MAX_TIMELINE
    assert names[:4] == begin
    assert [name for name in names if name != event] == [
        *begin, "gate.opening", "gate.opened", "leg.left", "call.ended",
    ]  # fmt: skip
    times = [entry["at_seconds"] for entry in timeline]
    assert times == sorted(times, key=lambda at: float(str(at)))


def test_without_repeatable_events_the_oldest_behind_the_beginning_are_dropped() -> None:
    timeline = noted(*["return.attempt"] * (MAX_TIMELINE + 70))
    times = [entry["at_seconds"] for entry in timeline]
    assert times == [*map(float, range(FIRST_KEPT)), *map(float, range(FIRST_KEPT + 70, MAX_TIMELINE + 70))]
