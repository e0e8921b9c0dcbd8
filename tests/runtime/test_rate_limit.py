"""The limit on log lines about unauthenticated peers."""

from __future__ import annotations

from audiosocket.runtime.rate_limit import KeyedRateLimit, RateLimit


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


def test_each_key_has_a_limit_of_its_own_and_the_oldest_are_forgotten() -> None:
    limits = KeyedRateLimit(1, 1.0, ManualClock(), most_keys=3)
    assert [limits.of(key).allow() for key in "aabbc"] == [True, False, True, False, True]
    assert limits.of("a").take_suppressed() == 1
    assert limits.of("d").allow()
    assert limits.of("a").allow()  # it was the oldest
