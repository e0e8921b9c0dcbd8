"""A name resolver that keeps every question until the test answers it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from tests.support.reactor import reactor


@implementer(IHostResolution)
class _Lookup:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Nothing runs."""


@implementer(IHostnameResolver)
class SlowResolver:
    """``asked`` has the names and receivers of questions without an answer, oldest first."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, IResolutionReceiver]] = []

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        self.asked.append((hostName, resolutionReceiver))
        lookup = _Lookup(hostName)
        resolutionReceiver.resolutionBegan(lookup)
        return lookup

    def answer(self, *hosts: str) -> None:
        """Answer the oldest question."""
        _, receiver = self.asked.pop(0)
        for host in hosts:
            receiver.addressResolved(IPv4Address("TCP", host, 0))
        receiver.resolutionComplete()


@pytest.fixture
def resolver() -> Iterator[SlowResolver]:
    """Install a `SlowResolver` in the reactor."""
    slow = SlowResolver()
    before = reactor.installNameResolver(slow)
    yield slow
    reactor.installNameResolver(before)
