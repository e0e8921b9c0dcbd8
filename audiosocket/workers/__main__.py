"""``python -m audiosocket.workers SUPERVISOR WORKERS``: a worker; only ``audiosocket --workers N`` starts it.

SUPERVISOR is the process id of the process that started it, WORKERS the number of workers; its own number comes
with the first message. The descriptors from 3 on are the channel to the supervisor, the reading ends of all
inboxes, and their sending ends. Signals are ignored: systemd and terminals send them to all processes, and the
supervisor acts.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from typing import cast

from twisted.internet.defer import ensureDeferred

from audiosocket.runtime.signals import fatal_signals
from audiosocket.server.assembly import use_monotonic_time
from audiosocket.server.reactor import ServerReactor
from audiosocket.workers.channel import attach
from audiosocket.workers.child_process import FIRST_DESCRIPTOR
from audiosocket.workers.worker_process import WorkerProcess

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run until the supervisor sends "stop", or is gone."""
    for number in fatal_signals():
        signal.signal(number, signal.SIG_IGN)
    _die_with(int(sys.argv[1]))
    from twisted.internet import reactor  # noqa: PLC0415 - as in tap: nothing installs one by being imported

    run(cast("ServerReactor", reactor), int(sys.argv[2]))


def run(reactor: ServerReactor, workers: int) -> None:
    """Run one worker process to its end."""
    use_monotonic_time(reactor)
    channel, *ends = [_socket(FIRST_DESCRIPTOR + number) for number in range(1 + 2 * workers)]
    process = WorkerProcess(ends[:workers], ends[workers:], reactor, reactor.stop, dict(os.environ))
    reactor.addSystemEventTrigger("before", "shutdown", lambda: ensureDeferred(process.close()))
    with channel:
        attach(process.channel, channel, reactor)
    process.report_prepared()
    for number in (signal.SIGTERM, signal.SIGINT):
        reactor.addSystemEventTrigger("after", "startup", signal.signal, number, signal.SIG_IGN)
    reactor.run()


def _socket(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    made = socket.socket(fileno=descriptor)
    made.setblocking(False)
    return made


def _die_with(supervisor: int) -> None:
    """Have the kernel kill this process together with the supervisor (Linux).

    A blocked worker does not notice that its channel is closed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        raise SystemExit("the process that started this worker is gone")


if __name__ == "__main__":
    main()
