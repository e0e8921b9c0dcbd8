"""Return calls that ring on the operator page: what is published, and how each attempt ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from audiosocket.errors import InvalidReport
from audiosocket.returncalls.backends.browser import RINGING, STOPPED, BrowserOriginator
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
OTHER = UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")
REQUEST = ReturnRequest(CALL, "101", "1001", 10, attempt_id="a")


class Pages:
    """The backend, what it published, and a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events: list[Mapping[str, Any]] = []
        self.backend = BrowserOriginator(self.events.append, self.clock, new_id=lambda: "new")

    def place(self, request: ReturnRequest = REQUEST) -> tuple[Deferred[AttemptResult], list[AttemptResult]]:
        results: list[AttemptResult] = []
        placed = self.backend.place(request)
        placed.addCallback(results.append)
        return placed, results

    @property
    def names(self) -> list[str]:
        return [str(event["event"]) for event in self.events]


def test_an_attempt_is_published_and_rings_for_the_ring_time() -> None:
    pages = Pages()
    _, results = pages.place()
    assert pages.events == [{"event": RINGING, "call_id": str(CALL), "attempt_id": "a", "ring_seconds": 10}]
    assert (pages.backend.state, pages.backend.ringing) == (("up", ""), 1)
    pages.clock.advance(9.9)
    assert results == []
    pages.clock.advance(0.2)
    (result,) = results
    assert (result.end, result.unavailable) == (AttemptEnd.NO_ANSWER, False)
    assert "within 10 s" in result.reason
    assert pages.events[1:] == [{"event": STOPPED, "call_id": str(CALL), "attempt_id": "a", "end": "no_answer"}]
    assert (pages.backend.ringing, pages.clock.getDelayedCalls()) == (0, [])


@pytest.mark.parametrize("end", ["refused", "failed", "busy"])
def test_a_page_reports_the_end(end: str) -> None:
    pages = Pages()
    _, results = pages.place()
    assert not pages.backend.report("b", end)
    assert pages.backend.report("a", end, "not\nnow")
    assert results == [AttemptResult(AttemptEnd(end), "notnow")]
    assert not pages.backend.report("a", end)
    assert pages.names == [RINGING, STOPPED]
    assert pages.clock.getDelayedCalls() == []


def test_an_end_that_nobody_may_report_is_refused() -> None:
    pages = Pages()
    pages.place()
    with pytest.raises(InvalidReport, match="end must be one of"):
        pages.backend.report("a", "cancelled")


def test_the_leg_that_arrives_ends_the_attempt_as_answered() -> None:
    pages = Pages()
    _, results = pages.place()
    assert not pages.backend.answered(OTHER)
    assert pages.backend.answered(CALL)
    assert results == [AttemptResult(AttemptEnd.ANSWERED)]
    assert pages.events[-1]["end"] == "answered"


def test_cancelling_stops_the_ringing() -> None:
    pages = Pages()
    placed, results = pages.place()
    placed.cancel()
    assert results[0].end is AttemptEnd.CANCELLED
    assert pages.names == [RINGING, STOPPED]


async def test_a_stopping_server_stops_what_rings() -> None:
    pages = Pages()
    _, results = pages.place()
    await pages.backend.close()
    assert [result.end for result in results] == [AttemptEnd.CANCELLED]


def test_an_attempt_of_the_previous_process_is_stopped_by_its_id() -> None:
    pages = Pages()
    pages.backend.stop(REQUEST)
    assert [(event["event"], event["attempt_id"]) for event in pages.events] == [(STOPPED, "a")]


def test_an_attempt_without_an_id_gets_one() -> None:
    pages = Pages()
    pages.place(ReturnRequest(CALL, "101", "1001", 10))
    assert pages.events[0]["attempt_id"] == "new"
