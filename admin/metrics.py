"""The server's figures in Prometheus' text format.

Labels are extension numbers, states and reasons, of which there are few; never UUIDs or numbers of residents.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from audiosocket.json_shapes import HistogramJSON, StatusJSON
from audiosocket.runtime.event_feed import FeedEntry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Upper bounds of the durations of calls, in seconds; the last bucket has none.
DURATION_BOUNDS = (5, 10, 20, 30, 60, 120, 300, 600, 1_800)
#: Different outcomes that are counted; further ones, which apps may make up, are counted as "other".
MAX_OUTCOMES = 40

Labels = Mapping[str, object]
Sample = tuple[Labels, float]


class CallCounts:
    """Ended calls by outcome and duration, counted from the events of all processes; they never fall."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.durations = [0] * (len(DURATION_BOUNDS) + 1)
        self.duration_sum = 0.0

    def count(self, entry: FeedEntry) -> None:
        """Count an event; only ends of calls matter."""
        fields = entry.fields
        if fields["event"] != "call.ended":
            return
        outcome, seconds = str(fields.get("outcome")), float(fields.get("duration_seconds", 0.0))
        known = outcome in self.outcomes or len(self.outcomes) < MAX_OUTCOMES
        self.outcomes[outcome if known else "other"] += 1
        self.durations[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.duration_sum += seconds


def metrics_text(status: StatusJSON, calls: CallCounts, now: float) -> str:
    """Return the text of a scrape at ``now``, the time of day in seconds."""
    return "".join(metrics_in_pieces(status, calls, now))


def metrics_in_pieces(status: StatusJSON, calls: CallCounts, now: float) -> Iterator[str]:
    """Make the text piece by piece, each within 3 ms for 1,000 extensions, for the reactor to turn in between."""
    for lines in (
        _of_calls(status, calls),
        _of_extensions(status),
        _of_configuration(status, now),
        _of_process(status),
    ):
        yield "\n".join([*lines, ""])


def _of_calls(status: StatusJSON, calls: CallCounts) -> Iterator[str]:
    live = [({"extension": each["ramal_ia"]}, each["live_calls"]) for each in status["extensions"]]
    yield from _metric("calls", "gauge", "Live calls.", live)
    yield from _single("suspended_calls", "gauge", "Calls that may resume.", status["suspended_calls"])
    yield from _single("calls_started_total", "counter", "Calls since the start.", status["calls_total"])
    ended = [({"outcome": outcome}, number) for outcome, number in calls.outcomes.items()]
    yield from _metric("calls_ended_total", "counter", "Ended calls by outcome.", ended)
    yield from _head("call_duration_seconds", "histogram", "Durations of ended calls.")
    buckets = zip([*DURATION_BOUNDS, "+Inf"], calls.durations, strict=True)
    yield from _histogram_lines("call_duration_seconds", {}, list(buckets), calls.duration_sum)
    late = "Turns of the audio clock over 20 ms late."
    yield from _single("frames_late_total", "counter", late, status["late_turns_total"])
    files = status["open_files"]
    yield from _single("open_files", "gauge", "Open file descriptors.", files["used"])
    yield from _single("open_files_limit", "gauge", "The limit of open file descriptors.", files["limit"])
    numbers = {**status["rejected_total"], "call": status["refused_total"]}
    refused = [({"reason": reason}, number) for reason, number in numbers.items()]
    explanation = "Refused connections, and legs refused by a call."
    yield from _metric("connections_refused_total", "counter", explanation, refused)
    if status["latencies"]:
        yield from _head("bot_latency_seconds", "histogram", "Latencies of bots by operation.")
        for name, one in status["latencies"].items():
            yield from _latency(name, one)


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
    refresh, database, age = status["last_refresh"], status["database"], status["last_success_age_seconds"]
    well = refresh is None or refresh["result"] in ("applied", "unchanged", "previewed")
    explanation = "1 if the table was used at the last refresh."
    yield from _single("config_last_reload_successful", "gauge", explanation, well)
    if age is not None:
        name = "config_last_reload_success_timestamp_seconds"
        yield from _single(name, "gauge", "When the table was used last.", round(now - age, 1))
    used = status["configuration"]["source"]
    sources = [({"source": each}, each == used) for each in ("database", "file", "default")]
    yield from _metric("config_source", "gauge", "1 for where the extensions come from.", sources)
    rejected = 0 if refresh is None else refresh["rejected"]
    yield from _single("config_rows_rejected", "gauge", "Rows that are not used.", rejected)
    if database["configured"]:
        yield from _single("db_up", "gauge", "1 while PostgreSQL is connected.", database["state"] == "up")


def _of_process(status: StatusJSON) -> Iterator[str]:
    yield from _metric("build_info", "gauge", "Version of the server.", [({"version": status["version"]}, 1)])
    yield from _single("uptime_seconds", "gauge", "Seconds since the start.", status["uptime_seconds"])
    lag = round(status["reactor"]["lag_ms_worst_10s"] / 1000, 4)
    yield from _single("reactor_lag_worst_seconds", "gauge", "How late it was within the last 10 s.", lag)
    backend = status["return_backend"]
    up = [({"kind": backend["kind"]}, backend["state"] == "up")]
    yield from _metric("return_backend_up", "gauge", "1 while return calls can be placed.", up)
    workers: Any = status.get("workers", ())
    if workers:
        up = [({"worker": each["index"]}, each["state"] == "up") for each in workers]
        yield from _metric("worker_up", "gauge", "1 while a worker takes calls.", up)
        restarts = [({"worker": each["index"]}, each["restarts"]) for each in workers]
        yield from _metric("worker_restarts_total", "counter", "Times a worker was replaced.", restarts)


def _single(name: str, kind: str, explanation: str, value: float) -> list[str]:
    return [*_head(name, kind, explanation), _line(name, {}, value)]


def _latency(name: str, one: HistogramJSON) -> list[str]:
    buckets = [
        ("+Inf" if bound == "inf" else f"{int(bound) / 1000:g}", number)
        for bound, number in one["buckets"].items()
    ]
    return _histogram_lines("bot_latency_seconds", {"operation": name}, buckets, one["sum_ms"] / 1000)


def _histogram_lines(name: str, labels: Labels, buckets: Iterable[tuple[object, int]], total: float) -> list[str]:
    lines, count = list[str](), 0
    for bound, number in buckets:
        count += number
        lines.append(_line(f"{name}_bucket", {**labels, "le": bound}, count))
    return [*lines, _line(f"{name}_sum", labels, round(total, 4)), _line(f"{name}_count", labels, count)]


def _metric(name: str, kind: str, explanation: str, samples: Iterable[Sample]) -> list[str]:
    return [*_head(name, kind, explanation), *(_line(name, labels, value) for labels, value in samples)]


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
