"""`TimeoutQueue`, compared with a model that keeps all time-outs in one dict."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from audiosocket.transport.timeouts import TimeoutQueue
from tests.support.loopback_server import no_deadline

DURATIONS = (2.0, 5.0)
steps = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 5), st.sampled_from(DURATIONS)),
    st.tuples(st.just("drop"), st.integers(0, 5), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([1, 3, 4]), st.none()),
)


def test_each_timeout_fires_once_when_due() -> None:
    timeouts, fired = TimeoutQueue(), list[str]()
    timeouts.set("a", 5.0, 5.0, lambda: fired.append("a"))
    timeouts.set("b", 2.0, 2.0, lambda: fired.append("b"))
    assert timeouts.pop(1.9) is None
    for now, expected in ((2.0, ["b"]), (5.0, ["b", "a"])):
        then = timeouts.pop(now)
        assert then is not None
        then()
        assert fired == expected
        assert timeouts.pop(now) is None
    assert not timeouts


def test_a_rounding_error_does_not_delay_a_timeout() -> None:
    timeouts = TimeoutQueue()
    timeouts.set("a", 0.1 + 0.2, 0.3, lambda: None)
    assert timeouts.pop(0.3) is not None


@no_deadline
@given(st.lists(steps, max_size=60))
def test_it_behaves_as_a_plain_dict_of_deadlines(done: list[tuple[str, int, float | None]]) -> None:
    timeouts, model, now, fired = TimeoutQueue(), dict[int, float](), 0.0, list[int]()

    def fire(key: int) -> Callable[[], None]:
        return lambda: fired.append(key)

    for what, number, seconds in done:
        if what == "set":
            assert seconds is not None
            timeouts.set(number, now + seconds, seconds, fire(number))
            model[number] = now + seconds
        elif what == "drop":
            assert timeouts.drop(number) == (model.pop(number, None) is not None)
        else:
            now += number
            fired.clear()
            while (then := timeouts.pop(now)) is not None:
                then()
            due = {key for key, at in model.items() if at <= now}
            assert sorted(fired) == sorted(due)
            model = {key: at for key, at in model.items() if key not in due}
        assert len(timeouts) == len(model)
