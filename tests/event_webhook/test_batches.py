"""The events that wait for the webhook: in order, in batches, bounded, and what is dropped is told."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from audiosocket.event_webhook.batches import MAX_CHARACTERS, MAX_EVENTS, Batch, Batches
from audiosocket.runtime.event_feed import FeedEntry


def entry(number: int, text: str = "") -> FeedEntry:
    return FeedEntry(number, {"id": number, "event": "app.note", "text": text})


def ids(batch: Batch | None) -> list[int]:
    return [] if batch is None else [each.id for each in batch.entries]


def test_a_body_has_the_events_in_order_and_how_many_are_missing() -> None:
    batches = Batches(max_waiting=3)
    for number in range(1, 6):
        batches.add(entry(number))
    batch = batches.take()
    assert batch is not None
    body = json.loads(batch.body(1_796_000_000))
    assert {key: body[key] for key in ("batch", "dropped", "timestamp")} == {
        "batch": "3-5",
        "dropped": 2,
        "timestamp": 1_796_000_000,
    }
    assert [event["id"] for event in body["events"]] == [3, 4, 5]


def test_a_batch_stays_the_same_until_it_is_delivered() -> None:
    batches = Batches()
    batches.add(entry(1))
    first = batches.take()
    batches.add(entry(2))
    assert batches.take() is first
    batches.delivered()
    assert (ids(batches.take()), batches.sent) == ([2], 1)


def test_a_batch_is_limited_in_events_and_in_size() -> None:
    batches = Batches()
    for number in range(MAX_EVENTS + 1):
        batches.add(entry(number))
    assert len(ids(batches.take())) == MAX_EVENTS
    large = Batches()
    for number in range(3):
        large.add(entry(number, "x" * (MAX_CHARACTERS // 2)))
    assert ids(large.take()) == [0]
    huge = Batches()
    huge.add(entry(0, "x" * 2 * MAX_CHARACTERS))
    assert ids(huge.take()) == [0]


def test_what_is_dropped_is_told_with_the_next_batch_that_arrives() -> None:
    batches = Batches(max_waiting=2)
    for number in range(4):
        batches.add(entry(number))
    refused = batches.take()
    assert refused is not None
    assert refused.dropped == 2
    batches.give_up()
    batches.add(entry(5))
    told = batches.take()
    assert told is not None
    assert told.dropped == 2 + 2
    batches.delivered()
    batches.add(entry(6))
    last = batches.take()
    assert last is not None
    assert (last.dropped, batches.dropped, batches.sent) == (0, 4, 1)


def test_without_events_nothing_is_taken_and_nothing_is_counted() -> None:
    batches = Batches()
    assert batches.take() is None
    batches.delivered()
    batches.give_up()
    assert (len(batches), batches.sent, batches.dropped) == (0, 0, 0)


@given(st.lists(st.sampled_from(["add", "take", "delivered", "give_up"]), max_size=60))
def test_every_event_waits_was_sent_or_was_dropped(steps: list[str]) -> None:
    batches, added, arrived = Batches(max_waiting=5), 0, list[int]()
    for step in steps:
        if step == "add":
            added += 1
            batches.add(entry(added))
        elif step == "delivered":
            arrived += ids(batches.take())
            batches.delivered()
        else:
            getattr(batches, step)()
        assert len(batches) + batches.sent + batches.dropped == added
        assert len(batches) <= 5
    assert arrived == sorted(set(arrived))
