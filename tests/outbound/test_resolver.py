"""`audiosocket.outbound.resolver` with resolvers that answer late, never, or with too much."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import defer, error, reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver, IResolutionReceiver
from zope.interface import implementer

from audiosocket.outbound.resolver import Resolver


@implementer(IHostnameResolver)
class Slow:
    """Keeps every question until the test answers it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, IResolutionReceiver]] = []

    def resolveHostName(self, resolutionReceiver: Any, hostName: str, *_: Any, **__: Any) -> Any:
        self.asked.append((hostName, resolutionReceiver))
        resolutionReceiver.resolutionBegan(None)
        return resolutionReceiver

    def answer(self, *hosts: str) -> None:
        _, receiver = self.asked.pop(0)
        for host in hosts:
            receiver.addressResolved(IPv4Address("TCP", host, 0))
        receiver.resolutionComplete()


@pytest.fixture
def resolver() -> Iterator[Slow]:
    slow = Slow()
    before = reactor.installNameResolver(slow)
    yield slow
    reactor.installNameResolver(before)


def ask(lookup: Resolver, host: str, timeout: float = 5.0) -> defer.Deferred[tuple[str, ...]]:
    return defer.ensureDeferred(lookup.addresses(host, timeout))


async def test_an_address_is_its_own_answer(resolver: Slow) -> None:
    lookup = Resolver(reactor, reactor)
    assert await ask(lookup, "127.0.0.1") == ("127.0.0.1",)
    assert await ask(lookup, "0:0::1") == ("::1",)
    assert resolver.asked == []


async def test_those_who_ask_for_the_same_name_share_one_lookup(resolver: Slow) -> None:
    lookup = Resolver(reactor, reactor)
    asking = [ask(lookup, "db.example") for _ in range(3)]
    asking[1].cancel()
    with pytest.raises(defer.CancelledError):
        await asking[1]
    assert [host for host, _ in resolver.asked] == ["db.example"]
    resolver.answer("192.0.2.1", "192.0.2.2", "192.0.2.1", *(f"192.0.2.{n}" for n in range(10, 20)))
    expected = ("192.0.2.1", "192.0.2.2", "192.0.2.10", "192.0.2.11")
    assert (await asking[0], await asking[2]) == (expected, expected)
    later = ask(lookup, "db.example")  # a new question, not an old answer
    resolver.answer("192.0.2.3")
    assert await later == ("192.0.2.3",)


async def test_a_lookup_that_hangs_is_asked_once_and_waited_for_no_longer_than_wanted(resolver: Slow) -> None:
    lookup = Resolver(reactor, reactor)
    for _ in range(3):
        with pytest.raises(defer.TimeoutError):
            await ask(lookup, "db.example", 0.01)
    assert len(resolver.asked) == 1
    at_last = ask(lookup, "db.example")
    resolver.answer("192.0.2.1")
    assert await at_last == ("192.0.2.1",)


async def test_a_name_without_addresses_and_a_name_that_is_none(resolver: Slow) -> None:
    lookup = Resolver(reactor, reactor)
    asking = ask(lookup, "db.example")
    resolver.answer()
    with pytest.raises(error.DNSLookupError, match=r"'db\.example' cannot be resolved"):
        await asking
    with pytest.raises(error.DNSLookupError, match="is not a host name"):
        await ask(lookup, "a" * 64 + ".example")
    assert resolver.asked == []
