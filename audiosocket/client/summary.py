"""The report of one call or of many calls as text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from textwrap import wrap

from audiosocket.client.echo_detection import Echo
from audiosocket.client.report import CallReport

#: Up to this many calls are described one by one.
MAX_DETAILED = 4
WIDTH = 100
#: Our own delay (ms) above which the report notes that gaps may be due to this machine.
OWN_LATENESS_MS = 20.0

_ENDED_BY = {
    "caller": "by the caller",
    "server": "by the server",
    "rule": "by the caller, because of a broken rule",
    "failed": "before they began",
}


_REFUSED = (
    "the server hung up before it sent any audio: its log says why; on a port for residents no visitor waits "
    "under this UUID, elsewhere the call of this UUID may be over"
)


@dataclass(frozen=True)
class CallSummary:
    """A call's report, and what was done with the received audio.

    ``sought`` is true where enough was sent to search for its echo; ``echo`` None then means that there was none.
    ``too_short`` is true where none came back, but the call was too short to tell.
    ``unsaved`` is why the received audio is not in a file.
    """

    report: CallReport
    echo: Echo | None = None
    sought: bool = False
    too_short: bool = False
    saved: Path | None = None
    unsaved: str = ""

    @property
    def ok(self) -> bool:
        """Whether no rule was broken, the call did not fail and was not refused, and its audio was saved."""
        return self.report.ok and not self.report.refused and not self.unsaved


def describe(calls: Sequence[CallSummary], host: str, port: int) -> str:
    """Return a text on all calls to one server: on each of them where they are few, else statistics."""
    address = f"{f'[{host}]' if ':' in host else host}:{port}"
    if len(calls) <= MAX_DETAILED:
        return "\n\n".join("\n".join(_one(call, address)) for call in calls)
    return "\n".join(_many(calls, address))


def _one(call: CallSummary, address: str) -> Iterator[str]:
    report = call.report
    yield f"Call {report.call_id} to {address}"
    if report.connected_ms is not None:
        first = report.first_frame_ms
        answer = "no frame came" if first is None else f"first frame after {first:.1f} ms"
        yield _row("connected", f"in {report.connected_ms:.1f} ms, {answer}")
        digits = f", digits {report.digits_sent}" if report.digits_sent else ""
        yield _row("sent", f"{_frames(report.frames_sent)}{digits}")
        yield _row("heard", _heard(report))
        if report.frames_heard > 1:
            yield _row("pace", _pace(report))
        if call.sought:
            yield _row("echo", _echo(call.echo))
        elif call.too_short:
            yield _row("echo", "none so far, but the call was too short to tell: --seconds 5 or more")
    if call.saved is not None:
        yield _row("saved", str(call.saved))
    if call.unsaved:
        yield _row("NOT SAVED", call.unsaved)
    yield _row("ended", _end(report))
    if report.refused:
        yield _row("REFUSED", _REFUSED)
    for broken in report.broken:
        yield _row("BROKEN", f"{broken.name} at {broken.at_ms:.0f} ms: {broken.sentence}")
    if report.ok:
        yield _row("rules", "none broken")


def _many(calls: Sequence[CallSummary], address: str) -> Iterator[str]:
    reports = [call.report for call in calls]
    connected = [report for report in reports if report.connected_ms is not None]
    longest = max(report.seconds for report in reports)
    yield f"{len(calls)} calls to {address}, {len(connected)} connected, the longest {longest:.1f} s"
    if connected:
        yield f"  {'':<13}{'least':>10}{'median':>10}{'most':>10}"
    columns: list[tuple[str, int, Callable[[CallReport], float | None]]] = [
        ("connected ms", 1, lambda report: report.connected_ms),
        ("first ms", 1, lambda report: report.first_frame_ms),
        ("sent", 0, lambda report: report.frames_sent),
        ("heard", 0, lambda report: report.frames_heard),
        ("sound s", 2, lambda report: report.seconds_sound),
        ("silence s", 2, lambda report: report.seconds_silence),
        ("gap ms", 1, lambda report: report.largest_gap_ms),
        ("late frames", 0, lambda report: report.late_frames),
        ("ahead ms", 1, lambda report: report.most_ahead_ms),
    ]
    for name, places, value in columns:
        yield from _spread(name, places, (value(report) for report in connected))
    echoes = [call.echo.delay_ms for call in calls if call.echo is not None]
    yield from _spread("echo ms", 1, echoes)
    yield _row("rates", ", ".join(f"{_calls(n)} at {rate} Hz" for rate, n in _rates(connected)) or "none")
    sought = sum(call.sought for call in calls)
    if sought:
        yield _row("echo", f"what was said came back in {len(echoes)} of {sought} calls")
    refused = sum(report.refused for report in reports)
    if refused:
        yield _row("REFUSED", _calls(refused))
    saved = [call.saved for call in calls if call.saved is not None]
    if saved:
        yield _row("saved", f"{saved[0]} to {saved[-1].name}, {len(saved)} files")
    unsaved = [call.unsaved for call in calls if call.unsaved]
    if unsaved:
        yield _row("NOT SAVED", f"{len(unsaved)} files, the first because: {unsaved[0]}")
    ends = Counter(report.ended_by for report in reports)
    yield _row("ended", ", ".join(f"{number} {_ENDED_BY[by]}" for by, number in ends.most_common()))
    late = max(report.own_lateness_ms for report in reports)
    if late > OWN_LATENESS_MS:
        yield _row("note", f"this machine itself was up to {late:.0f} ms late")
    yield from _broken(calls)


def _broken(calls: Sequence[CallSummary]) -> Iterator[str]:
    broken = [(one, call.report) for call in calls for one in call.report.broken]
    for name, number in Counter(one.name for one, _report in broken).most_common():
        one, report = next(found for found in broken if found[0].name == name)
        example = f"for instance {report.call_id} at {one.at_ms:.0f} ms"
        yield _row("BROKEN", f"{name} in {_calls(number)}, {example}: {one.sentence}")
    if not broken:
        yield _row("rules", "none broken")


def _row(name: str, text: str) -> str:
    """Return the name in its column and the text beside it, wrapped for a terminal."""
    lines = wrap(text, WIDTH - 15, break_long_words=False, break_on_hyphens=False) or [""]
    return f"  {name:<13}" + ("\n" + " " * 15).join(lines)


def _frames(number: int) -> str:
    return f"{number} frame{'' if number == 1 else 's'}"


def _calls(number: int) -> str:
    return f"{number} call{'' if number == 1 else 's'}"


def _heard(report: CallReport) -> str:
    if not report.frames_heard:
        return "nothing"
    if math.isinf(report.peak_dbfs):
        sound = "only digital silence"
    elif report.silence_only:
        sound = f"only silence (peak {report.peak_dbfs:.1f} dBFS)"
    else:
        loudest = f"peak {report.peak_dbfs:.1f} dBFS"
        sound = f"{report.seconds_sound:.2f} s sound ({loudest}), {report.seconds_silence:.2f} s silence"
    return f"{_frames(report.frames_heard)} at {report.heard_rate} Hz, {report.seconds_heard:.2f} s: {sound}"


def _pace(report: CallReport) -> str:
    late = f"{report.late_frames} late" if report.late_frames else "none late"
    pace = f"{report.frames_per_second:.1f} frames/s, largest gap {report.largest_gap_ms:.0f} ms, {late}"
    ahead = f", up to {report.most_ahead_ms:.0f} ms ahead" if report.most_ahead_ms >= 1 else ""
    own = report.own_lateness_ms
    note = f" (this machine itself was up to {own:.0f} ms late)" if own > OWN_LATENESS_MS else ""
    return pace + ahead + note


def _echo(echo: Echo | None) -> str:
    if echo is None:
        return "what was said did not come back"
    return f"what was said came back after {echo.delay_ms:.0f} ms, {echo.likeness:.0%} alike"


def _end(report: CallReport) -> str:
    if report.ended_by == "failed":
        return "the call could not be placed"
    end = f"{_ENDED_BY[report.ended_by]} after {report.seconds:.2f} s"
    if report.ended_by != "caller":
        return end
    if report.closed_after_ms is None:
        return f"{end}; the server had not closed when the caller stopped waiting"
    return f"{end}; the server closed {report.closed_after_ms:.0f} ms later"


def _spread(name: str, places: int, values: Iterable[float | None]) -> Iterator[str]:
    known = [value for value in values if value is not None]
    if known:
        columns = (f"{value:>10.{places}f}" for value in (min(known), median(known), max(known)))
        yield f"  {name:<13}{''.join(columns)}"


def _rates(reports: Sequence[CallReport]) -> list[tuple[int, int]]:
    return Counter(report.heard_rate for report in reports if report.heard_rate is not None).most_common()
