"""Pings on a WebSocket: one some time after the previous answer, and an end when its answer does not come."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from audiosocket.outbound.websocket_interface import WebSocketLimits


class Pings:
    """The pings of one connection, with the times of ``limits``.

    ``send`` sends one. ``lost`` is called with the reason when its answer is too late.
    """

    def __init__(
        self,
        limits: WebSocketLimits,
        clock: IReactorTime,
        send: Callable[[], None],
        lost: Callable[[str], None],
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._send = send
        self._lost = lost
        #: Runs to the next ping, or to the end of the time for a pong.
        self._timer: IDelayedCall | None = None
        self._awaits_pong = False

    def start(self) -> None:
        """Send the first ping after ``ping_seconds``; none if that is 0."""
        if self._limits.ping_seconds:
            self._timer = self._clock.callLater(self._limits.ping_seconds, self._ping)

    def stop(self) -> None:
        """Send and expect nothing any more."""
        self._awaits_pong = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def answered(self) -> None:
        """Take a pong; one that answers no ping changes nothing."""
        if self._awaits_pong:
            self.stop()
            self.start()

    def _ping(self) -> None:
        self._awaits_pong = True
        seconds = self._limits.pong_seconds
        self._timer = self._clock.callLater(seconds, self._lost, f"no answer to a ping within {seconds:g} s")
        self._send()
