"""``python -m audiosocket.workers FRONT WORKERS INDEX``: started by ``audiosocket --workers N``, for nobody else.

FRONT is the process id of who started it, WORKERS how many there are, INDEX which one this is.

Descriptor 3 is the channel to the front, 4 our inbox, those from 5 on are what letters are put into. Signals
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

from audiosocket.callside import make_steady
from audiosocket.workers.channel import attach
from audiosocket.workers.process import WorkerProcess

CHANNEL, INBOX, FIRST_BOX = 3, 4, 5
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
    inbox = _socket(INBOX)
    boxes = [_socket(FIRST_BOX + number) for number in range(workers)]
    process = WorkerProcess(inbox, boxes, reactor, reactor.stop)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: ensureDeferred(process.close()))
    with _socket(CHANNEL) as channel:
        attach(process.channel, channel, reactor)
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
