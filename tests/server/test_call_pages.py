"""Pages of calls: every call once, in order, of one process and of several workers."""

from __future__ import annotations

import random
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed

from audiosocket.calls.call import Call, LegState
from audiosocket.calls.events import EventLog
from audiosocket.control_interface import CallSelection
from audiosocket.errors import WorkerGone
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.fleet.page_order import as_page, cursor_of, place_before, place_of
from audiosocket.interfaces import CallerInfo
from audiosocket.json_shapes import CallJSON, CallPageJSON
from audiosocket.server.call_pages import PER_TURN, in_pieces, select
from audiosocket.workers.merged_pages import page_of_workers


def make_call(number: int, *, ended: bool = False, extension: int = 0, second: int | None = None) -> Call:
    started_at = f"2026-11-27T10:00:{(number if second is None else second) % 60:02d}.000Z"
    call = Call(UUID(int=number), replace(DEFAULT_EXTENSION, id=extension), float(number), started_at, EventLog())
    if ended:
        call.ended = float(number + 1)
    return call


def page_of(calls: list[Call], selection: CallSelection) -> CallPageJSON:
    total, chosen = select(calls, selection)
    return as_page(total, [call.to_json(100.0) for call in chosen], selection.limit)


def walk(calls: list[Call], selection: CallSelection) -> list[CallJSON]:
    """Return the calls of all pages."""
    found: list[CallJSON] = []
    while True:
        page = page_of(calls, selection)
        assert len(page["calls"]) <= selection.limit
        found += page["calls"]
        if page["next_cursor"] is None:
            return found
        selection = replace(selection, cursor=page["next_cursor"])


@settings(max_examples=60, deadline=None)
@given(
    marks=st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 5)), max_size=40),
    limit=st.integers(1, 10),
    state=st.sampled_from(["", "live", "ended"]),
    extension=st.sampled_from([None, 0, 1]),
)
def test_all_pages_together_have_every_call_once_and_in_order(
    marks: list[tuple[bool, int, int]], limit: int, state: str, extension: int | None
) -> None:
    calls = [
        make_call(number, ended=ended, extension=own, second=second)
        for number, (ended, own, second) in enumerate(marks)
    ]
    random.Random(len(marks)).shuffle(calls)
    expected = [
        call
        for call in calls
        if state in ("", "ended" if call.ended is not None else "live") and extension in (None, call.extension.id)
    ]
    found = walk(calls, CallSelection(state, extension, limit))
    assert sorted(one["call_id"] for one in found) == sorted(call.name for call in expected)
    places = [place_of(one) for one in found]
    assert places == sorted(places, reverse=True)
    assert page_of(calls, CallSelection(state, extension, limit))["total"] == len(expected)


def test_live_calls_come_first_and_the_latest_before_older_ones() -> None:
    calls = [make_call(1, ended=True), make_call(2), make_call(3, ended=True), make_call(4)]
    found = walk(calls, CallSelection(limit=1))
    assert [UUID(one["call_id"]).int for one in found] == [4, 2, 3, 1]


def test_a_cursor_is_read_as_it_was_written() -> None:
    for place in ((True, "2026-11-27T10:00:00.000Z", str(UUID(int=7))), (False, "x", "y")):
        assert place_before(cursor_of(place)) == place


async def test_long_lists_are_made_in_several_turns() -> None:
    turns = []

    def turn() -> Awaitable[None]:
        turns.append(1)
        return succeed(None)

    shown = await in_pieces([make_call(number) for number in range(3 * PER_TURN)], 100.0, turn)
    assert (len(shown), len(turns)) == (3 * PER_TURN, 2)


class FakeWorker:
    """A worker with these calls; without any it does not respond."""

    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls
        self.asked = 0

    def request(self, kind: str, selection: dict[str, Any]) -> Deferred[CallPageJSON]:
        assert kind == "page"
        self.asked += 1
        if not self.calls:
            return fail(WorkerGone("worker 1 is being replaced"))
        return succeed(page_of(self.calls, CallSelection(**selection)))


@pytest.mark.parametrize("limit", [1, 7, 60, 1_000])
async def test_pages_of_several_workers_are_those_of_one_process(limit: int) -> None:
    calls = [make_call(number, ended=number % 3 == 0, second=number // 5) for number in range(200)]
    workers = [FakeWorker(calls[::2]), FakeWorker(calls[1::2]), FakeWorker([])]
    selection, found = CallSelection(limit=limit), list[CallJSON]()
    for _ in range(200 // limit + 1):
        page = await page_of_workers(cast("Any", workers), selection)
        assert page["total"] == 200
        found += page["calls"]
        if page["next_cursor"] is None:
            break
        selection = replace(selection, cursor=page["next_cursor"])
    assert found == walk(calls, CallSelection())


async def test_a_short_page_asks_for_few_calls() -> None:
    workers = [FakeWorker([make_call(number) for number in range(2_000)])]
    await page_of_workers(cast("Any", workers), CallSelection(limit=10))
    assert workers[0].asked == 1


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("", [0, 1, 2, 3]), ("PORTEIRO-2", [2]), ("caller_hang", [1]), ("0003", [3]), ("192.0.2.7", [0]), ("x", [])],
)
def test_a_search_looks_at_id_caller_address_and_outcome(text: str, numbers: list[int]) -> None:
    calls = [make_call(number) for number in range(4)]
    calls[1].outcome = "caller_hangup"
    for number in (0, 2):
        calls[number].legs[Role.VISITOR] = LegState(Role.VISITOR, "192.0.2.7:1" if number == 0 else "", 8080, 0, 0)
    calls[2].legs[Role.VISITOR].caller = CallerInfo("PJSIP/Porteiro-2", "", "", "", "")
    total, found = select(calls, CallSelection(search=text))
    assert total == len(numbers)
    assert sorted(call.call_id.int for call in found) == numbers
