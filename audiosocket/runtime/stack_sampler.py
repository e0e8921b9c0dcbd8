"""The stack of the reactor while it was late, sampled by another thread.

The reactor's thread calls `beat` and states when it will call again. The sampling thread checks every 20 ms
whether that time has passed, and only then reads the stack of the reactor's thread, without keeping any frame. The
sample is returned by the next `beat`, on the reactor's thread: the sampling thread logs nothing and calls nothing.

The cost of the thread: see "Reactor watch" in ``docs/architecture.md``.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType

#: Interval between two checks, in seconds.
CHECK_SECONDS = 0.02
#: The stack is read when a beat is overdue by this much, in seconds.
OVERDUE = 0.01
#: Frames kept of one stack, the innermost ones.
MAX_FRAMES = 200


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
    """What was sampled between two beats.

    ``stack`` has the innermost frame first; it is None when no beat was overdue or the reactor was waiting. With
    several samples it begins with the innermost function that was in all of them; when that belongs to the reactor
    itself (much work without a single cause) it is the last sample. For ``stood_still`` seconds the sampling
    thread was not run either and the process did no work: it was stopped or got no processor time. ``purpose``
    says what the last sample was done for, where `StackSampler` was told how to find that out.
    """

    stack: Stack | None
    stood_still: float
    purpose: str = ""


def waiting_in(reactor: object) -> CodeType | None:
    """Return the code of the function in which a Twisted reactor waits, None where it is unknown."""
    poll = getattr(reactor, "doIteration", None)
    loop = getattr(reactor, "_asyncioEventloop", None)
    if loop is not None:  # Twisted's asyncio reactor waits in the selector of its event loop
        poll = getattr(getattr(loop, "_selector", None), "select", None)
    code = getattr(poll, "__code__", None)
    return code if isinstance(code, CodeType) else None


class StackSampler:
    """A daemon thread that samples the thread that calls `start`.

    ``waiting`` is the code of the function in which that thread waits for events: there it is not blocked.
    ``clock`` and ``cpu`` return real time and processor time of the process, in seconds. ``purpose_of`` is given
    the frames of a stack, the innermost first, and returns what the work is done for, or an empty text; it runs in
    the sampling thread and may only read.
    """

    def __init__(
        self,
        waiting: CodeType | None = None,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
        purpose_of: Callable[[FrameType], str] = lambda frame: "",
    ) -> None:
        self._waiting = waiting
        self._clock = clock
        self._cpu = cpu
        self._purpose_of = purpose_of
        #: Held while the thread runs. A lock, because waiting for an Event costs ten times as much.
        self._running = threading.Lock()
        self._thread: threading.Thread | None = None
        self._thread_id = 0
        # Each of these is a single reference that one thread writes: no lock is needed.
        self._due = float("inf")
        self._checked_at = 0.0
        self._gap = 0.0
        self._sample: tuple[float, Stack, Stack, str] | None = None
        self._beat_cpu = 0.0

    def start(self) -> None:
        """Begin to sample the calling thread, from its first `beat` on; a second call starts again."""
        self.stop()
        self._thread_id = threading.get_ident()
        self._due = float("inf")
        self._sample = None
        self._checked_at = self._clock()
        self._running.acquire()
        self._thread = threading.Thread(target=self._run, name="stack sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for its end, which takes microseconds."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._running.release()
            thread.join()

    def beat(self, next_in: float) -> StackSample:
        """Return the sample since the last beat; the calling thread will call again in ``next_in`` seconds."""
        now, cpu = self._clock(), self._cpu()
        due, self._due = self._due, now + next_in
        seen, self._sample = self._sample, None
        gap, self._gap = max(self._gap, now - self._checked_at), 0.0
        worked, self._beat_cpu = cpu - self._beat_cpu, cpu
        stack, purpose = None, ""
        if seen is not None and seen[0] == due:
            stack, purpose = _cause(*seen[1:3]), seen[3]
        # Code that holds the interpreter's lock stops the sampling thread, too, but it uses processor time.
        stood_still = gap if gap > 2 * CHECK_SECONDS and worked < gap / 2 else 0.0
        return StackSample(stack, stood_still, purpose)

    def _run(self) -> None:
        while not self._running.acquire(timeout=CHECK_SECONDS):
            now = self._clock()
            self._gap = max(self._gap, now - self._checked_at)
            self._checked_at = now
            due = self._due
            if now - due > OVERDUE:
                self._read_stack(due)
        self._running.release()

    def _read_stack(self, due: float) -> None:
        frame = sys._current_frames().get(self._thread_id)
        if frame is None or frame.f_code is self._waiting:
            return
        found: list[StackFrame] = []
        purpose = ""
        while frame is not None and len(found) < MAX_FRAMES:
            code = frame.f_code
            module = str(frame.f_globals.get("__name__", "?"))
            file = code.co_filename.rpartition("/")[2]
            found.append(StackFrame(module, code.co_name, file, frame.f_lineno or code.co_firstlineno))
            purpose = purpose or self._purpose_of(frame)
            frame = frame.f_back
        last = tuple(found)
        seen = self._sample
        shared = last if seen is None or seen[0] != due else _shared(last, seen[1])
        self._sample = (due, shared, last, purpose)


def _shared(one: Stack, other: Stack) -> Stack:
    """Return the outer part of ``one`` that is in ``other`` as well, without regard to line numbers."""
    same = 0
    for left, right in zip(reversed(one), reversed(other), strict=False):
        if (left.module, left.function) != (right.module, right.function):
            break
        same += 1
    return one[len(one) - same :]


def _cause(shared: Stack, last: Stack) -> Stack:
    return last if not shared or shared[0].module.startswith("twisted.") else shared
