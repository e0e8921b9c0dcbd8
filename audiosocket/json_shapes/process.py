"""The process as JSON: the reactor, durations, files, what was counted of the audio."""

from __future__ import annotations

from typing import TypedDict


class HistogramJSON(TypedDict):
    """Durations in milliseconds; ``buckets`` counts by upper bound, "inf" the last."""

    count: int
    sum_ms: float
    max_ms: float
    buckets: dict[str, int]


class BlockedByJSON(TypedDict):
    """One cause of a blocked reactor."""

    where: str
    times: int
    worst_ms: int


class GCStatsJSON(TypedDict):
    """Collections of the garbage collector and the longest of them, in milliseconds."""

    collections: int
    longest_ms: float
    full_collections: int
    longest_full_ms: float
    frozen_objects: int


class ReactorJSON(TypedDict):
    """How late the reactor was; the histogram counts by upper bound in milliseconds."""

    lag_ms_worst_10s: float
    lag_ms_worst: float
    lag_histogram: dict[str, int]
    blocked_times: int
    blocked_by: list[BlockedByJSON]
    stood_still_times: int
    gc: GCStatsJSON


class TrafficJSON(TypedDict):
    """What the processes have counted of audio and of their peers since their start."""

    frames_in: dict[str, int]
    frames_out: dict[str, int]
    frames_late: int
    frames_dropped: dict[str, int]
    protocol_errors: dict[str, int]
    one_way: int


class OpenFilesJSON(TypedDict):
    """File descriptors of the process, its limit, and whether there are any for new calls."""

    used: int
    limit: int
    accepting: bool


class StorageJSON(TypedDict):
    """A file that cannot be written or read; ``what`` is "log", "journal" or "local_file"."""

    what: str
    reason: str
