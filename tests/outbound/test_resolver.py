"""`audiosocket.outbound.resolver` with resolvers that answer late, never, or with too much."""

from __future__ import annotations

import pytest
from twisted.internet import defer, error

from audiosocket.outbound.resolver import Resolver
from tests.support.reactor import reactor
from tests.support.slow_resolver import SlowResolver


def ask(lookup: Resolver, host: str, timeout: float = 5.0) -> defer.Deferred[tuple[str, ...]]:
    return defer.ensureDeferred(lookup.addresses(host, timeout))


async def test_an_ip_address_needs_no_lookup(resolver: SlowResolver) -> None:
    lookup = Resolver(reactor, reactor)
    assert await ask(lookup, "127.0.0.1") == ("127.0.0.1",)
    assert await ask(lookup, "0:0::1") == ("::1",)
    assert resolver.asked == []


async def test_callers_with_the_same_name_share_one_lookup(resolver: SlowResolver) -> None:
    lookup = Resolver(reactor, reactor)
    asking = [ask(lookup, "db.example") for _ in range(3)]
    asking[1].cancel()
    with pytest.raises(defer.CancelledError):
        await asking[1]
    assert [host for host, _ in resolver.asked] == ["db.example"]
    resolver.answer("192.0.2.1", "192.0.2.2", "192.0.2.1", *(f"192.0.2.{n}" for n in range(10, 20)))
    expected = ("192.0.2.1", "192.0.2.2", "192.0.2.10", "192.0.2.11")
    assert (await asking[0], await asking[2]) == (expected, expected)
    later = ask(lookup, "db.example")  # a new lookup: answers are not cached
    resolver.answer("192.0.2.3")
    assert await later == ("192.0.2.3",)


async def test_a_lookup_that_hangs_runs_once_and_each_caller_has_a_time_out(
    resolver: SlowResolver,
) -> None:
    lookup = Resolver(reactor, reactor)
    for _ in range(3):
        with pytest.raises(defer.TimeoutError):
            await ask(lookup, "db.example", 0.01)
    assert len(resolver.asked) == 1
    at_last = ask(lookup, "db.example")
    resolver.answer("192.0.2.1")
    assert await at_last == ("192.0.2.1",)


async def test_a_name_without_addresses_and_an_invalid_name(resolver: SlowResolver) -> None:
    lookup = Resolver(reactor, reactor)
    asking = ask(lookup, "db.example")
    resolver.answer()
    with pytest.raises(error.DNSLookupError, match=r"'db\.example' cannot be resolved"):
        await asking
    with pytest.raises(error.DNSLookupError, match="is not a host name"):
        await ask(lookup, "a" * 64 + ".example")
    assert resolver.asked == []
