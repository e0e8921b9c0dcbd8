"""Listeners on real sockets: changed ones move, all others keep their sockets, calls go on."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError

from audiosocket.errors import UnknownExtension
from audiosocket.extensions.model import Extension, Role
from tests.support.loopback_server import (
    LOOPBACK,
    CapturedLog,
    extension,
    is_closed,
    loopback_server,
    occupied,
    reactor,
    reactor_turns,
    socket_inode,
    until,
    until_closed,
)
from tests.support.ports import free_ports

VISITOR, RESIDENT = Role.VISITOR, Role.RESIDENT


async def test_only_changed_listeners_move_and_all_others_keep_their_socket() -> None:
    a, b, c, d, e = free_ports(5)
    async with loopback_server() as here:
        await here.apply(extension(1, a, b), extension(2, c))
        before = here.sockets()
        plan = await here.apply(
            Extension(1, "other", "numbers", LOOPBACK, a, b, 99), extension(2, c, d), extension(3, e)
        )
        assert (plan.updated, plan.added, plan.removed) == ((1, 2), (3,), ())
        after = here.sockets()
        assert {slot: after[slot] for slot in before} == before
        assert {slot: port for slot, (port, _) in after.items()} == {
            (1, VISITOR): a, (1, RESIDENT): b, (2, VISITOR): c, (2, RESIDENT): d, (3, VISITOR): e,
        }  # fmt: skip
        caller = await here.call(a)
        assert here.extension_of(caller).number == "other"
        assert (await here.apply(*here.listeners.extensions.values())).empty
        assert here.sockets() == after


async def test_two_rows_swap_ports_while_calls_run_on_both() -> None:
    a, b, c, d = free_ports(4)
    async with loopback_server() as here:
        await here.apply(extension(1, a, c), extension(2, b, d))
        residents = {slot: socket for slot, socket in here.sockets().items() if slot[1] is RESIDENT}
        first, second = await here.call(a), await here.call(b)
        await here.apply(extension(1, b, c), extension(2, a, d))
        assert here.sockets().items() >= residents.items()
        new_first, new_second = await here.call(b), await here.call(a)
        assert [here.extension_of(caller).id for caller in here.callers] == [1, 2, 1, 2]
        assert here.extension_of(first).port == a
        assert here.extension_of(new_first).port == b
        # The echo goes on for all four, and the books say which closed ports still have calls.
        for caller in (first, second, new_first, new_second):
            await caller.until_heard(len(caller.heard) + 1600)
        assert sorted(here.listeners.draining.values()) == sorted([a, b])
        first.hang_up()
        second.hang_up()
        await until(lambda: not here.listeners.draining)


async def test_ports_shift_in_a_ring_and_the_roles_of_a_row_change_places() -> None:
    ports = free_ports(6)
    async with loopback_server() as here:
        rows = [extension(n, ports[2 * n], ports[2 * n + 1]) for n in range(3)]
        await here.apply(*rows)
        turned = [extension(n, ports[(2 * n + 2) % 6], ports[2 * n + 1]) for n in range(3)]
        await here.apply(*turned)
        assert all(port == turned[key].ports()[role] for (key, role), (port, _) in here.sockets().items())
        await here.apply(extension(0, ports[1], ports[0]), *turned[1:2])
        assert here.sockets()[0, VISITOR][0] == ports[1]
        assert here.sockets()[0, RESIDENT][0] == ports[0]
        assert here.listeners.mismatches() == []


async def test_a_removed_extension_refuses_connections_and_its_calls_go_on() -> None:
    a, b = free_ports(2)
    async with loopback_server() as here:
        await here.apply(extension(1, a), extension(2, b))
        caller = await here.call(a)
        plan = await here.apply(extension(2, b))
        assert plan.removed == (1,)
        assert await is_closed(a)
        assert [(factory.extension.id, port) for factory, port in here.listeners.draining.items()] == [(1, a)]
        await caller.until_heard(len(caller.heard) + 3200)
        caller.hang_up()
        await until(lambda: not here.listeners.draining)
        await here.apply(extension(1, a), extension(2, b))
        assert here.extension_of(await here.call(a)).id == 1


async def test_a_restart_reopens_the_ports_and_keeps_the_calls() -> None:
    a, b = free_ports(2)
    async with loopback_server() as here:
        await here.apply(extension(1, a, b))
        before = here.sockets()
        caller = await here.call(a)
        assert (await here.listeners.restart(1)).port == a
        after = here.sockets()
        assert after.keys() == before.keys()
        assert all(after[slot] != before[slot] for slot in before)
        await caller.until_heard(len(caller.heard) + 1600)
        await here.call(a)
        with pytest.raises(UnknownExtension, match="99"):
            await here.listeners.restart(99)


# a port that another program has


async def test_a_busy_port_is_replaced_by_the_next_free_one_that_no_row_claims() -> None:
    a, b, c, d, e = free_ports(5)
    log = CapturedLog()
    async with loopback_server(reserved_ports=frozenset({b})) as here:
        with occupied(a), occupied(d):
            # b is the API's, c another row's, d another program's: e is the next.
            await here.apply(extension(1, a), extension(2, c))
            assert {slot: port for slot, (port, _) in here.sockets().items()} == {(1, VISITOR): e, (2, VISITOR): c}
            (listener,) = here.listeners.services_by_id()[1].listeners.values()
            assert (listener.configured, listener.port) == (a, e)
            (mismatch,) = here.listeners.mismatches()
            assert f"port {a} is in use, listening on {e} instead" in mismatch
            assert len(log.containing(f"instead of {a}")) == 1
            for _ in range(3):
                assert (await here.apply(*here.listeners.extensions.values())).empty
            assert here.sockets()[1, VISITOR][0] == e
            assert len(log.containing(f"instead of {a}")) == 1
        await here.apply(*here.listeners.extensions.values())
        assert here.sockets()[1, VISITOR][0] == a
        assert here.listeners.mismatches() == []
        assert await is_closed(e)
    log.close()


async def test_an_alternative_port_stays_open_until_its_calls_have_ended() -> None:
    a, b = free_ports(2)
    async with loopback_server() as here:
        with occupied(a):
            await here.apply(extension(1, a))
        caller = await here.call(b)
        await here.apply(extension(1, a))
        assert here.sockets()[1, VISITOR][0] == a
        assert here.listeners.mismatches() == []
        (lingering,) = here.listeners.services_by_id()[1].lingering
        socket = socket_inode(lingering)
        other = await here.call(b)
        await here.apply(extension(1, a, number="renamed"))
        assert socket_inode(lingering) == socket
        assert here.extension_of(await here.call(b)).number == "renamed"
        here.callers[-1].hang_up()
        caller.hang_up()
        other.hang_up()
        await until(lambda: not here.listeners.services_by_id()[1].lingering)
        await until_closed(b)
        await here.call(a)


async def test_an_alternative_port_is_given_up_when_a_row_claims_it() -> None:
    a, b, c = free_ports(3)
    async with loopback_server() as here:
        with occupied(a):
            await here.apply(extension(1, a))
            assert here.sockets()[1, VISITOR][0] == b
            squatter = await here.call(b)
            await here.apply(extension(1, a), extension(2, b))
            assert {slot: port for slot, (port, _) in here.sockets().items()} == {(1, VISITOR): c, (2, VISITOR): b}
            assert here.extension_of(await here.call(b)).id == 2
            await squatter.until_heard(len(squatter.heard) + 640)


async def test_a_lingering_port_is_given_up_when_a_row_claims_it() -> None:
    a, b = free_ports(2)
    async with loopback_server() as here:
        with occupied(a):
            await here.apply(extension(1, a))
        caller = await here.call(b)
        await here.apply(extension(1, a))
        assert here.listeners.services_by_id()[1].lingering
        await here.apply(extension(1, a), extension(2, b))
        assert not here.listeners.services_by_id()[1].lingering
        assert here.sockets()[2, VISITOR][0] == b
        await caller.until_heard(len(caller.heard) + 640)
        assert list(here.listeners.draining.values()) == [b]


async def test_removing_or_moving_a_row_closes_what_lingers_for_it() -> None:
    a, b, c = free_ports(3)
    async with loopback_server() as here:
        with occupied(a):
            await here.apply(extension(1, a))
        caller = await here.call(b)
        await here.apply(extension(1, a))
        await here.apply(extension(1, c))
        assert here.sockets()[1, VISITOR][0] == c
        await here.apply()
        assert await is_closed(a)
        assert await is_closed(b)
        assert await is_closed(c)
        await caller.until_heard(len(caller.heard) + 640)


class Refusing:
    """The reactor, but some ports cannot be had, for reasons a test run as root cannot bring about."""

    def __init__(self, **numbers: int) -> None:
        self.errors: dict[int, int] = {int(name[1:]): number for name, number in numbers.items()}

    def listenTCP(self, port: int, *arguments: Any, **options: Any) -> Any:
        if port in self.errors:
            raise CannotListenError(LOOPBACK, port, OSError(self.errors[port], "refused by the test"))
        return reactor.listenTCP(port, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # claims no interface, so that listenTCP is what is called
        return getattr(reactor, name)


async def test_ports_that_cannot_be_opened_are_reported_and_concern_no_other() -> None:
    a, b, c, d = free_ports(4)
    refusing = Refusing(**{f"p{a}": errno.EACCES, f"p{d}": errno.EADDRNOTAVAIL})
    log = CapturedLog()
    async with loopback_server(its_reactor=refusing) as here:
        for _ in range(3):
            await here.apply(extension(1, a, b), extension(2, c, d))
            assert here.sockets().keys() == {(1, RESIDENT), (2, VISITOR)}
            first, second = here.listeners.mismatches()
            assert first.startswith("extension 1: visitor port")
            assert "privileges" in first
            assert second.startswith("extension 2: resident port")
        assert len(log.containing("not listening for")) == 2
        refusing.errors.clear()
        before = here.sockets()
        await here.apply(extension(1, a, b), extension(2, c, d))
        assert here.listeners.mismatches() == []
        assert here.sockets().items() >= before.items()
        await here.call(a)
    log.close()


async def test_no_free_port_within_fifty_is_reported_and_found_later() -> None:
    a, b = free_ports(2)
    refusing = Refusing(**{f"p{port}": errno.EADDRINUSE for port in range(a, a + 51)})
    async with loopback_server(its_reactor=refusing) as here:
        await here.apply(extension(1, a))
        assert here.sockets() == {}
        assert here.listeners.mismatches() == [f"extension 1: visitor port {a} is in use by another program"]
        del refusing.errors[b]
        await here.apply(extension(1, a))
        assert here.sockets()[1, VISITOR][0] == b
        await here.listeners.restart(1)
        assert here.sockets()[1, VISITOR][0] == b
        refusing.errors.clear()
        await here.listeners.restart(1)
        assert here.sockets()[1, VISITOR][0] == a


async def test_a_row_cannot_have_the_port_of_the_api() -> None:
    a, b = free_ports(2)
    async with loopback_server(reserved_ports=frozenset({a})) as here:
        await here.apply(extension(1, a))
        assert here.sockets()[1, VISITOR][0] == b
        assert f"port {a} is in use" in here.listeners.mismatches()[0]
        await here.apply(extension(1, a))
        assert here.sockets()[1, VISITOR][0] == b


# cut off in the middle


async def test_an_apply_that_was_cancelled_is_completed_by_the_next() -> None:
    ports = free_ports(20)
    rows = [extension(n, port) for n, port in enumerate(ports)]
    async with loopback_server() as here:
        await here.apply(*rows[:3])
        applying = Deferred.fromCoroutine(here.apply(*rows))
        await reactor_turns(1)
        assert 3 < len(here.sockets()) < 20
        assert here.listeners.mismatches()[-1] == f"extension 19: visitor port {ports[19]} is not open yet"
        applying.addErrback(lambda failure: failure.trap(CancelledError))
        applying.cancel()
        await applying
        await here.apply(*rows)
        assert len(here.sockets()) == 20
        assert here.listeners.mismatches() == []


async def test_two_applies_at_once_take_turns() -> None:
    ports = free_ports(20)
    async with loopback_server() as here:
        first = Deferred.fromCoroutine(here.apply(*(extension(n, port) for n, port in enumerate(ports))))
        await here.apply(*(extension(n, port) for n, port in enumerate(reversed(ports))))
        assert len((await first).added) == 20
        assert {key: port for (key, _), (port, _) in here.sockets().items()} == dict(enumerate(reversed(ports)))


async def test_a_stop_during_an_apply_leaves_nothing_open() -> None:
    ports = free_ports(20)
    async with loopback_server() as here:
        applying = Deferred.fromCoroutine(here.apply(*(extension(n, port) for n, port in enumerate(ports))))
        await reactor_turns(2)
        await here.listeners.stopService()
        await applying
        for port in ports:
            assert await is_closed(port)


# addresses


async def test_the_row_s_address_is_bound_if_it_is_this_machine_s_else_all_with_one_warning() -> None:
    a, b, c = free_ports(3)
    log = CapturedLog()
    async with loopback_server() as here:
        rows = (extension(1, a, ip="127.0.0.2"), extension(2, b, ip="192.0.2.1"), extension(3, c, ip="pbx"))
        for _ in range(3):
            await here.apply(*rows)
            here.listeners.preview(rows)
        binds = {key: s.listeners[VISITOR].bind for key, s in here.listeners.services_by_id().items()}
        assert binds == {1: "127.0.0.2", 2: "0.0.0.0", 3: "0.0.0.0"}
        assert await is_closed(a)  # 127.0.0.1 is another address
        assert len(log.containing("is not an address of this machine")) == 2
        before = here.sockets()
        await here.apply(extension(1, a, ip="127.0.0.3"), extension(2, b, ip="192.0.2.9"), rows[2])
        after = here.sockets()
        assert after[1, VISITOR] != before[1, VISITOR]
        assert after[2, VISITOR] == before[2, VISITOR]
    log.close()


async def test_bind_address_overrides_every_row() -> None:
    a, b = free_ports(2)
    log = CapturedLog()
    async with loopback_server(bind_address="127.0.0.2") as here:
        await here.apply(extension(1, a, ip="127.0.0.1"), extension(2, b, ip="192.0.2.1"))
        assert {s.listeners[VISITOR].bind for s in here.listeners.services_by_id().values()} == {"127.0.0.2"}
        assert await is_closed(a)
        assert log.containing("is not an address of this machine") == []
    log.close()


# many of them


class Counting:
    """The reactor, which counts how many ports were opened and closed since its last turn."""

    def __init__(self) -> None:
        self.moved = 0
        self.most = 0

    def listenTCP(self, port: int, *arguments: Any, **options: Any) -> Any:
        listening = reactor.listenTCP(port, *arguments, **options)
        close = listening.stopListening

        def count_and_close() -> Any:
            self._count()
            return close()

        listening.stopListening = count_and_close
        self._count()
        return listening

    def _count(self) -> None:
        if not self.moved:
            reactor.callLater(0, self._turn)
        self.moved += 1
        self.most = max(self.most, self.moved)

    def _turn(self) -> None:
        self.moved = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # claims no interface, so that listenTCP is what is called
        return getattr(reactor, name)


async def test_five_hundred_extensions_are_applied_changed_and_removed_a_few_in_each_turn() -> None:
    ports = free_ports(1001)
    rows = [extension(n, ports[2 * n], ports[2 * n + 1]) for n in range(500)]
    moved = [extension(n, ports[2 * n + 2], ports[2 * n + 1]) for n in range(500)]
    counting = Counting()
    async with loopback_server(its_reactor=counting) as here:
        for desired in (rows, moved, moved, []):
            await here.apply(*desired)
            assert len(here.sockets()) == 2 * len(desired)
    assert 0 < counting.most <= 8


async def test_a_port_is_taken_as_soon_as_it_is_free_without_a_refresh() -> None:
    a, b = free_ports(2)
    async with loopback_server() as here:
        with occupied(a), occupied(b):
            await here.apply(extension(1, a, b))
            alternative = here.sockets()[1, VISITOR][0]
            caller = await here.call(alternative)
            assert len(here.listeners.mismatches()) == 2
        await until(lambda: not here.listeners.mismatches())
        assert {slot: port for slot, (port, _) in here.sockets().items()} == {(1, VISITOR): a, (1, RESIDENT): b}
        await caller.until_heard(len(caller.heard) + 640)
        caller.hang_up()
        await until(lambda: not here.listeners.services_by_id()[1].lingering)
        await until_closed(alternative)


async def test_a_port_that_could_not_be_opened_at_all_is_tried_again_and_logged_once() -> None:
    a, b, c = free_ports(3)
    refusing = Refusing(**{f"p{a}": errno.EACCES, f"p{b}": errno.EADDRNOTAVAIL})
    heard = CapturedLog()
    async with loopback_server(its_reactor=refusing) as here:
        await here.apply(extension(1, a, b), extension(2, c))
        tried = here.listeners.generation
        await until(lambda: here.listeners.generation > tried + 4)
        assert len(heard.containing("not listening for")) == 2
        refusing.errors.clear()
        await until(lambda: not here.listeners.mismatches())
        await here.call(a)
    heard.close()


async def test_ports_that_are_closed_for_a_stop_are_not_opened_again() -> None:
    (a,) = free_ports(1)
    async with loopback_server() as here:
        with occupied(a):
            await here.apply(extension(1, a))
            await here.listeners.stop_accepting(VISITOR)
        await here.listeners.retry()
        assert await is_closed(a)
        assert here.sockets() == {}
