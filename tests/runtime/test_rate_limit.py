"""The bound on lines about strangers."""

from __future__ import annotations

from audiosocket.runtime.rate_limit import RateLimit


class Hands:
    """A clock moved by hand, in seconds."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lets_so_many_through_per_period_and_counts_the_rest() -> None:
    clock = Hands()
    quota = RateLimit(3, 1.0, clock)
    assert [quota.take() for _ in range(5)] == [True, True, True, False, False]
    assert quota.told() == 2
    assert quota.told() == 0


def test_a_new_period_begins_when_the_old_one_is_over() -> None:
    clock = Hands()
    quota = RateLimit(1, 1.0, clock)
    assert [quota.take(), quota.take()] == [True, False]
    clock.now += 0.999
    assert not quota.take()
    clock.now += 0.001
    assert quota.take()
    assert quota.told() == 2
