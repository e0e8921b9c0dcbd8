"""The rows of the table: the load of each, its figures and their targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench import scenarios
from bench.api_gap import api_gap
from bench.bots import ROUND_TRIP_CALLS, bots, dying_bots
from bench.load import stalled
from bench.neighbours import FLOODS, neighbours
from bench.scenarios import ECHO, LOOPBACK, PORTEIRO, SPEAK, Bench
from bench.statistics import ASYNCIO, OURS, C, Figure, Sample, Target
from bench.thousand_extensions import thousand_extensions
from bench.visits import visits
from bench.voice import voice_activity
from bench.workers import two_to_one

Measure = Callable[[Bench, str], Sample]


@dataclass(frozen=True)
class Row:
    """One row. ``measure`` measures one server once; it is called in at most ``max_rounds`` rounds."""

    name: str
    title: str
    measure: Measure
    figures: tuple[Figure, ...]
    servers: tuple[str, ...] = (OURS, C, ASYNCIO)
    max_rounds: int = 100


def _flood(calls: int, window: int) -> Measure:
    def measure(bench: Bench, name: str) -> Sample:
        with bench.serving(name, LOOPBACK) as server:
            return bench.load("flood", server, 2, calls=calls, window=window, warm_up=0.5)

    return measure


def _paced(bench: Bench, name: str) -> Sample:
    with bench.serving(name, ECHO) as server:
        return bench.load("echo", server, 5, calls=800)


def _churn(bench: Bench, name: str) -> Sample:
    with bench.serving(name, LOOPBACK) as server:
        return bench.load("churn", server, 2, calls=20, frames=3, warm_up=0.5)


def _memory(settings: dict[str, str]) -> Measure:
    def measure(bench: Bench, name: str) -> Sample:
        with bench.serving(name, settings) as server:
            return bench.load("quiet", server, 0.5, base=1000, calls=4000, ramp=2000)

    return measure


def _speaking(bench: Bench, name: str) -> Sample:
    with bench.serving(name, SPEAK) as server:
        return _off_pace(bench.load("listen", server, 8, calls=200))


def _stall(bench: Bench, name: str) -> Sample:
    with bench.serving(name, SPEAK) as server, stalled(server.pid):
        return _off_pace(bench.load("listen", server, 8, calls=50))


def _off_pace(sample: Sample) -> Sample:
    return {**sample, "off_pace": abs(sample.get("rate", 0) - 50)}


def _max_echoing(bench: Bench, name: str) -> Sample:
    def holds(calls: int) -> bool:
        with bench.serving(name, ECHO) as server:
            return scenarios.echoes_in_time(bench.load("echo", server, 2, calls=calls))

    return scenarios.largest(holds, 800)


def _mix(bench: Bench, name: str) -> Sample:
    def holds(calls: int) -> bool:
        with bench.serving(name, PORTEIRO) as server:
            found = bench.load("listen", server, 2, ports=2, calls=calls)
        return scenarios.speaks_in_time(found)

    return scenarios.largest(holds, 600)


def _bots(dialect: str) -> Measure:
    return lambda bench, name: bots(bench, name, dialect)


def _smaller(key: str, title: str, *targets: Target) -> Figure:
    return Figure(key, title, more=False, targets=targets)


_FRAMES = Figure("frames_per_s", "frames/s", targets=(Target(C, 0.70, 0.85), Target(ASYNCIO, 2.0, 2.6)))
_COST = _smaller("server_us_per_frame", "server's processor time per frame, µs")
_LATE = Target("", 0.1, 0.1)
_BOT_FIGURES = (
    _smaller("server_us_per_frame", _COST.title, Target(ASYNCIO, 0.8, 0.5)),
    _smaller("without_server_us_per_frame", "the same calls with the app echo: processor time per frame, µs"),
    _smaller("percent_per_call", "percent of a processor for a call"),
    Figure("rate_slowest", "rate of the slowest call, frames/s"),
    Figure("without_rate_slowest", "the same calls with the app echo: rate of the slowest call"),
    _smaller("between_p99_ms", "between two frames p99, ms"),
    _smaller("without_between_p99_ms", "the same calls with the app echo: between two frames p99, ms"),
    _smaller("round_trip_p50_ms", f"{ROUND_TRIP_CALLS} calls: round trip through the bot p50, ms"),
    _smaller("round_trip_p99_ms", f"{ROUND_TRIP_CALLS} calls: round trip p99, ms", Target("", 8, 3)),
    _smaller("us_per_frame_100", f"{ROUND_TRIP_CALLS} calls: {_COST.title}", Target(ASYNCIO, 0.8, 0.5)),
)
_OFF_PACE = "distance of the mean rate from 50 frames/s"

ROWS: tuple[Row, ...] = (
    Row("flood", "flood: 200 calls, 1 frame in flight each", _flood(200, 1), (_FRAMES, _COST)),
    Row(
        "burst",
        "burst: 40 calls, 16 frames in flight each",
        _flood(40, 16),
        (Figure("frames_per_s", "frames/s", targets=(Target(C, 0.30, 0.45),)), _COST),
    ),
    Row(
        "paced",
        "paced: 800 calls echoing",
        _paced,
        (
            _smaller("server_us_per_frame", _COST.title, Target(C, 1.7, 1.4)),
            _smaller("round_trip_p50_ms", "round trip p50, ms"),
            _smaller("round_trip_p99_ms", "round trip p99, ms", Target("", 5, 1)),
            _smaller("lost", "frames lost", Target("", 0, 0)),
            _smaller("send_lag_p99_ms", "generator's own lateness p99, ms"),
        ),
    ),
    Row(
        "churn",
        "set-up: 20 at a time, 3 frames each, log and journal on",
        _churn,
        (
            Figure("calls_per_s", "calls/s", targets=(Target(C, 0.20, 0.40),)),
            _smaller("server_us_per_call", "server's processor time per call, µs"),
            _smaller("set_up_p99_ms", "connection to first echo p99, ms"),
        ),
    ),
    Row(
        "memory",
        "memory: from 1,000 to 4,000 quiet calls, 50 frames/s of silence filled in for each",
        _memory(ECHO),
        (_smaller("kb_per_call", "kB per call", Target("", 4, 2)),),
    ),
    Row(
        "bare",
        "memory: the same with the app loopback, which fills nothing in",
        _memory(LOOPBACK),
        (_smaller("kb_per_call", "kB per call", Target("", 4, 2)),),
    ),
    Row(
        "speaking",
        "speaking: 200 calls",
        _speaking,
        (
            _smaller("off_pace", _OFF_PACE, Target("", 0.02, 0.005)),
            Figure("rate_slowest", "rate of the slowest call, frames/s"),
            _smaller("between_p99_ms", "between two frames p99, ms", Target(C, 1.10, 1.02)),
            _smaller("server_us_per_frame", _COST.title, Target(C, 1.7, 1.3)),
        ),
    ),
    Row(
        "stall",
        "speaking: 50 calls, the server stopped for 70 ms in each second",
        _stall,
        (
            _smaller("off_pace", _OFF_PACE, Target("", 0.05, 0.02)),
            Figure("rate_slowest", "rate of the slowest call, frames/s"),
        ),
    ),
    Row(
        "most",
        f"most calls echoing in time on one core, at most {scenarios.CALLS_LIMIT:,}",
        _max_echoing,
        (Figure("carried", "calls, p99 < 20 ms, nothing lost", targets=(Target(ASYNCIO, 1.6, 2.0),)),),
        servers=(OURS, ASYNCIO),
        max_rounds=2,
    ),
    Row(
        "mix",
        f"half speaking, half listening, silence filled in, at most {scenarios.CALLS_LIMIT:,}",
        _mix,
        (Figure("carried", "calls on one core, each at its pace, p99 < 20 ms late"),),
        servers=(OURS,),
        max_rounds=2,
    ),
    Row(
        "extensions",
        "1,000 extensions, 2,000 ports",
        lambda bench, name: thousand_extensions(),
        (
            _smaller("start_s", "start of the process to all listening, s", Target("", 2, 1)),
            _smaller("not_listening", "ports not listening then", Target("", 0, 0)),
            _smaller("change_ms", "a row changed through the API to its port listening, ms", Target("", 50, 10)),
            _smaller("memory_mb", "memory, MB"),
        ),
        servers=(OURS,),
    ),
    Row(
        "workers",
        "two workers on two cores to one on one, a generator on each core",
        lambda bench, name: two_to_one(bench),
        (
            Figure("flood_rate", "flood, frames/s", targets=(Target("", 1.7, 1.9),)),
            Figure("churn_rate", "set-up, calls/s", targets=(Target("", 1.7, 1.9),)),
            _smaller("flood_cost", "flood, processor time per frame"),
            _smaller("churn_cost", "set-up, processor time per call"),
        ),
        servers=(OURS,),
    ),
    Row(
        "visits",
        "200 visits to porteiro at once, all stages in 16 s, with speech; the same calls with the app play",
        lambda bench, name: visits(bench),
        (
            _smaller("late", "turns of the clock more than 20 ms late, of about 300,000"),
            _smaller("late_without", "the same without porteiro"),
            _smaller("cpu", "processors"),
            _smaller("cpu_without", "the same without porteiro"),
            _smaller("kb_per_visit", "kB per visit with both legs, buffers included"),
            _smaller("kb_per_visit_without", "the same without porteiro"),
        ),
        servers=(OURS,),
    ),
    Row(
        "bots",
        "200 calls to a bot that returns what it hears (twilio)",
        _bots("twilio"),
        _BOT_FIGURES,
        servers=(OURS, ASYNCIO),
    ),
    Row("bots_slin", "the same (asterisk_ws)", _bots("asterisk_ws"), _BOT_FIGURES, servers=(OURS, ASYNCIO)),
    Row(
        "bots_dying",
        "1,000 calls, 200 at a time, to a bot that dies at random: what they leave behind",
        lambda bench, name: dying_bots(bench),
        (
            _smaller("live_calls", "live calls", Target("", 0, 0)),
            _smaller("descriptors", "descriptors", Target("", 0, 0)),
            _smaller("memory_mb", "memory, MB", Target("", 5, 1)),
            Figure("connections", "connections to the bot, with those of the 1,000 calls before"),
        ),
        servers=(OURS,),
        max_rounds=2,
    ),
    Row(
        "voice",
        "voice activity: one frame of 20 ms",
        lambda bench, name: voice_activity(),
        (
            _smaller("us_8k", "at 8 kHz, µs"),
            _smaller("us_16k", "at 16 kHz, µs"),
            _smaller("us_48k", "at 48 kHz with its conversion, µs"),
        ),
        servers=(OURS,),
    ),
    Row(
        "api-gap",
        "40 calls that hear a voice, beside one large answer of the API: 1,500 calls, 1,000 extensions",
        lambda bench, name: api_gap(bench),
        (
            _smaller("quiet_gap_ms", "longest gap without a request, ms"),
            _smaller("calls_gap_ms", "with GET /api/calls, ms"),
            _smaller("calls_more_ms", "the gap that GET /api/calls causes, ms", Target("", 10, 5)),
            _smaller("status_gap_ms", "with GET /api/status, ms"),
            _smaller("status_more_ms", "the gap that GET /api/status causes, ms", Target("", 10, 5)),
            _smaller("problems_gap_ms", "with GET /api/problems, ms"),
        ),
        servers=(OURS,),
        max_rounds=3,
    ),
    Row(
        "neighbours",
        "40 calls that hear a voice, beside a peer that floods",
        lambda bench, name: neighbours(bench),
        tuple(
            figure
            for flood in FLOODS
            for figure in (
                _smaller(f"{flood.key}_late_percent", f"{flood}: later than 40 ms, above those without, %", _LATE),
                _smaller(f"{flood.key}_gap_ms", f"{flood}: longest gap, ms", Target("", 60, 60)),
                _smaller(f"{flood.key}_quiet_gap_ms", f"{flood}: longest gap without it, ms"),
                _smaller(f"{flood.key}_memory_mb", f"{flood}: memory kept, MB", Target("", 10, 10)),
            )
        ),
        servers=(OURS,),
        max_rounds=3,
    ),
)


def chosen(names: str) -> tuple[Row, ...]:
    """Return the rows named in a comma separated text, in the order of the table; all rows for an empty text.

    Raises `ValueError` for an unknown name.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = [row.name for row in ROWS]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such row; there are {', '.join(known)}")
    return tuple(row for row in ROWS if not wanted or row.name in wanted)
