"""The ring of the latest events."""

from __future__ import annotations

import pytest

from audiosocket.runtime.event_feed import EventFeed, FeedEntry, rfc3339


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_an_event_gets_an_id_and_the_time_of_its_publication() -> None:
    clock = Clock()
    feed = EventFeed(clock)
    feed.publish({"event": "call.started"})
    clock.now = 2_000.0  # it is shown later
    (entry,) = feed.latest()
    assert entry.record == {"id": 1_000_001, "at": "1970-01-01T00:16:40.000Z", "event": "call.started"}


def test_the_time_of_an_event_of_a_worker_is_kept() -> None:
    feed = EventFeed(Clock())
    feed.publish({"at": "2026-01-01T00:00:00.000Z", "event": "call.started"})
    assert feed.latest()[0].record["at"] == "2026-01-01T00:00:00.000Z"


def test_the_latest_seconds() -> None:
    clock = Clock()
    feed = EventFeed(clock)
    for name in ("old", "new"):
        feed.publish({"event": name})
        clock.now += 10
    assert [record["event"] for record in feed.since(15)] == ["new"]
    assert len(feed.since(30)) == 2


def test_a_ring_keeps_so_many_and_says_when_some_are_missing() -> None:
    feed = EventFeed(Clock(), ring=2)
    for number in range(3):
        feed.publish({"event": str(number)})
    assert [entry.record["event"] for entry in feed.latest()] == ["1", "2"]
    assert feed.after(feed.last_id - 3) is None
    assert [entry.id for entry in feed.after(feed.last_id - 2) or []] == [feed.last_id - 1, feed.last_id]
    assert feed.after(feed.last_id) == []
    assert feed.after(feed.last_id + 1) is None


def test_a_follower_gets_what_is_published_until_it_leaves() -> None:
    feed, got = EventFeed(Clock()), list[FeedEntry]()
    leave = feed.follow(got.append)
    feed.publish({"event": "one"})
    leave()
    leave()
    feed.publish({"event": "two"})
    assert [entry.record["event"] for entry in got] == ["one"]


def test_a_follower_of_some_events_gets_those_only_and_new_followers_get_the_next_one() -> None:
    feed, some, every = EventFeed(Clock()), list[FeedEntry](), list[FeedEntry]()
    leave = feed.follow(some.append, frozenset({"two"}))
    feed.publish({"event": "one"})
    feed.publish({"event": "two"})
    feed.follow(every.append)
    leave()
    feed.publish({"event": "two"})
    feed.publish({"event": "one"})
    assert [entry.fields["event"] for entry in some] == ["two"]
    assert [entry.fields["event"] for entry in every] == ["two", "one"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (1.9996, "1970-01-01T00:00:01.999Z"), (1e9, "2001-09-09T01:46:40.000Z")],
)
def test_times_are_in_utc_with_milliseconds(seconds: float, text: str) -> None:
    assert rfc3339(seconds) == text
