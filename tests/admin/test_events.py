"""Following the server's events: ids, resuming, filters, slow clients and limits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from admin.event_stream import KEEP_ALIVE_SECONDS, MAX_PAUSED_SECONDS, MAX_STREAMS
from admin.sessions import SESSION_SECONDS
from audiosocket.api_tokens import ApiToken
from audiosocket.runtime.event_feed import EventFeed
from tests.support.admin_client import CALL, AdminClient, FakeConnection


def follow(web: AdminClient, query: str = "", header: str = "") -> FakeConnection:
    """HTTP/1.0, so that the body is not in chunks."""
    extra = f"Last-Event-ID: {header}\r\n" if header else ""
    return web.connect().send(f"GET /api/events{query} HTTP/1.0\r\nHost: localhost\r\n{extra}\r\n".encode())


def received(wire: FakeConnection) -> list[dict[str, Any]]:
    """The data of all events, each checked to have its id in its own line."""
    _, _, body = wire.transport.value().decode().partition("\r\n\r\n")
    found = []
    for block in body.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in lines:
            data = json.loads(lines["data"])
            assert str(data["id"]) == lines["id"]
            found.append(data)
    return found


def names(wire: FakeConnection) -> list[str]:
    return [each["event"] for each in received(wire)]


def publish(web: AdminClient, *events: str, **fields: object) -> None:
    for event in events:
        web.feed.publish({"event": event, **fields})


def test_events_are_sent_as_they_happen(web: AdminClient) -> None:
    publish(web, "call.started")
    wire = follow(web)
    publish(web, "leg.joined", call_id=str(CALL), extension=1, number="1000")
    head, _, body = wire.transport.value().decode().partition("\r\n\r\n")
    assert "200 OK" in head
    assert "Content-Type: text/event-stream; charset=utf-8" in head
    assert "X-Accel-Buffering: no" in head
    assert "Content-Length" not in head
    assert body.startswith("retry: 2000\n\n")
    assert received(wire) == [
        {
            "id": 2,
            "at": "1970-01-01T00:00:00.000Z",
            "event": "leg.joined",
            "call_id": str(CALL),
            "extension": 1,
            "number": "1000",
        }
    ]


def test_a_client_that_comes_back_misses_nothing(web: AdminClient) -> None:
    publish(web, "call.started", "leg.joined", "leg.left", "call.ended")
    assert names(follow(web, "?after=2")) == ["leg.left", "call.ended"]
    assert names(follow(web, "?after=1", header="3")) == ["call.ended"]
    assert names(follow(web, "?after=4")) == []
    assert names(follow(web, "?after=0")) == ["call.started", "leg.joined", "leg.left", "call.ended"]


def test_an_id_that_is_not_kept_gets_a_snapshot(web: AdminClient) -> None:
    publish(web, *["leg.digit"] * 1_200)
    assert len(received(follow(web, "?after=200"))) == 1_000
    for too_old in ("?after=199", "?after=1300", "?after=9999999999999999"):
        wire = follow(web, too_old)
        assert received(wire) == [{"id": web.feed.last_id, "event": "snapshot", "missed": None}]
        publish(web, "call.ended")
        assert names(wire)[-1] == "call.ended"


def test_ids_go_on_after_a_restart() -> None:
    first = EventFeed(lambda: 1_000.0)
    for _ in range(500):
        first.publish({"event": "leg.digit"})
    assert EventFeed(lambda: 1_001.0).last_id > first.last_id


def test_a_client_gets_what_it_asks_for(web: AdminClient) -> None:
    calls, refused, one, seven = (
        follow(web, query)
        for query in ("?event=call", "?event=leg.refused,call.ended", f"?call_id={CALL}", "?extension=7")
    )
    publish(web, "call.started", "leg.joined", call_id=str(CALL), extension=7)
    publish(web, "leg.refused", "call.ended", call_id="another", extension=8)
    publish(web, "database.changed")
    assert names(calls) == ["call.started", "call.ended"]
    assert names(refused) == ["leg.refused", "call.ended"]
    assert names(one) == names(seven) == ["call.started", "leg.joined"]


def test_a_slow_client_costs_itself_only(web: AdminClient) -> None:
    slow, fast = follow(web), follow(web)
    slow.channel.pauseProducing()
    size = len(slow.transport.value())
    publish(web, *["leg.digit"] * 500)
    web.clock.advance(KEEP_ALIVE_SECONDS)
    assert len(slow.transport.value()) == size
    slow.channel.resumeProducing()
    assert received(slow) == [{"id": 500, "event": "snapshot", "missed": 500}]
    assert len(received(fast)) == 500
    publish(web, "call.ended")
    assert names(slow) == ["snapshot", "call.ended"]


def test_a_client_that_never_reads_is_cut_off(web: AdminClient) -> None:
    wire = follow(web)
    wire.channel.pauseProducing()
    web.clock.advance(MAX_PAUSED_SECONDS - 0.1)
    assert not wire.transport.disconnected
    web.clock.advance(0.2)
    assert wire.transport.disconnected


def test_silence_is_kept_alive(web: AdminClient) -> None:
    wire = follow(web)
    for _ in range(4):
        web.clock.advance(KEEP_ALIVE_SECONDS)
    assert wire.transport.value().decode().count("\n: \n") == 1 + 4


def test_streams_are_counted_and_forgotten(web: AdminClient) -> None:
    others = len(web.feed._followers)
    wires = [follow(web) for _ in range(MAX_STREAMS)]
    answer = web.request("GET", "/api/events")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    wires[0].close()
    assert b"200 OK" in follow(web).transport.value()
    for wire in wires[1:]:
        wire.close()
    publish(web, "call.ended")
    assert web.request("HEAD", "/api/events").status == 200
    assert len(web.feed._followers) == others + 1


@pytest.mark.parametrize(
    ("query", "status"),
    [("?after=x", 400), ("?after=-1", 400), ("?extension=a", 400), ("?call_id=5", 400), ("?afer=1", 422)],
)
def test_a_wrong_query_is_refused(web: AdminClient, query: str, status: int) -> None:
    assert web.request("GET", f"/api/events{query}").status == status


def test_changes_by_the_api_are_events(web: AdminClient) -> None:
    web = AdminClient(tokens=[ApiToken.of("secret", "ana", "operate")])
    body = {"call_id": str(CALL), "reason": "test"}
    web.request("POST", "/api/hangup", body, peer="10.0.0.7", Authorization="Bearer secret")
    (entry,) = web.feed.latest()
    assert {**entry.record, "at": None} == {
        "id": 1,
        "at": None,
        "event": "api.changed",
        "method": "POST",
        "path": "/api/hangup",
        "by": "ana",
        "peer": "10.0.0.7",
        "code": 200,
        "remark": f"call {CALL} visitor: test",
    }


TOKENS = [ApiToken.of("text-of-ana", "ana", "read"), ApiToken.of("text-of-root", "root", "admin")]


def follow_as(web: AdminClient, header: str) -> FakeConnection:
    return web.connect().send(f"GET /api/events HTTP/1.0\r\nHost: localhost\r\n{header}\r\n\r\n".encode())


def test_a_stream_ends_when_its_cookie_expires() -> None:
    web = AdminClient(tokens=TOKENS)
    answer = web.request("POST", "/session", Authorization="Bearer text-of-ana")
    cookie = str(answer.headers["Set-Cookie"]).partition(";")[0]
    busy, idle = (follow_as(web, f"Cookie: {cookie}") for _ in range(2))
    web.now += SESSION_SECONDS - 1
    publish(web, "call.started")
    web.now += 1
    publish(web, "call.ended")
    assert names(busy) == names(idle) == ["call.started"]
    assert busy.transport.finished
    assert follow_as(web, f"Cookie: {cookie}").transport.value().startswith(b"HTTP/1.0 401")


def test_a_stream_ends_with_its_token_and_no_other_does() -> None:
    web = AdminClient(tokens=TOKENS)
    ana, root, slow = (follow_as(web, f"Authorization: Bearer text-of-{name}") for name in ("ana", "root", "ana"))
    slow.channel.pauseProducing()
    web.tokens.replace(TOKENS[1:])
    web.clock.advance(KEEP_ALIVE_SECONDS)
    publish(web, "call.ended")
    assert ana.transport.finished
    assert slow.transport.disconnected
    assert (names(ana), names(root)) == ([], ["call.ended"])
    assert not root.transport.finished


def test_a_token_with_less_scope_is_another_token() -> None:
    web = AdminClient(tokens=TOKENS)
    wire = follow_as(web, "Authorization: Bearer text-of-root")
    web.tokens.replace([TOKENS[0], ApiToken.of("text-of-root", "root", "read")])
    publish(web, "call.ended")
    assert (names(wire), wire.transport.finished) == ([], True)
