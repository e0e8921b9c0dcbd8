"""The report of calls as JSON, for programs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from audiosocket.client.summary import CallSummary


def to_json(calls: Sequence[CallSummary], host: str, port: int) -> dict[str, Any]:
    """Return all calls to one server; ``status`` is "error" where one of them failed or a rule was broken."""
    status = "success" if all(call.ok for call in calls) else "error"
    return {"status": status, "host": host, "port": port, "calls": [_call(call) for call in calls]}


def _call(call: CallSummary) -> dict[str, Any]:
    """Return one call; times end in their unit and are rounded to a microsecond."""
    report, echo = call.report, call.echo
    return {
        "call_id": str(report.call_id),
        "ok": call.ok,
        "refused": report.refused,
        "ended_by": report.ended_by,
        "seconds": round(report.seconds, 3),
        "connected_ms": _rounded(report.connected_ms),
        "first_frame_ms": _rounded(report.first_frame_ms),
        "closed_after_ms": _rounded(report.closed_after_ms),
        "frames_sent": report.frames_sent,
        "digits_sent": report.digits_sent,
        "frames_heard": report.frames_heard,
        "heard_rate": report.heard_rate,
        "seconds_heard": round(report.seconds_heard, 3),
        "seconds_sound": round(report.seconds_sound, 3),
        "peak_dbfs": None if math.isinf(report.peak_dbfs) else round(report.peak_dbfs, 1),
        "frames_per_second": round(report.frames_per_second, 1),
        "largest_gap_ms": round(report.largest_gap_ms, 3),
        "late_frames": report.late_frames,
        "most_ahead_ms": round(report.most_ahead_ms, 3),
        "own_lateness_ms": round(report.own_lateness_ms, 3),
        "echo_sought": call.sought,
        "echo": None
        if echo is None
        else {"delay_ms": round(echo.delay_ms, 3), "likeness": round(echo.likeness, 3)},
        "broken": [
            {"rule": one.name, "at_ms": round(one.at_ms, 3), "sentence": one.sentence} for one in report.broken
        ],
        "saved": None if call.saved is None else str(call.saved),
        "unsaved": call.unsaved,
    }


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 3)
