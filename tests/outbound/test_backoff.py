"""`audiosocket.outbound.backoff`."""

from __future__ import annotations

from audiosocket.outbound.backoff import Backoff


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def test_pauses_double_up_to_the_longest_and_begin_again_after_a_reset() -> None:
    backoff = Backoff(0.5, 15.0, uniform=middle)
    assert [backoff.pause() for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    backoff.reset()
    assert backoff.pause() == 0.5


def test_jitter_is_a_fifth_either_way() -> None:
    asked: list[tuple[float, float]] = []

    def lowest(low: float, high: float) -> float:
        asked.append((low, high))
        return low

    assert Backoff(10.0, 15.0, uniform=lowest).pause() == 8.0
    assert asked == [(0.8, 1.2)]


def test_pauses_of_two_servers_differ() -> None:
    assert len({Backoff().pause() for _ in range(20)}) > 10
