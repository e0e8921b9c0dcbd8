"""A hundred calls of a real Asterisk for two minutes, with the time at which each frame of the server was sent.

    make asterisk-load   or:  python -m tests.real_asterisk.load [--calls 100] [--seconds 120] [--codec slin16]

The callers say a tone, the server plays one without end (``--app echo`` sends theirs back instead). Root, Linux;
the machine should have nothing else to do. Exit status 1 if a call was lost, if more than 0.1 % of the frames were
more than 40 ms late, or if Asterisk complained.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet import defer, task

from tests.real_asterisk import chroot, shipped, sound, visit
from tests.real_asterisk.product import Server
from tests.real_asterisk.rig import Asterisk
from tests.real_asterisk.wiretap import FRAME_MS, LATE_MS, Lateness, Wiretap, at, share

MAX_LATE = 0.1  # per cent
A_SECOND = 25  # calls placed
SETTLE_SECONDS = 2.0
SLICE_MS = 10_000.0
TALKERS = """
[talks]
exten => s,1,Milliwatt()
"""


async def run(reactor: Any, wanted: argparse.Namespace, directory: Path) -> bool:
    """Run from the first call to the last hangup; return whether all limits were kept."""
    asterisk = Asterisk(reactor, chroot.ensure(os.environ), directory / "asterisk")
    asterisk.configure(shipped.files(asterisk.ports, asterisk.secret))
    (directory / "server").mkdir()
    sound.write_wav(directory / "tone.wav", sound.tone(8000, 700, 10_000), 8000)
    settings = {"PLAY_FILE": str(directory / "tone.wav"), "PLAY_THEN": "loop", "VISITOR_APP": wanted.app}
    server = Server(reactor, directory / "server", settings)
    try:
        await asterisk.start()
        await server.start()
        if wanted.realtime:
            for pid in (asterisk.pid, server.pid):
                hurry(pid)
        await visit.load(asterisk, server, TALKERS, AUDIOSOCKET_CODEC=wanted.codec)
        return await measure(reactor, wanted, asterisk, server)
    finally:
        await server.stop()
        await asterisk.stop()


async def measure(reactor: Any, wanted: argparse.Namespace, asterisk: Asterisk, server: Server) -> bool:
    """Place the calls, capture the frames, hang up, print the figures."""
    for _ in range(wanted.calls):
        await asterisk.originate("Local/1000@audiosocket-visitor/n", context="talks", extension="s")
        await task.deferLater(reactor, 1 / A_SECOND)
    calls = await server.arrived(wanted.calls, seconds=30)
    await task.deferLater(reactor, SETTLE_SECONDS)
    rate = 8000 if wanted.codec in {"", "slin"} else int(wanted.codec.removeprefix("slin")) * 1000
    wiretap = Wiretap(reactor, server.visitor_port, sound.frame_bytes(rate) + 3)
    pids = (server.pid, asterisk.pid, os.getpid())
    used = [seconds_used(pid) for pid in pids]
    began, lag = time.monotonic(), 0.0
    while time.monotonic() < began + wanted.seconds:
        await task.deferLater(reactor, min(5.0, began + wanted.seconds - time.monotonic()))
        lag = max(lag, (await server.ask("GET", "/api/status"))[1]["reactor"]["lag_ms_worst_10s"])
    seconds = time.monotonic() - began
    wiretap.stop()
    used = [seconds_used(pid) - before for pid, before in zip(pids, used, strict=True)]
    live = await server.calls()
    lost = [call_id for call_id in calls if call_id not in live]
    _, answer = await server.ask("GET", "/api/calls")
    resumed = sum(leg["resumes"] for call in answer["calls"] for leg in call["legs"])
    alone = await say_goodbye(asterisk, server, live[:1], len(live) - 1)
    together = await say_goodbye(asterisk, server, live[1:], 0)
    complaints = await asterisk.log_errors()
    lateness = Lateness()
    for times in wiretap.times.values():
        lateness.add(times)
    frames = sum(len(times) for times in wiretap.times.values())
    print(f"calls       {wanted.calls} for {seconds:.0f} s: {len(lost)} lost, {resumed} broken and resumed")
    print(f"frames      {frames} of {wanted.calls * seconds * 1000 / FRAME_MS:.0f}; {wiretap.lost} not seen by us")
    show("gap", lateness.gaps, LATE_MS, LATE_MS + FRAME_MS)
    show("late", lateness.late, LATE_MS)
    slices = " ".join(f"{share(part, LATE_MS):.2f}" for part in lateness.slices(SLICE_MS))
    print(f"            over {LATE_MS:g} ms, by {SLICE_MS / 1000:g} s of the run: {slices} %")
    print(f"server      {used[0] / seconds:.2f} processors, reactor at most {lag:.1f} ms late")
    print(f"Asterisk    {used[1] / seconds:.2f} processors, {len(complaints)} unusual lines in its log")
    print(f"ourselves   {used[2] / seconds:.2f} processors")
    print(f"goodbye     to one: gone after {alone:.2f} s; to all others at once: the last after {together:.2f} s")
    for line in complaints[:10]:
        print("   ", line)
    return not lost and not complaints and not wiretap.lost and share(lateness.late, LATE_MS) <= MAX_LATE


def show(name: str, values: list[float], *limits: float) -> None:
    """Return one line of figures in milliseconds."""
    beyond = ", ".join(f"over {limit:g} ms: {share(values, limit):.3f} %" for limit in limits)
    figures = ", ".join(f"{per_cent} % {at(values, per_cent):.1f}" for per_cent in (50, 99, 99.9))
    print(f"{name:<11} {beyond}; {figures}, worst {max(values):.1f} ms")


async def say_goodbye(asterisk: Asterisk, server: Server, calls: list[str], left: int) -> float:
    """Make the server hang these up; return the seconds until Asterisk has only the callers of ``left`` calls."""
    began = time.monotonic()
    goodbyes = [defer.ensureDeferred(server.hang_up(call_id)) for call_id in calls]
    await defer.gatherResults(goodbyes, consumeErrors=True)
    while len(await asterisk.channels()) > 2 * left:  # a Local channel has two halves
        if time.monotonic() > began + 15:
            await asterisk.no_channels(0)
    return time.monotonic() - began


def hurry(pid: int) -> None:
    """Give a process and its threads real-time priority."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(1))


def seconds_used(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main(reactor: Any, *arguments: str) -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--app", default="play", help="play (default), echo, …: the visitors' app")
    parser.add_argument(
        "--codec", default="", help="AUDIOSOCKET_CODEC of the dialplan; empty: 8 kHz by AudioSocket()"
    )
    parser.add_argument("--realtime", action="store_true", help="for a busy machine: Asterisk and server go first")
    wanted = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        if not await run(reactor, wanted, Path(directory)):
            raise SystemExit(1)


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
