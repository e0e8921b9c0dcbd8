"""The limit on log lines about unauthenticated peers."""

from __future__ import annotations

from audiosocket.runtime.rate_limit import RateLimit


class ManualClock:
    """A clock that the test moves, in seconds."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_number_of_lines_is_allowed_per_period_and_the_rest_is_counted() -> None:
    clock = ManualClock()
    limit = RateLimit(3, 1.0, clock)
    assert [limit.allow() for _ in range(5)] == [True, True, True, False, False]
    assert limit.take_suppressed() == 2
    assert limit.take_suppressed() == 0


def test_a_new_period_begins_when_the_previous_one_is_over() -> None:
    clock = ManualClock()
    limit = RateLimit(1, 1.0, clock)
    assert [limit.allow(), limit.allow()] == [True, False]
    clock.now += 0.999
    assert not limit.allow()
    clock.now += 0.001
    assert limit.allow()
    assert limit.take_suppressed() == 2
