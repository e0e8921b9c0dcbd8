"""The new process at an upgrade: built as always, it says that it is ready and begins with what it is given."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from audiosocket.errors import AudioSocketError
from audiosocket.server.reactor import ServerReactor
from audiosocket.upgrade.channel import BEGIN, DONE, READY, REFUSED, TAKEN, HandOverChannel
from audiosocket.upgrade.codec import decode

#: Takes a value and its descriptors, and returns what begins with them; raises `AudioSocketError` for why not.
Prepare = Callable[[Any, Sequence[int]], Callable[[Callable[[], object]], object]]


def _refuse_all(saved: Any, descriptors: Sequence[int]) -> Callable[[Callable[[], object]], object]:
    raise AudioSocketError("the parts of this process are not there yet")


@implementer(IReadDescriptor)
class Successor:
    """Begins in the place of the process at the other end of ``channel``; implements `single_process.Beginning`.

    ``warm_up`` does what takes long, before the other process stops. ``prepare`` must touch nothing that the other
    process may go on with.
    """

    _log = Logger()

    def __init__(
        self,
        channel: HandOverChannel,
        reactor: ServerReactor,
        *,
        warm_up: Callable[[], object],
    ) -> None:
        self._channel = channel
        self._reactor = reactor
        self._warm_up = warm_up
        #: Set once all parts of the process are there.
        self.prepare: Prepare = _refuse_all
        self._start: Callable[[], object] | None = None

    def begin(self, start: Callable[[], object]) -> None:
        """Say that this process is ready, and call ``start`` when the other one has handed over."""
        self._start = start
        self._warm_up()
        gc.freeze()  # all that is there outlives the calls, and they are there before `GCPolicy` could do it
        self._channel.send(READY)
        self._reactor.addReader(self)

    def cancel(self) -> bool:
        """Take nothing over; return whether nothing was started yet."""
        if self._start is None:
            return False
        self._start = None
        self._reactor.removeReader(self)
        self._channel.close()
        return True

    def doRead(self) -> None:
        """Take over: everything at once, as nobody serves the calls meanwhile."""
        start = self._start
        if start is None:
            return
        try:
            data, descriptors = self._channel.receive_all()
        except OSError as error:
            self._log.error("nothing was handed over: {why}", why=str(error))
            self._reactor.stop()
            return
        try:
            go_on = self.prepare(decode(data), descriptors)
        except AudioSocketError as error:
            self._refuse(str(error))
            return
        except Exception as error:  # noqa: BLE001 - the calls must stay where they are
            self._log.failure("what was handed over cannot be used")
            self._refuse(f"{type(error).__name__}: {error}")
            return
        try:
            self._channel.send(TAKEN)
            self._channel.expect(BEGIN)
        except OSError as error:
            self._log.error("the previous process goes on: {why}", why=str(error))
            self._reactor.stop()
            return
        self._start = None
        self._reactor.removeReader(self)
        go_on(start)
        try:
            self._channel.send(DONE)
        except OSError as error:
            self._log.warn("the previous process is gone already: {why}", why=str(error))
        self._channel.close()

    def _refuse(self, why: str) -> None:
        try:
            self._channel.send(REFUSED + why.encode()[:1_000])
        except OSError:
            self._log.warn("the previous process is gone")
        self._reactor.stop()

    def fileno(self) -> int:
        return self._channel.fileno()

    def logPrefix(self) -> str:
        return "upgrade"

    def connectionLost(self, reason: object) -> None:
        """Do nothing; the reactor calls it when it stops."""
