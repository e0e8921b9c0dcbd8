"""What Prometheus scrapes: its own parser reads it, names and labels are bounded, totals never fall."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from admin.metrics import MAX_EXTENSIONS, MAX_OUTCOMES, PIECE_LINES, CallCounts, metrics_in_pieces, metrics_text
from audiosocket.json_shapes import StatusJSON, WorkerStatusJSON
from audiosocket.runtime.event_feed import FeedEntry
from audiosocket.workers.kept_totals import KeptTotals
from tests.support.admin_client import CALL, HEALTHY, AdminClient, request_bytes
from tests.support.documented_figures import documented

TRAFFIC = {
    "frames_in": {"audio": 500, "digit": 2, "ignored": 1},
    "frames_out": {"audio": 400, "silence": 100},
    "frames_late": 3,
    "frames_dropped": {"waiting": 5, "stalled": 6, "blocked": 7},
    "protocol_errors": {"handshake": 8, "flood": 0},
    "one_way": 9,
}
HISTOGRAM = {"count": 3, "sum_ms": 250.0, "max_ms": 200.0, "buckets": {"100": 2, "inf": 1}}
STATUS: dict[str, Any] = {
    **HEALTHY,
    "extensions": [
        {"id": 1, "ramal_ia": "1000", "state": "listening", "live_calls": 2},
        {"id": 2, "ramal_ia": 'a "quoted"\\\nname', "state": "degraded", "live_calls": 0},
    ],
    "draining": [],
    "last_success_age_seconds": 10.0,
    "version": "0.1.0",
    "uptime_seconds": 61.5,
    "suspended_calls": 1,
    "calls_total": 12,
    "refused_total": 3,
    "late_turns_total": 4,
    "rejected_total": {"peer": 5, "handshake": 6, "crowded": 7},
    "latencies": {"bot_connect_ms": HISTOGRAM},
    "traffic": TRAFFIC,
    "timings": {"jitter": HISTOGRAM, "reactor_lag": HISTOGRAM},
    "legs_by_extension": {"visitor": {"1": 2}, "resident": {"1": 1}},
    "events_webhook": {"state": "failing", "reason": "", "waiting": 1, "sent_total": 11, "dropped_total": 12},
    "database": {
        "configured": True,
        "state": "up",
        "reason": "",
        "since_seconds": 5.0,
        "reconnects": 3,
        "queries": HISTOGRAM,
    },
    "configuration": {"source": "database", "age_seconds": 1.0, "file_trouble": "", "generation": 17},
    "workers": [{"index": 0, "state": "up", "restarts": 0}, {"index": 1, "state": "down", "restarts": 2}],
}


FLEET: dict[str, Any] = {
    "fleet": {
        "node": "n1",
        "name_shared": True,
        "nodes": {"ready": 2, "gone": 1},
        "database": {"state": "up", "waiting": 5, "dropped_total": 10, "refused_total": 4},
    },
    "fleet_calls": {"waiting": 2, "dropped_total": 3, "adopted_total": 8, "lost_total": 9},
}


def scrape(
    calls: CallCounts | None = None, **changes: Any
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the samples by name and labels."""
    text = metrics_text(cast("StatusJSON", {**STATUS, **changes}), calls or CallCounts(), 1_000.0)
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation and family.type in ("gauge", "counter", "histogram") for family in families)
    samples = [sample for family in families for sample in family.samples]
    found = {(each.name, tuple(sorted(each.labels.items()))): each.value for each in samples}
    assert len(found) == len(samples)
    return found


def test_the_parser_of_prometheus_reads_it() -> None:
    found = scrape()
    assert found["audiosocket_calls", (("extension", "1000"), ("leg", "visitor"))] == 2
    assert found["audiosocket_calls", (("extension", "1000"), ("leg", "resident"))] == 1
    assert found["audiosocket_calls", (("extension", 'a "quoted"\\\nname'), ("leg", "visitor"))] == 0
    assert found["audiosocket_listener_port_mismatch", (("extension", 'a "quoted"\\\nname'),)] == 1
    assert found["audiosocket_listeners", (("state", "degraded"),)] == 1
    assert found["audiosocket_calls_started_total", ()] == 12
    assert found["audiosocket_connections_refused_total", (("reason", "call"),)] == 3
    assert found["audiosocket_connections_refused_total", (("reason", "crowded"),)] == 7
    assert found["audiosocket_config_last_reload_success_timestamp_seconds", ()] == 990
    assert found["audiosocket_db_up", ()] == 1
    assert found["audiosocket_worker_up", (("worker", "1"),)] == 0
    assert found["audiosocket_bot_latency_seconds_bucket", (("le", "0.1"), ("operation", "connect"))] == 2
    assert found["audiosocket_bot_latency_seconds_bucket", (("le", "+Inf"), ("operation", "connect"))] == 3
    assert found["audiosocket_bot_latency_seconds_sum", (("operation", "connect"),)] == 0.25


@pytest.mark.parametrize(("result", "good"), [("applied", 1), ("unchanged", 1), ("failed", 0), ("held_back", 0)])
def test_a_failed_refresh_shows(result: str, good: int) -> None:
    found = scrape(last_refresh={"result": result, "rejected": 2})
    assert found["audiosocket_config_last_reload_successful", ()] == good
    assert found["audiosocket_config_rows_rejected", ()] == 2


def test_audio_and_peers_are_counted() -> None:
    found = scrape()
    assert found["audiosocket_frames_total", (("direction", "in"), ("kind", "audio"))] == 500
    assert found["audiosocket_frames_total", (("direction", "out"), ("kind", "silence"))] == 100
    assert found["audiosocket_frames_late_total", (("direction", "in"),)] == 3
    assert found["audiosocket_frames_late_total", (("direction", "out"),)] == 4
    assert found["audiosocket_frames_dropped_total", (("reason", "stalled"),)] == 6
    assert found["audiosocket_protocol_errors_total", (("type", "handshake"),)] == 8
    assert found["audiosocket_one_way_calls_total", ()] == 9
    assert found["audiosocket_frame_jitter_seconds_count", ()] == 3
    assert found["audiosocket_reactor_lag_seconds_bucket", (("le", "0.1"),)] == 2
    assert found["audiosocket_config_generation", ()] == 17
    assert found["audiosocket_open_fds", ()] == 30
    assert found["audiosocket_max_fds", ()] == 1000
    assert found["audiosocket_db_reconnects_total", ()] == 3
    assert found["audiosocket_db_query_duration_seconds_sum", ()] == 0.25
    assert found["audiosocket_events_webhook_dropped_total", ()] == 12


def test_nothing_measured_is_an_empty_histogram() -> None:
    found = scrape(timings={}, database={**STATUS["database"], "queries": None}, events_webhook={"state": "off"})
    for name in ("frame_jitter", "reactor_lag", "db_query_duration"):
        assert found[f"audiosocket_{name}_seconds_count", ()] == 0
    assert ("audiosocket_events_webhook_up", ()) not in found


def test_without_a_database_there_are_no_figures_of_it() -> None:
    names = {name for name, _ in scrape(database={"configured": False, "state": "off", "reason": ""})}
    assert not [name for name in names if name.startswith("audiosocket_db")]


def test_a_node_of_a_fleet_shows_the_nodes_and_what_waits_for_the_table() -> None:
    found = scrape(**FLEET)
    assert {name: value for name, value in found.items() if name[0].startswith("audiosocket_fleet")} == {
        ("audiosocket_fleet_db_up", ()): 1,
        ("audiosocket_fleet_nodes", (("state", "ready"),)): 2,
        ("audiosocket_fleet_nodes", (("state", "gone"),)): 1,
        ("audiosocket_fleet_name_shared", ()): 1,
        ("audiosocket_fleet_rows_waiting", (("queue", "rows"),)): 5,
        ("audiosocket_fleet_rows_waiting", (("queue", "calls"),)): 2,
        ("audiosocket_fleet_rows_dropped_total", (("queue", "rows"),)): 10,
        ("audiosocket_fleet_rows_dropped_total", (("queue", "calls"),)): 3,
        ("audiosocket_fleet_rows_refused_total", ()): 4,
        ("audiosocket_fleet_calls_adopted_total", ()): 8,
        ("audiosocket_fleet_calls_lost_total", ()): 9,
    }
    assert not [name for name, _ in scrape() if name.startswith("audiosocket_fleet")]


def left(number: str, outcome: str, role: str = "visitor") -> FeedEntry:
    return FeedEntry(1, {"event": "leg.left", "number": number, "role": role, "outcome": outcome})


def test_ended_legs_are_counted_by_extension_role_and_reason() -> None:
    calls = CallCounts()
    for each in (left("1000", "caller_hangup"), left("1000", "shutdown"), left("1000", "lost", "resident")):
        calls.count(each)
    found = scrape(calls)
    name, extension = "audiosocket_calls_ended_total", ("extension", "1000")
    assert found[name, (extension, ("leg", "visitor"), ("reason", "caller_hangup"))] == 1
    assert found[name, (extension, ("leg", "visitor"), ("reason", "drain"))] == 1
    assert found[name, (extension, ("leg", "resident"), ("reason", "timeout"))] == 1


def test_extensions_that_come_and_go_are_bounded() -> None:
    calls = CallCounts()
    for number in range(MAX_EXTENSIONS + 300):
        calls.count(left(str(number), "caller_hangup"))
    assert len(calls.legs) == MAX_EXTENSIONS + 1
    assert calls.legs["other", "visitor", "caller_hangup"] == 300


def test_the_text_is_made_in_small_pieces() -> None:
    many = [{"id": n, "ramal_ia": str(n), "state": "listening", "live_calls": 0} for n in range(1_000)]
    pieces = list(metrics_in_pieces(cast("StatusJSON", {**STATUS, "extensions": many}), CallCounts(), 1_000.0))
    assert max(piece.count("\n") for piece in pieces) <= PIECE_LINES
    assert "".join(pieces).count("audiosocket_calls{") == 2_000


def ended(outcome: str, seconds: float) -> FeedEntry:
    return FeedEntry(1, {"event": "call.ended", "outcome": outcome, "duration_seconds": seconds}, 0.0)


def test_ended_calls_are_counted_by_outcome_and_duration() -> None:
    calls = CallCounts()
    for each in (
        ended("caller_hangup", 7.5),
        ended("caller_hangup", 70),
        FeedEntry(2, {"event": "leg.left"}, 0.0),
    ):
        calls.count(each)
    found = scrape(calls)
    assert found["audiosocket_call_outcomes_total", (("outcome", "caller_hangup"),)] == 2
    assert found["audiosocket_call_duration_seconds_bucket", (("le", "10"),)] == 1
    assert found["audiosocket_call_duration_seconds_count", ()] == 2
    assert found["audiosocket_call_duration_seconds_sum", ()] == 77.5


def test_outcomes_that_apps_make_up_are_bounded() -> None:
    calls = CallCounts()
    for number in range(500):
        calls.count(ended(f"made up {number}", 1))
    assert len(calls.outcomes) == MAX_OUTCOMES + 1
    assert calls.outcomes["other"] == 500 - MAX_OUTCOMES


def test_the_route_has_the_type_that_prometheus_wants_and_needs_the_token() -> None:
    web = AdminClient()
    web.control.status = lambda: STATUS  # type: ignore[method-assign,assignment,return-value]
    web.feed.publish({"event": "call.ended", "outcome": "shutdown", "duration_seconds": 1.0, "call_id": str(CALL)})
    wire = web.connect().send(request_bytes("GET", "/metrics"))
    assert wire.responses() == []
    web.clock.pump([0] * 4)
    (answer,) = wire.responses()
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'audiosocket_call_outcomes_total{outcome="shutdown"} 1' in answer.body
    assert str(CALL).encode() not in answer.body
    assert AdminClient(token="secret").request("GET", "/metrics").status == 401


FLEET_CALLS = ("waiting", "written_total", "dropped_total", "adopted_total", "lost_total", "unanswered_total")


def answer(pid: int, calls: int, fleet_calls: int | None = None) -> WorkerStatusJSON:
    counted = {
        "pid": pid,
        "calls_total": calls,
        "refused_total": 1,
        "late_turns_total": 2,
        "limits_reached_total": {"calls": calls},
        "rejected_total": {"peer": calls},
        "latencies": {"bot_connect_ms": HISTOGRAM},
        "timings": {"jitter": HISTOGRAM},
        "traffic": {**TRAFFIC, "one_way": calls},
        "fleet_calls": None if fleet_calls is None else {name: fleet_calls for name in FLEET_CALLS},
    }
    return cast("WorkerStatusJSON", counted)


def test_totals_do_not_fall_when_a_worker_is_replaced_or_silent() -> None:
    kept = KeptTotals()
    assert kept.update([answer(1, 10), answer(2, 20)], [1, 2]).calls == 30
    assert kept.update([answer(1, 11)], [1, 2]).calls == 31
    assert kept.update([answer(1, 11)], [1, None]).calls == 31
    totals = kept.update([answer(1, 11), answer(3, 1)], [1, 3])
    assert (totals.calls, totals.refused, totals.rejected["peer"]) == (32, 3, 32)
    assert totals.limits == {"calls": 32}
    assert totals.latencies["bot_connect_ms"]["count"] == totals.timings["jitter"]["count"] == 9
    assert totals.traffic["one_way"] == 32
    assert totals.traffic["frames_in"] == {"audio": 1_500, "digit": 6, "ignored": 3}
    assert kept.update([answer(1, 11), answer(3, 1)], [1, 3]).calls == 32


def test_calls_of_a_fleet_are_counted_over_all_workers_and_only_those_that_run_have_any_waiting() -> None:
    kept = KeptTotals()
    assert kept.update([answer(1, 1), answer(2, 1)], [1, 2]).fleet_calls is None
    kept.update([answer(1, 1, 10), answer(2, 1, 20)], [1, 2])
    totals = kept.update([answer(1, 1, 11), answer(3, 1, 1)], [1, 3])
    assert totals.fleet_calls == {**dict.fromkeys(FLEET_CALLS, 32), "waiting": 12}


ALERTS = Path(__file__).parents[2] / "examples" / "prometheus" / "alerts.yml"


def test_the_page_names_exactly_the_figures() -> None:
    counts = CallCounts()
    for each in (ended("caller_hangup", 7.5), left("1000", "lost")):
        counts.count(each)
    assert {name for name, _ in scrape(counts, **FLEET)} == documented()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_accepts_the_alerts_and_a_scrape() -> None:
    subprocess.run(["promtool", "check", "rules", str(ALERTS)], check=True, capture_output=True)
    text = metrics_text(cast("StatusJSON", STATUS), CallCounts(), 1_000.0)
    subprocess.run(["promtool", "check", "metrics"], input=text.encode(), check=True, capture_output=True)
