"""The server's figures in Prometheus' text format.

Labels are extension numbers, states and reasons, of which there are few; never UUIDs or numbers of residents. The
text is made in pieces, as the reactor must not be held for more than 5 ms.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain, islice
from typing import Any

from audiosocket.json_shapes import EventsWebhookJSON, HistogramJSON, StatusJSON
from audiosocket.runtime.event_feed import FeedEntry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Upper bounds of the durations of calls, in seconds; the last bucket has none.
DURATION_BOUNDS = (5, 10, 20, 30, 60, 120, 300, 600, 1_800)
#: Different outcomes that are counted; further ones, which apps may make up, are counted as "other".
MAX_OUTCOMES = 40
#: Extensions whose ended legs are counted one by one; rows may come and go for years.
MAX_EXTENSIONS = 5_000
#: Outcomes of legs to the reason that is shown; another one is shown as it is.
REASONS = {
    "admin_hangup": "admin",
    "slow_reader": "timeout",
    "lost": "timeout",
    "too_long": "timeout",
    "idle": "timeout",
    "peer_error": "protocol_error",
    "connection_lost": "reset",
    "shutdown": "drain",
}
#: The events that are counted.
COUNTED = frozenset({"leg.left", "call.ended"})
#: Lines of one piece: about 1 ms.
PIECE_LINES = 400

Labels = Mapping[str, object]
Sample = tuple[Labels, float]


class CallCounts:
    """Ended legs and calls, counted from the events of all processes; they never fall."""

    def __init__(self) -> None:
        #: Ended legs by extension, role and reason.
        self.legs: Counter[tuple[str, str, str]] = Counter()
        self._extensions: set[str] = set()
        self.outcomes: Counter[str] = Counter()
        self.durations = [0] * (len(DURATION_BOUNDS) + 1)
        self.duration_sum = 0.0

    def count(self, entry: FeedEntry) -> None:
        """Count an event; only ends of legs and calls matter."""
        record = entry.fields
        if record["event"] == "leg.left":
            self._count_leg(str(record.get("number")), str(record.get("role")), str(record.get("outcome")))
        if record["event"] != "call.ended":
            return
        outcome, seconds = str(record.get("outcome")), float(record.get("duration_seconds", 0.0))
        known = outcome in self.outcomes or len(self.outcomes) < MAX_OUTCOMES
        self.outcomes[outcome if known else "other"] += 1
        self.durations[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.duration_sum += seconds

    def _count_leg(self, number: str, role: str, outcome: str) -> None:
        if len(self._extensions) < MAX_EXTENSIONS:
            self._extensions.add(number)
        extension = number if number in self._extensions else "other"
        self.legs[extension, role, REASONS.get(outcome, outcome)] += 1


def metrics_text(status: StatusJSON, calls: CallCounts, now: float) -> str:
    """Return the text of a scrape at ``now``, the time of day in seconds."""
    return "".join(metrics_in_pieces(status, calls, now))


def metrics_in_pieces(status: StatusJSON, calls: CallCounts, now: float) -> Iterator[str]:
    """Make the text piece by piece, for the reactor to turn in between."""
    lines = chain(
        _of_calls(status, calls),
        _of_audio(status),
        _of_extensions(status),
        _of_configuration(status, now),
        _of_database(status),
        _of_fleet(status),
        _of_process(status),
    )
    while piece := list(islice(lines, PIECE_LINES)):
        yield "\n".join([*piece, ""])


def _of_calls(status: StatusJSON, calls: CallCounts) -> Iterator[str]:
    legs = status["legs_by_extension"]
    live = (
        ({"extension": each["ramal_ia"], "leg": role}, legs[role].get(str(each["id"]), 0))
        for each in status["extensions"]
        for role in ("visitor", "resident")
    )
    yield from _metric("calls", "gauge", "Live legs of calls.", live)
    yield from _single("suspended_calls", "gauge", "Calls that may resume.", status["suspended_calls"])
    yield from _single("calls_started_total", "counter", "Calls since the start.", status["calls_total"])
    ended = (
        ({"extension": extension, "leg": role, "reason": reason}, number)
        for (extension, role, reason), number in list(calls.legs.items())
    )
    yield from _metric("calls_ended_total", "counter", "Ended legs of calls.", ended)
    outcomes = [({"outcome": outcome}, number) for outcome, number in calls.outcomes.items()]
    yield from _metric("call_outcomes_total", "counter", "Ended calls by outcome.", outcomes)
    yield from _head("call_duration_seconds", "histogram", "Durations of ended calls.")
    buckets = zip([*DURATION_BOUNDS, "+Inf"], calls.durations, strict=True)
    yield from _histogram_lines("call_duration_seconds", {}, list(buckets), calls.duration_sum)
    numbers = {**status["rejected_total"], "call": status["refused_total"]}
    refused = [({"reason": reason}, number) for reason, number in numbers.items()]
    explanation = "Refused connections, and legs refused by a call."
    yield from _metric("connections_refused_total", "counter", explanation, refused)
    reached = [({"limit": limit}, number) for limit, number in status["limits_reached_total"].items()]
    yield from _metric("limits_reached_total", "counter", "Connections and calls beyond a limit.", reached)
    if status["latencies"]:
        yield from _head("bot_latency_seconds", "histogram", "Latencies of bots by operation.")
        for name, one in status["latencies"].items():
            operation = name.removeprefix("bot_").removesuffix("_ms")
            yield from _durations("bot_latency_seconds", {"operation": operation}, one)


def _of_audio(status: StatusJSON) -> Iterator[str]:
    traffic = status["traffic"]
    frames = [
        ({"direction": direction, "kind": kind}, number)
        for direction, numbers in (("in", traffic["frames_in"]), ("out", traffic["frames_out"]))
        for kind, number in numbers.items()
    ]
    yield from _metric("frames_total", "counter", "Frames from and to Asterisk.", frames)
    explanation = "Frames that came over 20 ms late, and turns of the audio clock over 20 ms late."
    late: list[Sample] = [
        ({"direction": "in"}, traffic["frames_late"]),
        ({"direction": "out"}, status["late_turns_total"]),
    ]
    yield from _metric("frames_late_total", "counter", explanation, late)
    for name, explanation, label, numbers in (
        ("frames_dropped_total", "Frames that were not sent.", "reason", traffic["frames_dropped"]),
        ("protocol_errors_total", "Errors of peers.", "type", traffic["protocol_errors"]),
    ):
        yield from _metric(name, "counter", explanation, [({label: key}, each) for key, each in numbers.items()])
    one_way = "Ended legs of 2 s or more with audio in one direction only."
    yield from _single("one_way_calls_total", "counter", one_way, traffic["one_way"])
    jitter = "How unevenly frames arrive, measured at one of 16."
    yield from _histogram("frame_jitter_seconds", jitter, status["timings"].get("jitter"))


def _of_extensions(status: StatusJSON) -> Iterator[str]:
    extensions = status["extensions"]
    states = Counter(each["state"] for each in extensions)
    of_states = [({"state": state}, states[state]) for state in ("listening", "degraded", "failed")]
    yield from _metric("listeners", "gauge", "Extensions by the state of their listeners.", of_states)
    mismatch = [({"extension": each["ramal_ia"]}, each["state"] != "listening") for each in extensions]
    yield from _metric("listener_port_mismatch", "gauge", "1 if not all ports are the configured ones.", mismatch)
    explanation = "Closed ports whose connections go on."
    yield from _single("draining_ports", "gauge", explanation, len(status["draining"]))


def _of_configuration(status: StatusJSON, now: float) -> Iterator[str]:
    refresh, age = status["last_refresh"], status["last_success_age_seconds"]
    well = refresh is None or refresh["result"] in ("applied", "unchanged", "previewed")
    explanation = "1 if the table was used at the last refresh."
    yield from _single("config_last_reload_successful", "gauge", explanation, well)
    if age is not None:
        name = "config_last_reload_success_timestamp_seconds"
        yield from _single(name, "gauge", "When the table was used last.", round(now - age, 1))
    explanation = "Grows with each change of the extensions that run or of their ports."
    yield from _single("config_generation", "gauge", explanation, status["configuration"]["generation"])
    used = status["configuration"]["source"]
    sources = [({"source": each}, each == used) for each in ("database", "file", "default")]
    yield from _metric("config_source", "gauge", "1 for where the extensions come from.", sources)
    rejected = 0 if refresh is None else refresh["rejected"]
    yield from _single("config_rows_rejected", "gauge", "Rows that are not used.", rejected)


def _of_database(status: StatusJSON) -> Iterator[str]:
    database = status["database"]
    if not database["configured"]:
        return
    yield from _single("db_up", "gauge", "1 while PostgreSQL is connected.", database["state"] == "up")
    explanation = "Times the connection was opened again."
    yield from _single("db_reconnects_total", "counter", explanation, database.get("reconnects", 0))
    explanation = "Durations of statements."
    yield from _histogram("db_query_duration_seconds", explanation, database.get("queries"))


def _of_fleet(status: StatusJSON) -> Iterator[str]:
    fleet, calls = status["fleet"], status["fleet_calls"]
    database = fleet["database"]
    if database is None:
        return
    up = database["state"] == "up"
    yield from _single("fleet_db_up", "gauge", "1 while the database of the fleet is connected.", up)
    nodes = [({"state": state}, number) for state, number in fleet["nodes"].items()]
    yield from _metric("fleet_nodes", "gauge", "Nodes by state.", nodes)
    yield from _single("fleet_name_shared", "gauge", "1 if another node has the same name.", fleet["name_shared"])
    queues: dict[str, Mapping[str, Any]] = {"rows": database, **({} if calls is None else {"calls": calls})}
    waiting = [({"queue": queue}, each["waiting"]) for queue, each in queues.items()]
    yield from _metric("fleet_rows_waiting", "gauge", "Rows that wait to be written.", waiting)
    dropped = [({"queue": queue}, each["dropped_total"]) for queue, each in queues.items()]
    yield from _metric("fleet_rows_dropped_total", "counter", "Rows that found the queue full.", dropped)
    explanation = "Rows that PostgreSQL has refused."
    yield from _single("fleet_rows_refused_total", "counter", explanation, database["refused_total"])
    if calls is not None:
        explanation = "Calls of other nodes that went on here."
        yield from _single("fleet_calls_adopted_total", "counter", explanation, calls["adopted_total"])
        explanation = "Calls of this node that went on elsewhere."
        yield from _single("fleet_calls_lost_total", "counter", explanation, calls["lost_total"])


def _of_process(status: StatusJSON) -> Iterator[str]:
    yield from _metric("build_info", "gauge", "Version of the server.", [({"version": status["version"]}, 1)])
    yield from _single("uptime_seconds", "gauge", "Seconds since the start.", status["uptime_seconds"])
    explanation = "How late the reactor was, measured 50 times a second in each process."
    yield from _histogram("reactor_lag_seconds", explanation, status["timings"].get("reactor_lag"))
    lag = round(status["reactor"]["lag_ms_worst_10s"] / 1000, 4)
    yield from _single("reactor_lag_worst_seconds", "gauge", "How late it was within the last 10 s.", lag)
    files, least = status["open_files"], "of the process that has the fewest left."
    yield from _single("open_fds", "gauge", f"Open file descriptors {least}", files["used"])
    yield from _single("max_fds", "gauge", f"File descriptors that may be open, {least}", files["limit"])
    yield from _of_webhook(status["events_webhook"])
    backend = status["return_backend"]
    up = [({"kind": backend["kind"]}, backend["state"] == "up")]
    yield from _metric("return_backend_up", "gauge", "1 while return calls can be placed.", up)
    workers: Any = status.get("workers", ())
    if workers:
        up = [({"worker": each["index"]}, each["state"] == "up") for each in workers]
        yield from _metric("worker_up", "gauge", "1 while a worker takes calls.", up)
        restarts = [({"worker": each["index"]}, each["restarts"]) for each in workers]
        yield from _metric("worker_restarts_total", "counter", "Times a worker was replaced.", restarts)


def _of_webhook(webhook: EventsWebhookJSON) -> Iterator[str]:
    if webhook["state"] != "off":
        up = webhook["state"] == "up"
        yield from _single("events_webhook_up", "gauge", "1 while the program takes events.", up)
        sent, dropped = webhook["sent_total"], webhook["dropped_total"]
        yield from _single("events_webhook_sent_total", "counter", "Events that were confirmed.", sent)
        yield from _single("events_webhook_dropped_total", "counter", "Events that were dropped.", dropped)


def _single(name: str, kind: str, explanation: str, value: float) -> list[str]:
    return [*_head(name, kind, explanation), _line(name, {}, value)]


def _histogram(name: str, explanation: str, one: HistogramJSON | None) -> list[str]:
    """Return a histogram without labels; one of which nothing was measured has no buckets but the last."""
    empty: HistogramJSON = {"count": 0, "sum_ms": 0.0, "max_ms": 0.0, "buckets": {"inf": 0}}
    return [*_head(name, "histogram", explanation), *_durations(name, {}, one or empty)]


def _durations(name: str, labels: Labels, one: HistogramJSON) -> list[str]:
    buckets = [
        ("+Inf" if bound == "inf" else f"{int(bound) / 1000:g}", number)
        for bound, number in one["buckets"].items()
    ]
    return _histogram_lines(name, labels, buckets, one["sum_ms"] / 1000)


def _histogram_lines(name: str, labels: Labels, buckets: Iterable[tuple[object, int]], total: float) -> list[str]:
    lines, count = list[str](), 0
    for bound, number in buckets:
        count += number
        lines.append(_line(f"{name}_bucket", {**labels, "le": bound}, count))
    return [*lines, _line(f"{name}_sum", labels, round(total, 4)), _line(f"{name}_count", labels, count)]


def _metric(name: str, kind: str, explanation: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield from _head(name, kind, explanation)
    for labels, value in samples:
        yield _line(name, labels, value)


def _head(name: str, kind: str, explanation: str) -> list[str]:
    return [f"# HELP audiosocket_{name} {explanation}", f"# TYPE audiosocket_{name} {kind}"]


def _line(name: str, labels: Labels, value: float) -> str:
    if not labels:
        return f"audiosocket_{name} {value + 0}"
    return f"audiosocket_{name}{{{','.join([_label(*each) for each in labels.items()])}}} {value + 0}"


@lru_cache(maxsize=8_192)
def _label(name: str, value: object) -> str:
    """Return one label; kept, as a thousand extensions have the same ones in every scrape."""
    text = str(value).replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{name}="{text}"'
