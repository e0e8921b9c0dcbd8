"""Return calls through ARI: how each ends, and that nothing keeps ringing."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, cast
from uuid import UUID

import pytest
from twisted.internet import task
from twisted.internet.defer import Deferred, fail, succeed
from twisted.web.http import Request

from audiosocket.asterisk.ari.channel_events import CHANNEL_KINDS
from audiosocket.asterisk.ari.events import KINDS
from audiosocket.asterisk.channel_names import CHANNEL_ID_PREFIX
from audiosocket.errors import InvalidSetting
from audiosocket.outbound.http_client import Answer, HTTPClient, RequestFailed
from audiosocket.outbound.secret import Secret
from audiosocket.returncalls.backends import ari as arioriginate
from audiosocket.returncalls.backends.ari import ARIOriginator
from audiosocket.returncalls.dial_string import Route
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest
from tests.support.ari_channels import runs
from tests.support.fake_web_servers import FakeHTTPClient, SentRequest, http_server, listening_server, raw_server
from tests.support.logged_events import LoggedEvents
from tests.support.reactor import reactor

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
CHANNEL = f"{CHANNEL_ID_PREFIX}1"
REQUEST = ReturnRequest(CALL, "101", "1001", 10, "Gate <1000>", {"GATE": "1"})
AWAY = RequestFailed("no connection: refused", unsent=True)
BROKEN = RequestFailed("the connection broke")


#: What a request gets: an answer, an error, or None for no answer.
Reply = Answer | RequestFailed | None


class Pbx:
    """An Asterisk in memory: ``life`` is the state of the channel at times since it was made."""

    def __init__(self, password: Secret = "hunter2") -> None:
        self.clock = task.Clock()
        self.web = FakeHTTPClient(self.clock, self.answer)
        self.ari = ARIOriginator(
            self.web, self.clock, "http://pbx:8088", "door", password, Route(), new_id=lambda: "1"
        )
        self.life = [(0.0, "Down")]
        self.made_at = 0.0
        self.deleted = False
        self.placing: Reply = Answer(200, b"{}")
        self.pinging: Reply = None
        self.deleting: Reply = None
        self.looking: Reply | Callable[[], Reply] = None

    def answer(self, asked: SentRequest) -> Reply:
        path = asked.url.removeprefix("http://pbx:8088/ari/")
        if path == "asterisk/ping":
            return self.pinging or Answer(200, b"{}")
        if asked.method == "POST":
            assert path == "channels"
            if self.placing != AWAY:
                self.made_at = self.clock.seconds()
            return self.placing
        if asked.method == "PUT":
            return Answer(200)
        assert path.startswith(f"channels/{CHANNEL}")
        if asked.method == "DELETE":
            if self.deleting is None:
                there, self.deleted = not self.deleted and self.state() != "gone", True
                return Answer(204 if there else 404)
            return self.deleting
        if self.looking is not None:
            return self.looking() if callable(self.looking) else self.looking
        state = "gone" if self.deleted else self.state()
        return Answer(404, b'{"message":"Channel not found"}') if state == "gone" else channel(state)

    def state(self) -> str:
        age = self.clock.seconds() - self.made_at
        return [state for since, state in self.life if since <= age + 1e-6][-1]

    def place(self, request: ReturnRequest = REQUEST) -> list[AttemptResult]:
        results: list[AttemptResult] = []
        self.placed = self.ari.place(request)
        self.placed.addCallback(results.append)
        return results

    def methods(self, method: str) -> list[SentRequest]:
        return [asked for asked in self.web.requests if asked.method == method]


def channel(state: str) -> Answer:
    return Answer(200, json.dumps({"id": CHANNEL, "state": state}).encode())


@pytest.fixture
def pbx() -> Iterator[Pbx]:
    pbx = Pbx()
    yield pbx
    assert pbx.ari.ringing == 0
    pbx.web.pass_time(10)
    assert not pbx.clock.getDelayedCalls()


def test_the_request_to_asterisk(pbx: Pbx) -> None:
    pbx.life += [(0.2, "Up")]
    pbx.place()
    assert pbx.ari.ringing == 1
    (asked,) = pbx.methods("POST")
    assert asked.headers["Authorization"] == "Basic " + base64.b64encode(b"door:hunter2").decode()
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.seconds == 5
    assert asked.json == {
        "endpoint": "PJSIP/101",
        "context": "audiosocket-return",
        "extension": "1001",
        "priority": 1,
        "timeout": 11,
        "callerId": "Gate <1000>",
        "channelId": CHANNEL,
        "variables": {"AUDIOSOCKET_CALL_ID": str(CALL), "GATE": "1"},
    }
    pbx.web.pass_time(0.3)


@pytest.mark.parametrize(
    ("life", "seconds", "end"),
    [
        ([(0.5, "Ringing"), (3, "Up")], 3.0, AttemptEnd.ANSWERED),
        ([(0.01, "Up")], 0.25, AttemptEnd.ANSWERED),
        ([(0.5, "Ringing"), (3, "gone")], 3.0, AttemptEnd.REFUSED),
        ([(0.02, "gone")], 0.25, AttemptEnd.BUSY),
        ([(0.5, "Ringing")], 10.0, AttemptEnd.NO_ANSWER),
        ([], 10.0, AttemptEnd.NO_ANSWER),
        ([(0.5, "Ringing"), (9.9, "Up")], 10.0, AttemptEnd.ANSWERED),
    ],
)
def test_how_a_call_ends(pbx: Pbx, life: list[tuple[float, str]], seconds: float, end: AttemptEnd) -> None:
    pbx.life += life
    results = pbx.place()
    pbx.web.pass_time(seconds - 0.1)
    assert results == []
    pbx.web.pass_time(0.15)
    assert [result.end for result in results] == [end]
    assert len(pbx.methods("DELETE")) == (end is AttemptEnd.NO_ANSWER)
    looks = len(pbx.methods("GET"))
    pbx.web.pass_time(2)
    assert len(pbx.methods("GET")) == looks


def test_templates_may_have_more_than_the_number(pbx: Pbx) -> None:
    pbx.ari._route = Route("Local/{number}@cond-{condominio}/n", "return-{ramal}")
    row = {"ramal": "1000", "condominio": "7"}
    pbx.place(ReturnRequest(CALL, "101", "1001", 10, "Gate <{retorno}>", row=row))
    asked = pbx.methods("POST")[0].json
    assert (asked["endpoint"], asked["context"], asked["callerId"]) == (
        "Local/101@cond-7/n",
        "return-1000",
        "Gate <1001>",
    )
    pbx.placed.cancel()
    (result,) = pbx.place(ReturnRequest(CALL, "101", "1001", 10, row={**row, "ramal": "10 00"}))
    assert (result.end, "{ramal} is '10 00'" in result.reason) == (AttemptEnd.FAILED, True)


class Events:
    """A double of `ARIEventStream`; the test passes events to the originator."""

    def __init__(self) -> None:
        self.up, self.connects = True, 0
        self.problem: RequestFailed | None = None

    async def connect(self) -> None:
        self.connects += 1
        if self.problem is not None:
            raise self.problem
        self.up = True

    async def close(self) -> None:
        self.up = False


OTHER_HALF, TELEPHONE = f"{CHANNEL};2", "1795376502.10"
RINGS = {"type": "ChannelStateChange", "channel": {"id": CHANNEL, "state": "Ringing"}}


def gone(cause: int, channel_id: str = CHANNEL) -> dict[str, Any]:
    return {"type": "ChannelDestroyed", "cause": cause, "channel": {"id": channel_id, "state": "Down"}}


def dial(status: str, peer: str = CHANNEL, **more: Any) -> dict[str, Any]:
    return {"type": "Dial", "dialstatus": status, "peer": {"id": peer, "state": "Down"}, **more}


# What Asterisk 22 sent for each, of Local/…@context/n but for the first four; the end; seconds until it is certain
EVENTS = {
    "busy (486)": ([dial(""), dial("BUSY"), gone(17)], AttemptEnd.BUSY, 0),
    "declined (603)": ([dial(""), dial("NOANSWER"), gone(21)], AttemptEnd.REFUSED, 0),
    "not found (404)": ([dial(""), dial("NOANSWER"), gone(1)], AttemptEnd.FAILED, 0),
    "unavailable (480)": ([dial(""), dial("NOANSWER"), gone(19)], AttemptEnd.NO_ANSWER, 0),
    "no such extension": ([gone(0, OTHER_HALF), gone(0)], AttemptEnd.FAILED, 1),
    "Busy()": ([dial("BUSY"), gone(0), gone(17, OTHER_HALF)], AttemptEnd.BUSY, 0),
    "Congestion()": ([dial("CONGESTION"), gone(0), gone(34, OTHER_HALF)], AttemptEnd.FAILED, 1),
    "Hangup(21)": ([gone(21, OTHER_HALF), dial("NOANSWER"), gone(21)], AttemptEnd.REFUSED, 0),
    "Hangup() after ringing": ([RINGS, gone(16, OTHER_HALF), gone(16)], AttemptEnd.REFUSED, 1),
    "cause 0 after ringing": ([RINGS, gone(0, OTHER_HALF), gone(0)], AttemptEnd.REFUSED, 1),
    "a telephone that declines behind a dialplan": (
        [
            dial("", TELEPHONE, caller={"id": OTHER_HALF}),
            RINGS,
            gone(0),
            gone(34, OTHER_HALF),
            gone(21, TELEPHONE),
        ],
        AttemptEnd.REFUSED,
        0,
    ),
}


@pytest.mark.parametrize("case", EVENTS)
@pytest.mark.parametrize("polled", [False, True])
def test_the_end_is_known_from_events(pbx: Pbx, case: str, polled: bool) -> None:
    events, end, seconds = EVENTS[case]
    pbx.ari._events = cast(Any, Events())
    results = pbx.place()
    if polled:  # the look at the channel is faster than the events
        pbx.life += [(0.01, "gone")]
        pbx.web.pass_time(0.5)
        assert results == []
    for event in events:
        pbx.ari._received(gone(17, "another"))
        pbx.ari._received(event)
    if seconds:
        assert results == [], "a better cause may follow"
    pbx.web.pass_time(seconds)
    assert [result.end for result in results] == [end]
    assert results[0].reason
    pbx.web.pass_time(2)
    assert not pbx.methods("DELETE")


def test_an_answer_is_known_from_an_event_and_late_events_are_ignored(pbx: Pbx) -> None:
    pbx.ari._events = cast(Any, Events())
    results = pbx.place()
    for state in ("Ringing", "Up"):
        pbx.ari._received({"type": "ChannelStateChange", "channel": {"id": CHANNEL, "state": state}})
    assert results == [AttemptResult(AttemptEnd.ANSWERED)]
    pbx.ari._received(gone(16))
    assert len(results) == 1


def test_an_end_without_an_event_is_inferred_from_polls(pbx: Pbx) -> None:
    pbx.ari._events = cast(Any, Events())
    pbx.life += [(0.5, "Ringing"), (3, "gone")]
    results = pbx.place()
    pbx.web.pass_time(3.9)
    assert results == []
    pbx.web.pass_time(0.3)
    assert [result.end for result in results] == [AttemptEnd.REFUSED]


def test_a_channel_that_vanishes_when_the_ring_time_is_over_is_not_waited_for(pbx: Pbx) -> None:
    pbx.ari._events = cast(Any, Events())
    pbx.life += [(9.8, "gone")]
    results = pbx.place()
    pbx.web.pass_time(10.1)
    assert [result.end for result in results] == [AttemptEnd.BUSY]


@pytest.mark.parametrize(
    "nonsense",
    [{}, {"type": "Dial"}, {"type": "Dial", "peer": "x"}, {"type": "ChannelDestroyed", "channel": {"id": 7}},
     {"type": ["Dial"], "peer": {"id": CHANNEL}}, {"type": "StasisStart", "channel": {"id": CHANNEL}},
     {"type": "ChannelStateChange", "channel": {"id": CHANNEL, "state": 7}},
     {"type": "Dial", "peer": {"id": CHANNEL}, "dialstatus": {}, "caller": []}],
)  # fmt: skip
def test_events_without_information_change_nothing(pbx: Pbx, nonsense: dict[str, Any]) -> None:
    pbx.ari._events = cast(Any, Events())
    results = pbx.place()
    pbx.ari._received(nonsense)
    pbx.web.pass_time(1)
    assert results == []
    pbx.ari._received({"type": "ChannelDestroyed", "channel": {"id": CHANNEL}, "cause": "x"})
    pbx.web.pass_time(1.1)
    assert [result.end for result in results] == [AttemptEnd.FAILED]


def test_events_are_requested_when_ari_is_up_and_whenever_they_are_lost(pbx: Pbx) -> None:
    events = Events()
    pbx.ari._events = cast(Any, events)
    events.up, events.problem = False, RequestFailed("no connection for events")
    pbx.ari.start()
    assert (events.connects, pbx.methods("PUT")) == (1, [])
    assert pbx.ari.state == ("up", "its events do not arrive, so that not all ends of attempts can be told apart")
    events.problem = None
    pbx.web.pass_time(15)
    (asked,) = pbx.methods("PUT")
    assert re.fullmatch(r"http://pbx:8088/ari/applications/audiosocket-\w+/eventFilter", asked.url)
    assert asked.json == {"allowed": [{"type": kind} for kind in KINDS]}
    assert pbx.ari.state == ("up", "")
    pbx.web.pass_time(15)
    assert events.connects == 2, "they are there"
    events.up, pbx.pinging = False, Answer(401)
    pbx.web.pass_time(30)
    assert events.connects == 2, "a refused password is not tried more often"
    pbx.pinging = None
    pbx.web.pass_time(15)
    assert events.connects == 3
    pbx.ari._pings.stop()


def test_the_end_of_the_connection_for_events_is_noticed_at_once(pbx: Pbx) -> None:
    events = Events()
    pbx.ari._events = cast(Any, events)
    pbx.ari.start()
    pbx.web.pass_time(3)
    events.up, pbx.pinging = False, AWAY
    pbx.ari._pings.now()  # what the stream calls
    assert pbx.ari.state == ("down", "no connection: refused")
    pbx.web.pass_time(20)
    pbx.pinging = None
    pbx.web.pass_time(1)
    assert (pbx.ari.state, events.connects) == (("up", ""), 1), "a second after Asterisk is back"
    pbx.ari._pings.stop()


def test_events_are_requested_again_when_a_call_is_placed(pbx: Pbx) -> None:
    events = Events()
    events.up, events.problem = False, RequestFailed("no connection for events")
    pbx.ari._events = cast(Any, events)
    pbx.ari.start()
    pbx.web.pass_time(100)
    assert events.connects < 12, "less and less often, at last with each ping"
    before, events.problem = events.connects, None
    pbx.place()
    assert (events.up, events.connects) == (True, before + 1)
    pbx.ari._pings.stop()
    pbx.placed.cancel()


def test_the_ring_time_may_be_a_fraction(pbx: Pbx) -> None:
    results = pbx.place(ReturnRequest(CALL, "101", "1001", 0.6))
    pbx.web.pass_time(0.55)
    assert results == []
    pbx.web.pass_time(0.1)
    assert results == [AttemptResult(AttemptEnd.NO_ANSWER, "rang for 0.6 s, nobody answered")]
    assert pbx.methods("POST")[0].json["timeout"] == 2
    assert "callerId" not in pbx.methods("POST")[0].json


def test_cancelling_ends_the_channel_and_the_attempt_at_once(pbx: Pbx) -> None:
    pbx.life += [(0.5, "Ringing")]
    results = pbx.place()
    pbx.web.pass_time(1)
    pbx.placed.cancel()
    assert results == [AttemptResult(AttemptEnd.CANCELLED, "cancelled")]
    assert pbx.deleted
    pbx.web.pass_time(5)
    assert len(pbx.methods("DELETE")) == 1


def test_a_call_cancelled_while_it_is_placed_is_ended_when_it_appears(pbx: Pbx) -> None:
    pbx.placing = None
    results = pbx.place()
    pbx.deleting = Answer(404)
    pbx.placed.cancel()
    assert [result.end for result in results] == [AttemptEnd.CANCELLED]
    pbx.web.pass_time(1.5)
    assert len(pbx.methods("DELETE")) == 2
    pbx.deleting = Answer(204)
    pbx.web.pass_time(5)
    assert len(pbx.methods("DELETE")) == 3


def test_the_residents_leg_is_an_answer(pbx: Pbx) -> None:
    results = pbx.place()
    assert not pbx.ari.answered(UUID(int=1))
    assert pbx.ari.answered(CALL)
    assert results == [AttemptResult(AttemptEnd.ANSWERED, "")]
    assert not pbx.ari.answered(CALL)
    pbx.web.pass_time(5)
    assert not pbx.methods("DELETE")


def test_an_attempt_of_another_process_is_stopped_by_its_id(pbx: Pbx) -> None:
    pbx.made_at = 0.0
    pbx.ari.stop(ReturnRequest(CALL, "101", "1001", 10, attempt_id="1"))
    assert pbx.deleted
    pbx.web.pass_time(10)
    assert len(pbx.methods("DELETE")) == 1


def test_an_attempt_keeps_a_given_id(pbx: Pbx) -> None:
    pbx.place(ReturnRequest(CALL, "101", "1001", 10, attempt_id="seven"))
    assert pbx.methods("POST")[0].json["channelId"] == f"{CHANNEL_ID_PREFIX}seven"
    pbx.ari.answered(CALL)


@pytest.mark.parametrize(
    ("placing", "reason", "ended"),
    [
        (AWAY, "ARI at pbx:8088 is not available: no connection", False),
        (BROKEN, "ARI at pbx:8088 is not available: the connection broke", True),
        (Answer(401, b'{"message":"Authentication required"}'), "refuses the user or the password", False),
        (Answer(403), "refuses the user or the password", False),
        (Answer(500, b'{"error":"Allocation failed"}'), "HTTP 500.: Allocation failed", False),
        (Answer(400, b'{"message":"Invalid\\r\\nendpoint"}'), "HTTP 400.: Invalidendpoint", False),
        (Answer(404, b"<html>"), "HTTP 404.: no reason given", False),
        (Answer(409, b"[1]"), "HTTP 409.: no reason given", False),
        (Answer(500, b"[" * 60_000), "HTTP 500.: no reason given", False),
        (Answer(302), "HTTP 302", False),
        (Answer(504), "HTTP 504", True),
    ],
)
def test_a_call_that_cannot_be_placed_failed(pbx: Pbx, placing: Reply, reason: str, ended: bool) -> None:
    pbx.placing = placing
    (result,) = pbx.place()
    assert result.end is AttemptEnd.FAILED
    assert re.search(reason, result.reason)
    assert "hunter2" not in result.reason
    assert bool(pbx.methods("DELETE")) == ended
    assert result.unavailable == result.reason.startswith("ARI at pbx:8088 ")


def test_an_unanswered_request_fails_and_its_channel_is_hung_up(pbx: Pbx) -> None:
    pbx.placing = None
    pbx.deleting = BROKEN
    results = pbx.place()
    pbx.web.pass_time(4.9)
    assert results == []
    pbx.web.pass_time(0.2)
    assert [result.end for result in results] == [AttemptEnd.FAILED]
    pbx.web.pass_time(10)
    assert len(pbx.methods("DELETE")) == 5


@pytest.mark.parametrize(
    "nonsense",
    [AWAY, BROKEN, Answer(500), Answer(401), Answer(200, b"garbage"), Answer(200, b"[]"),
     Answer(200, b'{"state":7}'), Answer(200, b"\xff\xfe")],
)  # fmt: skip
def test_polls_without_an_answer_are_tolerated_for_five_seconds(pbx: Pbx, nonsense: Reply) -> None:
    pbx.life += [(0.5, "Ringing"), (6, "Up")]
    results = pbx.place()
    pbx.web.pass_time(1)
    pbx.looking = nonsense
    pbx.web.pass_time(4.9)
    assert results == []
    pbx.looking = None
    pbx.web.pass_time(0.5)
    assert results == [AttemptResult(AttemptEnd.ANSWERED, "")]


def test_an_ari_lost_for_longer_fails_the_attempt_and_the_channel_is_ended(pbx: Pbx) -> None:
    results = pbx.place()
    pbx.looking = BROKEN
    pbx.web.pass_time(5.5)
    assert [result.end for result in results] == [AttemptEnd.FAILED]
    assert "ARI was lost during the call: the connection broke" in results[0].reason
    assert pbx.deleted


def test_a_result_comes_within_five_seconds_of_the_ring_time_whatever_ari_does(pbx: Pbx) -> None:
    results = pbx.place(ReturnRequest(CALL, "101", "1001", 3))
    pbx.web.pass_time(1)
    pbx.looking = lambda: None  # each look takes its five seconds
    pbx.web.pass_time(6.6)
    assert [result.end for result in results] == [AttemptEnd.FAILED]
    assert pbx.deleted


@pytest.mark.parametrize(
    "request_",
    [
        ReturnRequest(CALL, "101/n", "1001", 10),
        ReturnRequest(CALL, "101", "10,1", 10),
        ReturnRequest(CALL, "101", "1001", 0),
        ReturnRequest(CALL, "101", "1001", 10, "a\r\nb"),
        ReturnRequest(CALL, "101", "1001", 10, "", {"SHELL(id)": "1"}),
    ],
)
def test_what_must_not_reach_asterisk_does_not(pbx: Pbx, request_: ReturnRequest) -> None:
    (result,) = pbx.place(request_)
    assert result.end is AttemptEnd.FAILED
    assert pbx.web.requests == []


def test_the_state_follows_the_pings(pbx: Pbx) -> None:
    assert pbx.ari.state[0] == "connecting"
    pbx.pinging = AWAY
    pbx.ari.start()
    assert pbx.ari.state == ("down", "no connection: refused")
    for pinging, state in (
        (None, "up"),
        (Answer(401), "down"),
        (Answer(200), "up"),
        (Answer(503), "down"),
        (Answer(200), "up"),
        (Answer(404), "down"),
    ):
        pbx.pinging = pinging
        pbx.web.pass_time(15)
        assert pbx.ari.state[0] == state
    pbx.ari._pings.stop()


def test_a_call_does_not_wait_for_the_next_ping(pbx: Pbx) -> None:
    pbx.pinging = AWAY
    pbx.ari.start()
    assert pbx.ari.state[0] == "down"
    pbx.life += [(0.5, "Up")]
    results = pbx.place()
    assert pbx.ari.state == ("up", "")
    pbx.web.pass_time(1)
    assert results == [AttemptResult(AttemptEnd.ANSWERED)]
    pbx.ari._pings.stop()


def test_a_refused_password_is_not_tried_more_often(pbx: Pbx) -> None:
    pbx.pinging = Answer(401)
    pbx.ari.start()
    for _ in range(14):
        pbx.web.pass_time(1)
        (result,) = pbx.place()
        assert (result.end, result.unavailable) == (AttemptEnd.FAILED, True)
        assert result.reason == "ARI at pbx:8088 refuses the user or the password (HTTP 401)"
    assert len(pbx.web.requests) == 1
    pbx.pinging = None
    pbx.web.pass_time(1)
    assert pbx.place() == []
    assert len(pbx.methods("POST")) == 1
    pbx.ari._pings.stop()
    pbx.placed.cancel()


async def test_stopping_ends_what_rings_and_disconnects(pbx: Pbx) -> None:
    pbx.ari.start()
    results = pbx.place()
    await pbx.ari.close()
    assert [result.end for result in results] == [AttemptEnd.CANCELLED]
    assert pbx.deleted
    assert pbx.web.closed


def test_stopping_does_not_wait_for_an_ari_that_is_silent(pbx: Pbx) -> None:
    pbx.place()
    pbx.deleting = BROKEN
    stopped = Deferred.fromCoroutine(pbx.ari.close())
    pbx.web.pass_time(1.9)
    assert not stopped.called
    pbx.web.pass_time(0.2)
    assert stopped.called


@pytest.mark.parametrize(("user", "password"), [("", "x"), ("a:b", "x"), ("a", "")])
def test_an_account_is_needed(user: str, password: str) -> None:
    with pytest.raises(InvalidSetting):
        ARIOriginator(FakeHTTPClient(task.Clock(), lambda _: None), task.Clock(), "http://pbx", user, password)


@pytest.mark.parametrize(
    "url", ["http://pbx:8088", "http://pbx:8088/", "http://pbx:8088/ari", "http://pbx:8088/ari/"]
)
def test_the_path_of_ari_may_be_given_or_not(url: str) -> None:
    web = FakeHTTPClient(task.Clock(), lambda asked: Answer(200))
    ari = ARIOriginator(web, web.clock, url, "a", "b")
    ari.start()
    ari._pings.stop()
    assert web.requests[0].url == "http://pbx:8088/ari/asterisk/ping"


# Over real connections


async def test_a_call_over_http_from_ringing_to_its_answer() -> None:
    seen: list[tuple[bytes, bytes]] = []
    states = ["Down", "Ringing", "Ringing", "Up"]

    def answer(request: Request, body: bytes) -> tuple[int, bytes]:
        seen.append((request.method, request.path))
        assert (request.getUser(), request.getPassword()) == (b"door", b"hunter2")
        return 200, b"{}" if request.method == b"POST" else channel(states.pop(0)).body

    async with http_server(answer) as url:
        ari = ARIOriginator(HTTPClient(reactor), reactor, url, "door", "hunter2", new_id=lambda: "1")
        assert await ari.place(REQUEST) == AttemptResult(AttemptEnd.ANSWERED, "")
        assert ari.state == ("up", "")
        await ari.close()
    assert seen == [(b"POST", b"/ari/channels")] + [(b"GET", f"/ari/channels/{CHANNEL}".encode())] * 4


@pytest.mark.parametrize(
    ("answer", "then"),
    [(b"", "reset"), (b"garbage\r\n\r\n", "close"), (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000, "keep")],
)
async def test_a_server_that_is_no_ari_fails_the_attempt(
    answer: bytes, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arioriginate, "HANGUP_PAUSE_SECONDS", 0.01)
    with LoggedEvents() as logged:
        async with listening_server(raw_server(answer, then)) as url:
            ari = ARIOriginator(HTTPClient(reactor), reactor, url, "door", "hunter2")
            ari.start()
            result = await ari.place(REQUEST)
            assert result.end is AttemptEnd.FAILED
            assert ari.state[0] == "down"
            await ari.close()
    text = f"{logged.text} {result} {ari.state}"
    assert "hunter2" not in text
    assert base64.b64encode(b"door:hunter2").decode() not in text


async def test_a_password_in_a_file_is_read_for_each_request() -> None:
    file: list[str | Exception] = ["the first"]

    def read() -> Deferred[str]:
        return fail(file[0]) if isinstance(file[0], Exception) else succeed(file[0])

    pbx = Pbx(read)
    await pbx.ari.ask("GET", "asterisk/ping")
    file[0] = "the second"
    await pbx.ari.ask("GET", "asterisk/ping")
    accounts = [
        base64.b64decode(each.headers["Authorization"].removeprefix("Basic ")) for each in pbx.web.requests
    ]
    assert accounts == [b"door:the first", b"door:the second"]
    file[0] = InvalidSetting("ARI_PASSWORD_FILE: away")
    with pytest.raises(RequestFailed, match="ARI_PASSWORD_FILE: away"):
        await pbx.ari.ask("GET", "asterisk/ping")
    assert pbx.ari.state == ("down", "ARI_PASSWORD_FILE: away")
    assert len(pbx.web.requests) == 2


def test_events_of_channels_are_requested_only_where_somebody_watches_them(pbx: Pbx) -> None:
    events = Events()
    pbx.ari._events = cast(Any, events)
    events.up = False
    news: list[UUID | None] = []
    pbx.ari.channels.watch(news.append)
    pbx.ari.start()
    (asked,) = pbx.methods("PUT")
    assert {each["type"] for each in asked.json["allowed"]} == {*KINDS, *CHANNEL_KINDS}
    pbx.ari._received(runs("AudioSocket", f"{CALL},127.0.0.1:8080"))
    assert news == [CALL]
    pbx.ari._pings.stop()


def test_channels_that_ended_while_events_were_missing_are_asked_for_when_they_arrive_again(pbx: Pbx) -> None:
    events = Events()
    pbx.ari._events = cast(Any, events)
    events.up = False
    channels, ended = pbx.ari.channels, list[bool]()
    channels.watch_ends(lambda: ended.append(channels.has_ended(CHANNEL, CALL, None)))
    pbx.life += [(0.0, "gone")]
    pbx.ari.start()
    assert ended[-1:] == [True]
    pbx.ari._pings.stop()
