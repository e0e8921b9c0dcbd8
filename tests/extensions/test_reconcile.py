"""The plan, applied to a model: any state becomes any other, and an unchanged listener keeps its socket."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.reconcile import (
    Placed,
    Plan,
    Slot,
    SocketAddress,
    alternatives,
    claimed_ports,
    plan,
    plan_changes,
    shrinks,
    wanted_addresses,
)
from audiosocket.extensions.validation import Validator
from tests.support.loopback_server import no_deadline

VISITOR, RESIDENT = Role.VISITOR, Role.RESIDENT


def extension(extension_id: int, port: int, return_port: int | None = None, number: str = "") -> Extension:
    return Extension(extension_id, number or f"n{extension_id}", "r", "0.0.0.0", port, return_port, 0)


class ListenerModel:
    """The listeners without sockets: each socket is a number that is never used twice."""

    def __init__(self) -> None:
        self.running: dict[int, Extension] = {}
        self.placed: dict[Slot, SocketAddress] = {}
        self.sockets: dict[Slot, int] = {}
        self.unsettled: set[Slot] = set()
        self._numbers = count()

    def wanted(self, desired: Mapping[int, Extension], bind: str = "0.0.0.0") -> dict[Slot, SocketAddress]:
        return {
            (e.id, role): SocketAddress(bind, port) for e in desired.values() for role, port in e.ports().items()
        }

    def plan(self, desired: Mapping[int, Extension], bind: str = "0.0.0.0") -> Plan:
        return plan(desired, self.running, self.wanted(desired, bind), self.placed, frozenset(self.unsettled))

    def apply(self, desired: Mapping[int, Extension], bind: str = "0.0.0.0") -> Plan:
        wanted, steps = self.wanted(desired, bind), self.plan(desired, bind)
        for slot in steps.close:
            del self.placed[slot], self.sockets[slot]
            self.unsettled.discard(slot)
        for key in steps.removed:
            assert not [slot for slot in self.placed if slot[0] == key], "a removed row still has a socket"
            del self.running[key]
        for key in steps.relabel:
            assert key in self.running
            self.running[key] = desired[key]
        for key in steps.added:
            assert key not in self.running
            self.running[key] = desired[key]
        for slot in steps.open:
            assert slot[0] in self.running
            assert wanted[slot].port not in {want.port for want in self.placed.values()}, "the port is still held"
            self.placed[slot], self.sockets[slot] = wanted[slot], next(self._numbers)
        assert set(steps.retry) <= self.unsettled
        return steps


def model_of(*extensions: Extension) -> ListenerModel:
    model = ListenerModel()
    model.apply({e.id: e for e in extensions})
    return model


def by_id(*extensions: Extension) -> dict[int, Extension]:
    return {e.id: e for e in extensions}


ROWS = st.lists(
    st.builds(
        extension,
        st.integers(0, 7),
        st.integers(8080, 8090),
        st.none() | st.integers(8080, 8090),
        st.sampled_from("abcdefghij"),
    ).filter(lambda e: e.port != e.return_port),
    max_size=10,
)


def validated(rows: list[Extension], running: Mapping[int, Extension]) -> dict[int, Extension]:
    validator = Validator(running.values())
    validator.add_entries([row.to_json() for row in rows])
    return by_id(*validator.result().extensions)


@no_deadline
@given(st.lists(st.tuples(ROWS, st.sampled_from(["0.0.0.0", "127.0.0.1"])), min_size=1, max_size=5))
def test_applying_a_plan_to_any_state_gives_the_desired_one(
    tables: list[tuple[list[Extension], str]],
) -> None:
    model = ListenerModel()
    for rows, bind in tables:
        desired = validated(rows, model.running)
        before, placed, sockets = dict(model.running), dict(model.placed), dict(model.sockets)
        steps = model.apply(desired, bind)
        assert model.running == desired
        assert model.placed == model.wanted(desired, bind)
        for slot, want in placed.items():
            if model.placed.get(slot) == want:
                assert model.sockets[slot] == sockets[slot], "an unchanged socket was closed"
        assert set(steps.added) == desired.keys() - before.keys()
        assert set(steps.removed) == before.keys() - desired.keys()
        assert {*steps.added, *steps.updated, *steps.kept} == desired.keys()
        assert steps.stats() == {
            "removed": len(steps.removed),
            "updated": len(steps.updated),
            "added": len(steps.added),
            "total_active": len(desired),
        }
        again = model.plan(desired, bind)
        assert again.empty
        assert (again.close, again.open, again.relabel, again.retry) == ((), (), (), ())


def test_two_rows_swap_their_ports() -> None:
    model = model_of(extension(1, 8080, 8081), extension(2, 8090, 8091))
    steps = model.apply(by_id(extension(1, 8090, 8081), extension(2, 8080, 8091)))
    assert steps.close == steps.open == ((1, VISITOR), (2, VISITOR))
    assert (steps.updated, steps.added, steps.removed) == ((1, 2), (), ())


def test_ports_shift_in_a_ring() -> None:
    ports = [8080, 8081, 8082, 8083]
    model = model_of(*(extension(n, port) for n, port in enumerate(ports)))
    steps = model.apply(by_id(*(extension(n, port) for n, port in enumerate([*ports[1:], ports[0]]))))
    assert steps.updated == (0, 1, 2, 3)


def test_the_two_roles_of_a_row_swap_ports() -> None:
    model = model_of(extension(1, 8080, 8081))
    steps = model.apply(by_id(extension(1, 8081, 8080)))
    assert steps.close == steps.open == ((1, RESIDENT), (1, VISITOR))
    assert steps.updated == (1,)


def test_a_new_row_takes_over_the_old_port_of_another() -> None:
    model = model_of(extension(1, 8080, 8081))
    steps = model.apply(by_id(extension(1, 8090, 8081), extension(2, 8080)))
    assert steps.close == ((1, VISITOR),)
    assert steps.open == ((1, VISITOR), (2, VISITOR))
    model = model_of(extension(1, 8080, 8081))
    steps = model.apply(by_id(extension(2, 8081, 8080)))
    assert (steps.removed, steps.added) == ((1,), (2,))


def test_adding_or_removing_a_return_port_keeps_the_visitors_socket() -> None:
    model = model_of(extension(1, 8080))
    steps = model.apply(by_id(extension(1, 8080, 8081)))
    assert (steps.close, steps.open, steps.updated) == ((), ((1, RESIDENT),), (1,))
    steps = model.apply(by_id(extension(1, 8080)))
    assert (steps.close, steps.open, steps.updated) == (((1, RESIDENT),), (), (1,))


def test_a_change_of_numbers_or_condominium_closes_no_socket() -> None:
    model = model_of(extension(1, 8080, 8081), extension(2, 8090))
    changed = Extension(1, "other", "numbers", "192.0.2.1", 8080, 8081, 99)
    steps = model.apply(by_id(changed, extension(2, 8090)))
    assert (steps.close, steps.open, steps.relabel, steps.updated, steps.kept) == ((), (), (1,), (1,), (2,))


def test_unsettled_listeners_are_retried_unless_they_move() -> None:
    model = model_of(extension(1, 8080, 8081), extension(2, 8090))
    model.unsettled = {(1, VISITOR), (2, VISITOR)}
    assert model.plan(model.running).retry == ((1, VISITOR), (2, VISITOR))
    assert model.plan(model.running).empty
    moved = model.plan(by_id(extension(1, 8082, 8081), extension(2, 8090)))
    assert moved.retry == ((2, VISITOR),)


def test_only_changed_extensions_are_planned_and_all_others_kept() -> None:
    running = by_id(extension(1, 8080), extension(2, 8081), extension(3, 8082))
    desired = by_id(extension(1, 8090), extension(2, 8081), extension(4, 8083))
    changed = {1, 3, 4}
    wanted = wanted_addresses({key: desired[key] for key in changed & desired.keys()}, lambda _: "127.0.0.1")
    assert wanted == {
        (1, VISITOR): SocketAddress("127.0.0.1", 8090),
        (4, VISITOR): SocketAddress("127.0.0.1", 8083),
    }
    placed = {
        (key, VISITOR): Placed(SocketAddress("127.0.0.1", running[key].port), running[key].port) for key in (1, 3)
    }
    steps = plan_changes(desired, running, changed, wanted, placed, frozenset())
    assert steps.close == ((1, VISITOR), (3, VISITOR))
    assert steps.open == ((1, VISITOR), (4, VISITOR))
    assert (steps.added, steps.updated, steps.removed, steps.kept) == ((4,), (1,), (3,), (2,))


def test_a_listener_on_an_alternative_port_is_retried_and_moves_when_a_row_claims_that_port() -> None:
    running = by_id(extension(1, 8080), extension(2, 8090))
    address = SocketAddress("127.0.0.1", 8080)
    wanted = {(1, VISITOR): address}
    placed = {(1, VISITOR): Placed(address, 8081)}
    steps = plan_changes(running, running, {1}, wanted, placed, claimed_ports(list(running.values()), frozenset()))
    assert (steps.retry, steps.close, steps.open) == (((1, VISITOR),), (), ())
    claimed = claimed_ports([extension(1, 8080), extension(2, 8090, 8081)], frozenset({9000}))
    assert claimed == {8080, 8081, 8090, 9000}
    steps = plan_changes(running, running, {1}, wanted, placed, claimed)
    assert (steps.retry, steps.close, steps.open) == ((), ((1, VISITOR),), ((1, VISITOR),))
    failed = {(1, VISITOR): Placed(address, None)}
    steps = plan_changes(running, running, {1}, wanted, failed, claimed)
    assert (steps.retry, steps.close, steps.open) == (((1, VISITOR),), (), ())


def test_alternatives_go_upward_to_fifty_ports_and_skip_claimed_ones() -> None:
    assert alternatives(8080, frozenset({8081, 8083}))[:3] == [8082, 8084, 8085]
    assert alternatives(8080, frozenset()) == list(range(8081, 8131))
    assert alternatives(65_533, frozenset({65_534})) == [65_535]
    assert alternatives(65_535, frozenset()) == []
    assert alternatives(8080, frozenset(range(8000, 9000))) == []


def test_a_table_shrinks_when_it_is_empty_or_has_less_than_half_of_the_running_extensions() -> None:
    for desired, running in ((0, 1), (0, 2000), (1, 3), (49, 100), (999, 2000)):
        assert shrinks(desired, running), (desired, running)
    for desired, running in ((0, 0), (1, 0), (1, 1), (1, 2), (2, 3), (50, 100), (3000, 10)):
        assert not shrinks(desired, running), (desired, running)
