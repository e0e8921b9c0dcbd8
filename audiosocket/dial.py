"""``python -m audiosocket.dial``: a call to an AudioSocket server, as Asterisk would place it.

As a library: `place_calls` places the calls of an `DialOptions` and prints nothing.
"""

from __future__ import annotations

import sys
import wave
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import deferLater, react

from audiosocket.client.caller import Caller, CallFailed
from audiosocket.client.echo_detection import PIECE_MS, Piece, as_one_sound, choose_pieces, find_echo
from audiosocket.client.options import TAIL_SECONDS, DialOptions, parse
from audiosocket.client.report import CallReport
from audiosocket.client.rules import HeardFrame
from audiosocket.client.summary import CallSummary, describe
from audiosocket.wire import SAMPLE_BYTES

#: Seconds of audio kept of each call without ``--save``: enough to find an echo in.
KEPT_SECONDS = 20.0
#: Seconds of silence after which a greeting is taken to be over.
PAUSE = 0.4
#: Seconds between two of many calls: their frames do not leave in one clump.
STAGGER = 0.001


async def place_calls(reactor: Any, order: DialOptions) -> list[CallSummary]:
    """Place all calls of ``order`` at once and wait for their ends.

    When the reactor is stopped (SIGINT), the callers hang up and what was heard by then is reported.
    """
    keep = None if order.save is not None else KEPT_SECONDS
    callers = [Caller(reactor, call_id, order.rate, keep_seconds=keep) for call_id in order.call_ids]
    calls = gatherResults(
        [ensureDeferred(_call(reactor, order, caller, n * STAGGER)) for n, caller in enumerate(callers)],
        consumeErrors=True,
    )

    interrupted = False

    def hang_up() -> Deferred[list[CallReport]]:
        nonlocal interrupted
        interrupted = True
        ends = [caller.ended for caller in callers]
        for caller in callers:
            caller.hang_up()
        return gatherResults(ends)

    trigger = reactor.addSystemEventTrigger("before", "shutdown", hang_up)
    reports = await calls
    if not interrupted:
        reactor.removeSystemEventTrigger(trigger)
    pieces = choose_pieces(order.sound, order.rate)
    return [
        _told(pieces, caller, report, path)
        for caller, report, path in zip(callers, reports, order.recordings, strict=True)
    ]


async def _call(reactor: Any, order: DialOptions, caller: Caller, delay: float) -> CallReport:
    """One call from its first moment to its report; failures are in the report."""
    try:
        if delay:
            await deferLater(reactor, delay)
        await caller.dial(order.host, order.port)
        timer = None if order.seconds is None else reactor.callLater(order.seconds, caller.hang_up)
        try:
            if order.patience:
                latest = reactor.seconds() + order.patience
                await caller.until(lambda: caller.silent_for >= PAUSE or reactor.seconds() >= latest)
            caller.say(order.sound)
            await caller.until_said()
            caller.press(order.digits)
            await caller.until_said()
            if timer is None:
                timer = reactor.callLater(TAIL_SECONDS, caller.hang_up)
            return await caller.ended
        finally:
            if timer is not None and timer.active():
                timer.cancel()
    except CallFailed:
        return await caller.ended


def _told(pieces: list[Piece], caller: Caller, report: CallReport, path: Path | None) -> CallSummary:
    told = CallSummary(report)
    said_at = report.first_said_ms
    if said_at is not None:
        said = [piece for piece in pieces if said_at + piece.at_ms + PIECE_MS < report.seconds * 1000]
        told = CallSummary(report, find_echo(said, said_at, caller.heard_frames), sought=bool(said))
    if path is None or not caller.heard_frames:
        return told
    try:
        _save(path, caller.heard_frames)
    except OSError as error:
        return replace(told, unsaved=str(error))
    return replace(told, saved=path)


def _save(path: Path, frames: Sequence[HeardFrame]) -> None:
    sound, rate = as_one_sound(frames)
    with path.open("wb") as file, wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(SAMPLE_BYTES)
        recording.setframerate(rate)
        recording.writeframes(sound)


async def run(reactor: Any, order: DialOptions, out: TextIO) -> int:
    """Place the calls, tell ``out`` what happened; the exit status: 0 no rule broken, else 1."""
    calls = await place_calls(reactor, order)
    print(describe(calls, order.host, order.port), file=out)
    return 0 if all(call.ok for call in calls) else 1


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; ends the process with its exit status."""
    order = parse(sys.argv[1:] if arguments is None else arguments)

    async def status(reactor: Any) -> None:
        raise SystemExit(await run(reactor, order, sys.stdout))

    react(status)


if __name__ == "__main__":
    main()
