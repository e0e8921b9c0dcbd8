"""Answers that clients share who ask for the same at about the same time, and allow it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from admin.shared_answers import MAX_AGE_SECONDS, MAX_ANSWERS, accepted_age
from audiosocket.control_interface import CallSelection, PeerControl, Soon, fleet_status
from audiosocket.errors import WorkerGone
from audiosocket.json_shapes import CallPageJSON
from audiosocket.json_shapes.fleet import CommandJSON, FleetStatusJSON, NodeJSON
from tests.support.admin_client import AdminClient, FakeControl, request_bytes

LIVE = "/api/calls?state=live"
SHARED = {"Cache_Control": "max-age=1"}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("no-cache", 0),
        ("max-age=1", 1),
        ("Max-Age=0", 0),
        ("no-transform, max-age=1", 1),
        ("max-age=900", MAX_AGE_SECONDS),
        ("max-age=-1", 0),
        ("s-max-age=1", 0),
        ("max-age=1x", 0),
    ],
)
def test_the_age_that_a_request_accepts(header: str | None, seconds: float) -> None:
    assert accepted_age(header) == seconds


def asked(web: AdminClient) -> int:
    return sum(request[0] == "page" for request in web.control.requests)


def test_one_answer_serves_all_who_ask_within_its_age() -> None:
    web = AdminClient()
    first = web.request("GET", LIVE, **SHARED)
    second = web.request("GET", LIVE, **SHARED)
    assert (first.body, asked(web)) == (second.body, 1)
    assert second.json()["total"] == 7
    web.clock.advance(1.1)
    web.request("GET", LIVE, **SHARED)
    assert asked(web) == 2


def test_another_question_and_one_without_the_header_are_answered_anew() -> None:
    web = AdminClient()
    web.request("GET", LIVE, **SHARED)
    web.request("GET", "/api/calls?state=ended", **SHARED)
    web.request("GET", LIVE)
    assert asked(web) == 3


def test_an_error_is_not_kept() -> None:
    web = AdminClient()
    web.control.error = WorkerGone("worker 1 is being replaced")
    assert web.request("GET", LIVE, **SHARED).status == 503
    web.control.error = None
    assert web.request("GET", LIVE, **SHARED).status == 200


class SlowControl(FakeControl):
    """One whose page of calls comes later."""

    def __init__(self) -> None:
        super().__init__()
        self.later: Deferred[CallPageJSON] = Deferred()

    def page(self, selection: CallSelection) -> Soon[CallPageJSON]:
        super().page(selection)
        return self.later


def test_a_client_that_leaves_takes_the_answer_from_nobody() -> None:
    control = SlowControl()
    web = AdminClient(control=control)
    request = request_bytes("GET", LIVE, **SHARED)
    leaves, stays = web.connect().send(request), web.connect().send(request)
    assert sum(each[0] == "page" for each in control.requests) == 1
    leaves.close()
    control.later.callback({"total": 3, "calls": [], "next_cursor": None})
    (answer,) = stays.responses()
    assert answer.json()["total"] == 3


def test_answers_to_many_questions_are_not_kept_without_end() -> None:
    web = AdminClient()
    for number in range(MAX_ANSWERS + 5):
        web.request("GET", f"{LIVE}&extension={number}", **SHARED)
    assert asked(web) == MAX_ANSWERS + 5
    web.request("GET", f"{LIVE}&extension={MAX_ANSWERS + 4}", **SHARED)
    assert asked(web) == MAX_ANSWERS + 5
    web.request("GET", f"{LIVE}&extension=0", **SHARED)
    assert asked(web) == MAX_ANSWERS + 6


class CountingFleet:
    """A fleet of this node only, and how often PostgreSQL would have been asked."""

    def __init__(self) -> None:
        self.asked = 0

    def to_json(self) -> FleetStatusJSON:
        return {**fleet_status(None), "node": "n1"}

    @property
    def peers(self) -> PeerControl:
        raise NotImplementedError

    async def nodes(self) -> list[NodeJSON]:
        self.asked += 1
        return []

    async def command(self, action: str, node: str | None, argument: str, asked_by: str) -> CommandJSON:
        raise NotImplementedError


def test_the_nodes_of_the_fleet_are_shared_as_well() -> None:
    control = FakeControl()
    control.fleet = fleet = CountingFleet()
    web = AdminClient(control=control)
    answers = [web.request("GET", "/api/fleet", **SHARED) for _ in range(3)]
    assert {each.body for each in answers} == {answers[0].body}
    assert answers[0].json() == {"status": "success", "node": "n1", "total": 0, "nodes": []}
    assert fleet.asked == 1
    web.request("GET", "/api/fleet")
    assert fleet.asked == 2


def test_the_status_without_the_extensions() -> None:
    web = AdminClient()
    whole, rest = (
        web.request("GET", "/api/status").json(),
        web.request("GET", "/api/status?extensions=false").json(),
    )
    assert len(whole["extensions"]) == 1
    assert rest["extensions"] == []
    assert {**rest, "extensions": 0} == {**whole, "extensions": 0}
    assert web.request("GET", "/api/status?extensions=perhaps").status == 400
    assert web.request("GET", "/api/status?other=1").status == 422
