"""``python -m audiosocket.dial``: a call to an AudioSocket server, as Asterisk would place it.

As a library: `place_calls` places the calls of `DialOptions` and prints nothing.
"""

from __future__ import annotations

import json
import sys
import wave
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.interfaces import IReactorCore, IReactorFDSet, IReactorThreads, IReactorTime
from twisted.internet.stdio import StandardIO
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.protocols.basic import LineOnlyReceiver

from audiosocket.client.caller import Caller, CallFailed
from audiosocket.client.echo_detection import PIECE_MS, Piece, as_one_sound, choose_pieces, find_echo
from audiosocket.client.options import DEFAULT_SECONDS, TAIL_SECONDS, DialOptions, parse
from audiosocket.client.report import CallReport
from audiosocket.client.report_json import to_json
from audiosocket.client.rules import HeardFrame
from audiosocket.client.summary import CallSummary, describe
from audiosocket.errors import LocalProtocolError
from audiosocket.wire import SAMPLE_BYTES

#: Seconds of audio kept of each call without ``--save``, enough to find an echo.
KEPT_SECONDS = 20.0
#: Seconds of silence that end a greeting.
PAUSE_SECONDS = 0.4
#: Seconds between the starts of two calls, so that the frames of all calls are not sent at once.
STAGGER_SECONDS = 0.001
#: Seconds between two updates of the line that shows the progress on a terminal.
PROGRESS_SECONDS = 0.5


class DialReactor(IReactorCore, IReactorFDSet, IReactorThreads, IReactorTime):
    """The interfaces of the reactor that calls use."""


async def place_calls(reactor: DialReactor, options: DialOptions) -> list[CallSummary]:
    """Place all calls of ``options`` at once, wait for their ends, and return their summaries.

    When the reactor is stopped (SIGINT), all calls are hung up.
    """
    keep = None if options.save is not None else KEPT_SECONDS
    callers = [Caller(reactor, call_id, options.rate, keep_seconds=keep) for call_id in options.call_ids]
    calls = gatherResults(
        [ensureDeferred(_call(reactor, options, caller, n * STAGGER_SECONDS)) for n, caller in enumerate(callers)],
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
    pieces = choose_pieces(options.sound, options.rate)
    short = bool(options.greeting_seconds) and options.seconds is not None and options.seconds < DEFAULT_SECONDS
    return [
        _summarize(pieces, caller, report, path, short)
        for caller, report, path in zip(callers, reports, options.recordings, strict=True)
    ]


async def _call(reactor: DialReactor, options: DialOptions, caller: Caller, delay: float) -> CallReport:
    """Place one call and return its report, also where it fails."""
    try:
        if delay:
            await deferLater(reactor, delay)
        await caller.dial(options.host, options.port)
        timer = None if options.seconds is None else reactor.callLater(options.seconds, caller.hang_up)
        pressing = [reactor.callLater(at, caller.press, digits) for at, digits in options.presses]
        keyboard = Keyboard(caller, reactor) if options.keyboard else None
        try:
            if options.greeting_seconds:
                latest = reactor.seconds() + options.greeting_seconds
                await caller.until(lambda: caller.silent_for >= PAUSE_SECONDS or reactor.seconds() >= latest)
            caller.say(options.sound)
            await caller.until_said()
            caller.press(options.digits)
            await caller.until_said()
            if timer is None:
                timer = reactor.callLater(TAIL_SECONDS, caller.hang_up)
            return await caller.ended
        finally:
            for one in (timer, *pressing):
                if one is not None and one.active():
                    one.cancel()
            if keyboard is not None:
                keyboard.close()
    except CallFailed:
        return await caller.ended


class Keyboard(LineOnlyReceiver):
    """Sends what is typed on standard input to one call: a line of digits at each Enter."""

    delimiter = b"\n"

    def __init__(self, caller: Caller, reactor: DialReactor) -> None:
        self._caller = caller
        self._input = StandardIO(self, reactor=reactor)

    def lineReceived(self, line: bytes) -> None:
        text = line.decode("ascii", "replace").strip().upper()
        try:
            self._caller.press(text)
        except LocalProtocolError:
            print(f"{text!r}: the keys are 0-9, *, # and A-D", file=sys.stderr)

    def close(self) -> None:
        """Read nothing more."""
        self._input.loseConnection()


def _summarize(
    pieces: list[Piece], caller: Caller, report: CallReport, path: Path | None, short: bool
) -> CallSummary:
    """Return the summary; in a ``short`` call a greeting may last to its end, so that no echo proves nothing."""
    summary = CallSummary(report)
    said_at = report.first_said_ms
    if said_at is not None:
        said = [piece for piece in pieces if said_at + piece.at_ms + PIECE_MS < report.seconds * 1000]
        echo = find_echo(said, said_at, caller.heard_frames)
        too_short = short and echo is None
        summary = CallSummary(report, echo, sought=bool(said) and not too_short, too_short=too_short)
    if path is None or not caller.heard_frames:
        return summary
    try:
        _save(path, caller.heard_frames)
    except OSError as error:
        return replace(summary, unsaved=str(error))
    return replace(summary, saved=path)


def _save(path: Path, frames: Sequence[HeardFrame]) -> None:
    sound, rate = as_one_sound(frames)
    with path.open("wb") as file, wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(SAMPLE_BYTES)
        recording.setframerate(rate)
        recording.writeframes(sound)


class _Progress:
    """A line on a terminal that says at once what is called, and then for how long it has lasted."""

    def __init__(self, reactor: DialReactor, options: DialOptions, out: TextIO) -> None:
        number = len(options.call_ids)
        what = "a call" if number == 1 else f"{number} calls"
        end = "" if options.seconds is None else f" of {options.seconds:g}"
        # With a keyboard the line would be mixed with what is typed.
        self._line = f"{what} to {options.host} port {options.port}: {{seconds:.0f}}{end} s"
        self._reactor = reactor
        self._out = out
        self._started = reactor.seconds()
        self._ticks = LoopingCall(self._show)
        self._ticks.clock = reactor
        if options.keyboard:
            self._show()
            print(file=out, flush=True)
        else:
            self._ticks.start(PROGRESS_SECONDS)

    def stop(self) -> None:
        """Erase the line."""
        if self._ticks.running:
            self._ticks.stop()
            print("\r\x1b[K", end="", file=self._out, flush=True)

    def _show(self) -> None:
        line = self._line.format(seconds=self._reactor.seconds() - self._started)
        print(f"\r{line}", end="", file=self._out, flush=True)


async def run(reactor: DialReactor, options: DialOptions, out: TextIO) -> int:
    """Place the calls and print their description, or JSON, to ``out``; return the exit status."""
    told = sys.stderr if options.json else out
    resident_line = options.resident_line(sys.executable)
    if resident_line:
        print(f"for the resident's side, in another terminal:\n  {resident_line}", file=told, flush=True)
    if options.keyboard:
        print("type keys, then Enter", file=told, flush=True)
    progress = _Progress(reactor, options, out) if out.isatty() and not options.json else None
    try:
        calls = await place_calls(reactor, options)
    finally:
        if progress is not None:
            progress.stop()
    if options.json:
        print(json.dumps(to_json(calls, options.host, options.port), ensure_ascii=False, indent=2), file=out)
    else:
        print(describe(calls, options.host, options.port), file=out)
    return 0 if all(call.ok for call in calls) else 1


def main(arguments: Sequence[str] | None = None, program: str = "python -m audiosocket.dial") -> None:
    """Run the command line and exit with its status; ``program`` is the command as it was typed."""
    options = parse(sys.argv[1:] if arguments is None else arguments, program)

    async def status(reactor: DialReactor) -> None:
        raise SystemExit(await run(reactor, options, sys.stdout))

    react(status)


if __name__ == "__main__":
    main()
