"""Calls with numbered frames to the app echo, which end and are replaced by new ones; a process of its own.

    python -m bench.reliability.callers CALLS PORT [PORT …] [--lasting SECONDS] [--every SECONDS] [--seed N]

Prints ``up`` when all calls are connected, then every few seconds one JSON object with the totals so far, and a
last one when standard input is closed. A call lasts about ``--lasting`` seconds, or until the end with 0.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import sys
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from bench.reliability.numbered_call import DRAIN_SECONDS, FRAME_SECONDS, NumberedCall, Totals

#: Frames that are due within this time are sent together.
BATCH_SECONDS = 0.005


class Callers:
    """All calls of the process, in one thread."""

    def __init__(self, count: int, ports: Sequence[int], lasting: float, seed: int) -> None:
        self.totals = Totals()
        self._ports = ports
        self._lasting = lasting
        self._random = random.Random(seed)
        self.poller = select.epoll()
        self._calls: dict[int, NumberedCall] = {}
        self._places: list[NumberedCall | None] = [self._dial(place) for place in range(count)]
        self._begin, self._turn = time.monotonic(), 0

    def step(self) -> float:
        """Send the frames that are due, and return the seconds until the next ones."""
        now, count = time.monotonic(), len(self._places)
        step = FRAME_SECONDS / count
        while self._begin + self._turn * step <= now:
            place = self._turn % count
            call = self._places[place]
            self.totals.behind += now - (self._begin + self._turn * step) > FRAME_SECONDS
            if call is None:
                self._places[place] = self._dial(place)
            elif call.over(now):
                self._replace(place, call)
            elif now < call.ends:
                call.send(now)
            self._turn += 1
        return BATCH_SECONDS

    def read(self, number: int) -> None:
        """Read one socket; a call that the server has ended is replaced."""
        call = self._calls[number]
        if not call.read(time.monotonic()):
            self.totals.dropped += 1
            self._replace(self._places.index(call), call)

    def finish(self) -> None:
        """Send no more, wait for the frames that are under way, and end all calls."""
        give_up = time.monotonic() + DRAIN_SECONDS
        while any(call.waiting for call in self._calls.values()) and time.monotonic() < give_up:
            for number, _ in self.poller.poll(0.02):
                if not self._calls[number].read(time.monotonic()):
                    self.totals.dropped += 1
                    self.poller.unregister(number)
        for call in self._calls.values():
            call.close(hang_up=True)
        self.poller.close()

    def _replace(self, place: int, call: NumberedCall) -> None:
        number = call.socket.fileno()
        self.poller.unregister(number)
        del self._calls[number]
        call.close(hang_up=self._random.random() < 0.7)
        self._places[place] = self._dial(place)

    def _dial(self, place: int) -> NumberedCall | None:
        call_id = UUID(int=self._random.getrandbits(128), version=4)
        lasts = self._random.uniform(0.2, 1.8) * self._lasting if self._lasting else float("inf")
        try:
            call = NumberedCall(place, self._ports[place % len(self._ports)], call_id, self.totals, lasts)
        except OSError:
            self.totals.refused += 1
            return None  # tried again when its next frame would be due
        self._calls[call.socket.fileno()] = call
        self.poller.register(call.socket.fileno(), select.EPOLLIN)
        return call


def run(
    callers: Callers, told_to_stop: Callable[[int], bool], report: Callable[[Totals], None], every: float
) -> None:
    """Go on until told to stop, and report the totals every few seconds and at the end."""
    report_at = time.monotonic() + every
    while True:
        wait = callers.step()
        for number, _ in callers.poller.poll(wait):
            if told_to_stop(number):
                callers.poller.unregister(number)
                callers.finish()
                report(callers.totals)
                return
            callers.read(number)
        if time.monotonic() >= report_at:
            report_at += every
            report(callers.totals)


def main(arguments: Sequence[str]) -> None:
    """Run until standard input is closed."""
    parser = argparse.ArgumentParser(prog="python -m bench.reliability.callers")
    parser.add_argument("calls", type=int)
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--lasting", type=float, default=0.0)
    parser.add_argument("--every", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    callers = Callers(options.calls, options.ports, options.lasting, options.seed)
    stop = sys.stdin.fileno()
    callers.poller.register(stop, select.EPOLLIN | select.EPOLLHUP)
    print("up", flush=True)
    run(
        callers,
        lambda number: number == stop,
        lambda totals: print(json.dumps(totals.as_json()), flush=True),
        options.every,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
