"""What the reactor was doing while it was late: its stack, seen from a thread beside it.

The reactor says at each beat when the next one is due. The thread looks every 20 ms whether that time has
passed, and only then reads the reactor's stack, without holding on to any frame. What it saw is fetched
by the next beat, on the reactor's own thread: nothing is logged, called or allocated over there.

CPU of the thread: see "Reactor watch" in ``docs/architecture.md``.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

#: Between two looks, in seconds.
LOOK_SECONDS = 0.02
#: A beat overdue by this much is worth a look at the stack, in seconds.
OVERDUE = 0.01
#: Frames kept of one stack, the innermost.
DEPTH = 200


@dataclass(frozen=True)
class StackFrame:
    """One frame of a stack; ``file`` without its directory."""

    module: str
    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.function}:{self.line}"


Stack = tuple[StackFrame, ...]


@dataclass(frozen=True)
class StackSample:
    """What was seen between two beats.

    ``stack`` is innermost first and None when nobody looked or the reactor was only waiting. With several
    looks it begins with the innermost function that was there in all of them; when that is the reactor's
    own machinery (much work, no single culprit) it is the last look's. ``stood_still`` seconds went by
    without this thread being run either and without work: the process was stopped or starved.
    """

    stack: Stack | None
    stood_still: float


def waiting_in(reactor: Any) -> CodeType | None:
    """The code of the function in which a Twisted reactor waits; None where it cannot be told."""
    code = getattr(getattr(reactor, "doIteration", None), "__code__", None)
    return code if isinstance(code, CodeType) else None


class StackSampler:
    """A daemon thread that watches the thread that calls `start`.

    ``waiting`` is the code of the function in which that thread waits for something to do: to be there is
    not to be blocked. ``clock`` and ``cpu`` are seconds of real time and of processor time of the process.
    """

    def __init__(
        self,
        waiting: CodeType | None = None,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._waiting = waiting
        self._clock = clock
        self._cpu = cpu
        #: Held while the thread shall run. A bare lock, because waiting for an Event costs ten times as much.
        self._running = threading.Lock()
        self._thread: threading.Thread | None = None
        self._watched = 0
        # Each of these is written by one thread and is one reference: no lock, nobody waits for anybody.
        self._due = float("inf")
        self._looked = 0.0
        self._gap = 0.0
        self._seen: tuple[float, Stack, Stack] | None = None
        self._beat_cpu = 0.0

    def start(self) -> None:
        """Begin to watch the calling thread, from its first `beat` on; a second time, begin anew."""
        self.stop()
        self._watched = threading.get_ident()
        self._due = float("inf")
        self._seen = None
        self._looked = self._clock()
        self._running.acquire()
        self._thread = threading.Thread(target=self._run, name="stack watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; it is gone when this returns, which takes microseconds."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._running.release()
            thread.join()

    def beat(self, next_in: float) -> StackSample:
        """What was seen since the last beat; the watched thread is going to call again in ``next_in`` seconds."""
        now, cpu = self._clock(), self._cpu()
        due, self._due = self._due, now + next_in
        seen, self._seen = self._seen, None
        gap, self._gap = max(self._gap, now - self._looked), 0.0
        worked, self._beat_cpu = cpu - self._beat_cpu, cpu
        stack = _culprit(*seen[1:]) if seen is not None and seen[0] == due else None
        # Code that computes with the lock of the interpreter held keeps this thread out, too, but it computes.
        stood_still = gap if gap > 2 * LOOK_SECONDS and worked < gap / 2 else 0.0
        return StackSample(stack, stood_still)

    def _run(self) -> None:
        while not self._running.acquire(timeout=LOOK_SECONDS):
            now = self._clock()
            self._gap = max(self._gap, now - self._looked)
            self._looked = now
            due = self._due
            if now - due > OVERDUE:
                self._look(due)
        self._running.release()

    def _look(self, due: float) -> None:
        frame = sys._current_frames().get(self._watched)
        if frame is None or frame.f_code is self._waiting:
            return
        found: list[StackFrame] = []
        while frame is not None and len(found) < DEPTH:
            code = frame.f_code
            module = str(frame.f_globals.get("__name__", "?"))
            file = code.co_filename.rpartition("/")[2]
            found.append(StackFrame(module, code.co_name, file, frame.f_lineno or code.co_firstlineno))
            frame = frame.f_back
        last = tuple(found)
        seen = self._seen
        shared = last if seen is None or seen[0] != due else _shared(last, seen[1])
        self._seen = (due, shared, last)


def _shared(one: Stack, other: Stack) -> Stack:
    """The outer part of ``one`` that is in ``other`` as well, whatever the lines."""
    same = 0
    for mine, theirs in zip(reversed(one), reversed(other), strict=False):
        if (mine.module, mine.function) != (theirs.module, theirs.function):
            break
        same += 1
    return one[len(one) - same :]


def _culprit(shared: Stack, last: Stack) -> Stack:
    return last if not shared or shared[0].module.startswith("twisted.") else shared
