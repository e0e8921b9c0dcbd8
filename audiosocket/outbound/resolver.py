"""Host names to addresses without ever blocking the reactor."""

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

#: Addresses of one name that are given; more would only share a deadline into useless pieces.
MAX_ADDRESSES = 4


class Resolver:
    """Looks names up in the reactor's threads, one lookup per name at a time.

    A lookup that hangs keeps its thread, so a second caller with the same name waits for the first.
    """

    def __init__(self, reactor: IReactorPluggableNameResolver, clock: IReactorTime) -> None:
        self._reactor = reactor
        self._clock = clock
        self._running: dict[str, _Found] = {}

    async def addresses(self, host: str, timeout: float) -> tuple[str, ...]:
        """Up to four addresses of ``host`` in the resolver's order; an IP literal is its own address.

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
    """Collects the addresses of one lookup and hands them to all that wait."""

    def __init__(self, finished: Callable[[], object]) -> None:
        self._finished = finished
        self._addresses: list[str] = []
        self._waiting: list[defer.Deferred[tuple[str, ...]]] = []
        self._complete = False

    def wait(self) -> defer.Deferred[tuple[str, ...]]:
        waiting: defer.Deferred[tuple[str, ...]] = defer.Deferred(self._waiting_no_more)
        self._waiting.append(waiting)
        if self._complete:
            self._hand_out()
        return waiting

    def _waiting_no_more(self, waiting: defer.Deferred[tuple[str, ...]]) -> None:
        self._waiting = [other for other in self._waiting if other is not waiting]

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Nothing to note: a lookup cannot be stopped, only left behind."""

    def addressResolved(self, address: IAddress) -> None:
        self._addresses.append(address.host)  # type: ignore[attr-defined]

    def resolutionComplete(self) -> None:
        self._complete = True
        self._finished()
        self._hand_out()

    def _hand_out(self) -> None:
        waiting, self._waiting = self._waiting, []
        addresses = tuple(dict.fromkeys(self._addresses))[:MAX_ADDRESSES]
        for one in waiting:
            if not one.called:  # cancelled by what an earlier one set off
                one.callback(addresses)
