"""Time-outs without timers: against a model that keeps them all in one list."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from audiosocket.transport.timeouts import TimeoutQueue
from tests.support.loopback_server import calm

SPANS = (2.0, 5.0)
steps = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 5), st.sampled_from(SPANS)),
    st.tuples(st.just("drop"), st.integers(0, 5), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([1, 3, 4]), st.none()),
)


def test_each_is_due_once_in_its_time() -> None:
    deadlines, fired = TimeoutQueue(), list[str]()
    deadlines.set("a", 5.0, 5.0, lambda: fired.append("a"))
    deadlines.set("b", 2.0, 2.0, lambda: fired.append("b"))
    assert deadlines.pop(1.9) is None
    for now, expected in ((2.0, ["b"]), (5.0, ["b", "a"])):
        then = deadlines.pop(now)
        assert then is not None
        then()
        assert fired == expected
        assert deadlines.pop(now) is None
    assert not deadlines


def test_a_sum_of_floats_that_is_a_hair_short_is_reached() -> None:
    deadlines = TimeoutQueue()
    deadlines.set("a", 0.1 + 0.2, 0.3, lambda: None)
    assert deadlines.pop(0.3) is not None


@calm
@given(st.lists(steps, max_size=60))
def test_it_does_what_a_plain_list_does(done: list[tuple[str, int, float | None]]) -> None:
    deadlines, model, now, fired = TimeoutQueue(), dict[int, float](), 0.0, list[int]()

    def fire(key: int) -> Callable[[], None]:
        return lambda: fired.append(key)

    for what, number, span in done:
        if what == "set":
            assert span is not None
            deadlines.set(number, now + span, span, fire(number))
            model[number] = now + span
        elif what == "drop":
            assert deadlines.drop(number) == (model.pop(number, None) is not None)
        else:
            now += number
            fired.clear()
            while (then := deadlines.pop(now)) is not None:
                then()
            due = {key for key, at in model.items() if at <= now}
            assert sorted(fired) == sorted(due)
            model = {key: at for key, at in model.items() if key not in due}
        assert len(deadlines) == len(model)
