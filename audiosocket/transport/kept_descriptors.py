"""The file descriptors that calls need whatever else happens: taken at the start and kept until the end."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service

from audiosocket.transport.accept_gate import AcceptGate


class KeptDescriptors(Service):
    """Takes the descriptors of clock and sockets, and fills the reserve of the ``gate``, at the start.

    ``keep`` is called with True at the start and with False at the end; it may raise OSError at the start, without
    which a server would begin that has no clock.
    """

    def __init__(self, keep: Callable[[bool], None], gate: AcceptGate) -> None:
        self._keep = keep
        self._gate = gate

    def startService(self) -> None:
        self._keep(True)
        self._gate.start()
        super().startService()

    def stopService(self) -> None:
        super().stopService()
        self._gate.stop()
        self._keep(False)
