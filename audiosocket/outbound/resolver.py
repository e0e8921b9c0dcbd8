"""Host names to addresses without blocking the reactor."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from twisted.internet import defer, error
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IReactorPluggableNameResolver,
    IReactorTime,
    IResolutionReceiver,
)
from zope.interface import implementer

#: Addresses of one name that are returned; more of them would divide a time-out into useless parts.
MAX_ADDRESSES = 4


class Resolver:
    """Looks names up in the reactor's threads, one lookup per name at a time.

    A lookup that hangs keeps its thread, so a second caller with the same name shares it.
    """

    def __init__(self, reactor: IReactorPluggableNameResolver, clock: IReactorTime) -> None:
        self._reactor = reactor
        self._clock = clock
        self._running: dict[str, _Found] = {}

    async def addresses(self, host: str, timeout: float) -> tuple[str, ...]:
        """Return up to `MAX_ADDRESSES` addresses of ``host``, in the resolver's order; an IP address is its own.

        Raises DNSLookupError when there is none, TimeoutError after ``timeout`` seconds.
        """
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            found = self._running.get(host)
        if found is None:
            try:
                host.encode("idna")
            except UnicodeError:
                raise error.DNSLookupError(f"{host!r} is not a host name") from None
            found = self._running[host] = _Found(lambda: self._running.pop(host))
            self._reactor.nameResolver.resolveHostName(found, host)
        addresses = await found.wait().addTimeout(timeout, self._clock)
        if not addresses:
            raise error.DNSLookupError(f"the name {host!r} cannot be resolved")
        return addresses


@implementer(IResolutionReceiver)
class _Found:
    """Collects the addresses of one lookup for all callers that wait for it."""

    def __init__(self, finished: Callable[[], object]) -> None:
        self._finished = finished
        self._addresses: list[str] = []
        self._waiting: list[defer.Deferred[tuple[str, ...]]] = []
        self._complete = False

    def wait(self) -> defer.Deferred[tuple[str, ...]]:
        waiting: defer.Deferred[tuple[str, ...]] = defer.Deferred(self._forget)
        self._waiting.append(waiting)
        if self._complete:
            self._deliver()
        return waiting

    def _forget(self, waiting: defer.Deferred[tuple[str, ...]]) -> None:
        self._waiting = [other for other in self._waiting if other is not waiting]

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Ignore the handle: a lookup in a thread cannot be stopped."""

    def addressResolved(self, address: IAddress) -> None:
        self._addresses.append(address.host)  # type: ignore[attr-defined]

    def resolutionComplete(self) -> None:
        self._complete = True
        self._finished()
        self._deliver()

    def _deliver(self) -> None:
        waiting, self._waiting = self._waiting, []
        addresses = tuple(dict.fromkeys(self._addresses))[:MAX_ADDRESSES]
        for each in waiting:
            if not each.called:  # cancelled because of what an earlier one did
                each.callback(addresses)
