"""``python -m audiosocket.workers FRONT WORKERS``: started by ``audiosocket --workers N``, for nobody else.

FRONT is the process id of who started it, WORKERS how many there are; which one this is it is told later. The
descriptors from 3 on are the channel to the front, all inboxes, and all ends that letters are put into. Signals
are the front's business: systemd and terminals send them to all processes at once.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from typing import Any

from twisted.internet.defer import ensureDeferred

from audiosocket.server.assembly import make_steady
from audiosocket.workers.channel import attach
from audiosocket.workers.child_process import FIRST_DESCRIPTOR
from audiosocket.workers.worker_process import WorkerProcess

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run until the front says stop, or is gone."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _die_with(int(sys.argv[1]))
    from twisted.internet import reactor  # noqa: PLC0415 - as in tap: nothing installs one by being imported

    run(reactor, int(sys.argv[2]))


def run(reactor: Any, workers: int) -> None:
    """One life of a worker."""
    make_steady(reactor)
    channel, *ends = [_socket(FIRST_DESCRIPTOR + number) for number in range(1 + 2 * workers)]
    process = WorkerProcess(ends[:workers], ends[workers:], reactor, reactor.stop, dict(os.environ))
    reactor.addSystemEventTrigger("before", "shutdown", lambda: ensureDeferred(process.close()))
    with channel:
        attach(process.channel, channel, reactor)
    process.present()
    for number in (signal.SIGTERM, signal.SIGINT):
        reactor.addSystemEventTrigger("after", "startup", signal.signal, number, signal.SIG_IGN)
    reactor.run()


def _socket(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    made = socket.socket(fileno=descriptor)
    made.setblocking(False)
    return made


def _die_with(front: int) -> None:
    """A worker that is blocked would not see the end of its channel; the kernel does (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != front:
        raise SystemExit("the process that started this worker is gone")


if __name__ == "__main__":
    main()
