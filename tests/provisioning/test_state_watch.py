"""Changes of listeners, configuration and database as events."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.task import Clock

from audiosocket.extensions.model import Role
from audiosocket.provisioning.refresh_report import RefreshReport
from audiosocket.provisioning.state_watch import INTERVAL_SECONDS, StateWatch


class Service(SimpleNamespace):
    """The part of an `ExtensionService` that is watched."""

    def state(self, now: float) -> tuple[str, str, float]:
        return ("degraded" if self.mismatches else "listening"), "; ".join(self.mismatches), now


class Watched:
    """A `StateWatch` over parts whose state the test sets."""

    def __init__(self, extensions: int = 1) -> None:
        self.clock = Clock()
        self.events: list[Mapping[str, Any]] = []
        self.services = {
            key: Service(
                extension=SimpleNamespace(id=key, number=str(1000 + key)),
                mismatches=[],
                listeners={Role.VISITOR: SimpleNamespace(port=8000 + key)},
            )
            for key in range(extensions)
        }
        self.listeners = SimpleNamespace(generation=1, services_by_id=lambda: self.services)
        self.configuration = SimpleNamespace(source="file", file_trouble="", last=None)
        self.database = SimpleNamespace(state=SimpleNamespace(state="connecting", reason=""))
        self.watch = StateWatch(
            cast("Any", self.listeners),
            cast("Any", SimpleNamespace(configuration=self.configuration)),
            cast("Any", self.database),
            self.events.append,
            self.clock,
        )
        self.watch.startService()

    def seen(self) -> list[Mapping[str, Any]]:
        """Return the events of the next comparison."""
        self.events.clear()
        self.clock.advance(INTERVAL_SECONDS)
        return list(self.events)


def test_the_first_comparison_says_how_things_are() -> None:
    watched = Watched()
    assert watched.seen() == [
        {"event": "database.changed", "state": "connecting", "reason": ""},
        {"event": "configuration.changed", "source": "file", "file_trouble": ""},
        {
            "event": "listener.changed",
            "extension": 0,
            "number": "1000",
            "state": "listening",
            "reason": "",
            "ports": {"visitor": 8000},
        },
    ]
    assert watched.seen() == []


def test_a_change_is_told_once() -> None:
    watched = Watched()
    watched.seen()
    watched.database.state = SimpleNamespace(state="down", reason="connection refused")
    watched.services[0].mismatches = ["visitor port 8000 is in use, listening on 8010 instead"]
    watched.listeners.generation += 1
    database, listener = watched.seen()
    assert (database["state"], database["reason"]) == ("down", "connection refused")
    assert (listener["state"], listener["number"]) == ("degraded", "1000")
    watched.services = {}
    watched.listeners.generation += 1
    (gone,) = watched.seen()
    assert (gone["extension"], gone["state"], gone["reason"]) == (0, "removed", "")
    assert watched.seen() == []


def test_a_poll_that_found_nothing_is_no_event() -> None:
    watched = Watched()
    watched.seen()
    for trigger, result, told in (
        ("start", "applied", 1),
        ("poll", "unchanged", 0),
        ("poll", "failed", 1),
        ("api", "unchanged", 1),
    ):
        watched.configuration.last = RefreshReport(trigger, result=result)
        events = watched.seen()
        assert [(each["event"], each["result"]) for each in events] == [("refresh.ended", result)] * told, trigger
        assert watched.seen() == []


def test_many_extensions_are_read_in_pieces() -> None:
    watched = Watched(extensions=1_000)
    watched.watch.compare()
    assert not [each for each in watched.events if each["event"] == "listener.changed"]
    watched.clock.advance(0)
    told = [each for each in watched.events if each["event"] == "listener.changed"]
    assert len(told) == 101
    assert told[-1] == {"event": "listener.changed", "more": 900}


def test_a_stop_ends_it() -> None:
    watched = Watched()
    watched.watch.stopService()
    assert watched.clock.getDelayedCalls() == []
