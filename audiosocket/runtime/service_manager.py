"""Messages for the service manager that started the process: the protocol of ``sd_notify(3)``.

systemd gives the process a datagram socket in ``NOTIFY_SOCKET``. It is sent READY=1 once the ports are open,
STATUS= when that changes, STOPPING=1 at the beginning of the drain, and WATCHDOG=1 as long as the reactor is on
time: with ``WatchdogSec=`` systemd restarts a process whose callers hear nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: The longest interval between two looks at the state, in seconds.
LOOK_SECONDS = 0.5
#: A reactor that calls us later than this is not on time, in seconds: callers have heard a gap.
MAX_LATE_SECONDS = 0.5
#: Looks in the time of the watchdog.
LOOKS_PER_WATCHDOG = 4


class NotifySocket:
    """Sends messages to the socket ``address``; one that begins with ``@`` has no file. Never blocks or raises."""

    _log = Logger()

    def __init__(self, address: str) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        self._complained = False

    def send(self, message: str) -> None:
        """Send one message; a failure is logged once."""
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._complained:
                self._complained = True
                self._log.warn("the service manager cannot be notified: {reason}", reason=error.strerror)

    def close(self) -> None:
        """Close the socket; what is sent afterwards is lost."""
        self._socket.close()


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """Return after how many seconds without WATCHDOG=1 the manager restarts this process; None for never."""
    if environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    try:
        return int(environment.get("WATCHDOG_USEC", "")) / 1_000_000 or None
    except ValueError:
        return None


class ServiceManagerMessages(Service):
    """Sends the messages. ``ready``, ``ending`` and ``status`` return the state."""

    def __init__(
        self,
        to: NotifySocket,
        clock: IReactorTime,
        *,
        ready: Callable[[], bool],
        ending: Callable[[], str],
        status: Callable[[], str],
        watchdog: float | None = None,
    ) -> None:
        self._to = to
        self._clock = clock
        self._ready = ready
        self._ending = ending
        self._status = status
        self._watchdog = watchdog
        self._interval = LOOK_SECONDS if watchdog is None else min(LOOK_SECONDS, watchdog / LOOKS_PER_WATCHDOG)
        #: When the next look, and the next WATCHDOG=1 are due.
        self._due = self._beat_due = 0.0
        self._look: IDelayedCall | None = None
        self._sent: set[str] = set()
        self._sent_status = ""

    def upgrading(self, what: str, pid: int) -> None:
        """Report an upgrade that is "starting", has "failed", or after which process ``pid`` is the main one."""
        if what == "starting":
            self._to.send(f"RELOADING=1\nMONOTONIC_USEC={int(time.monotonic() * 1_000_000)}")
        elif what == "leaving":
            self._to.send(f"MAINPID={pid}")
        else:
            self._to.send("READY=1")

    def startService(self) -> None:
        super().startService()
        self._due = self._clock.seconds()
        self._look = self._clock.callLater(0, self._look_again)

    def stopService(self) -> None:
        super().stopService()
        if self._look is not None and self._look.active():
            self._look.cancel()
        self._once("STOPPING=1")
        self._to.close()

    def _look_again(self) -> None:
        now = self._clock.seconds()
        on_time = now - self._due <= MAX_LATE_SECONDS
        self._due = now + self._interval
        self._look = self._clock.callLater(self._interval, self._look_again)
        ending = self._ending()
        if ending:
            self._once("STOPPING=1")
        elif self._ready():
            self._once("READY=1")
        status = " ".join(f"{ending + ', ' if ending else ''}{self._status()}".split())
        if status != self._sent_status:
            self._sent_status = status
            self._to.send(f"STATUS={status}")
        if self._watchdog is not None and on_time and now >= self._beat_due:
            self._beat_due = now + self._watchdog / LOOKS_PER_WATCHDOG
            self._to.send("WATCHDOG=1")

    def _once(self, message: str) -> None:
        if message not in self._sent:
            self._sent.add(message)
            self._to.send(message)


def messages_for(
    environment: Mapping[str, str],
    clock: IReactorTime,
    *,
    ready: Callable[[], bool],
    ending: Callable[[], str],
    status: Callable[[], str],
) -> ServiceManagerMessages | None:
    """Return the service, None where ``environment`` names no socket."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return None
    return ServiceManagerMessages(
        NotifySocket(address),
        clock,
        ready=ready,
        ending=ending,
        status=status,
        watchdog=watchdog_seconds(environment, os.getpid()),
    )
