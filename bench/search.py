"""A search for the largest number of calls that a server handles. Pure."""

from __future__ import annotations

from collections.abc import Callable

#: The search ends when the largest number that holds and the smallest that does not have this ratio.
STEP = 1.04
STRIDE = 1.3


def max_calls(holds: Callable[[int], bool], start: int, limit: int) -> int:
    """Return the largest number up to ``limit`` for which ``holds``, to 4 %; 0 when it does not hold for 1.

    The search goes from ``start`` in steps of 30 %, then bisects.
    """
    good, bad = 0, limit + 1
    calls = min(start, limit)
    while good < calls < bad and not (good and bad <= limit):
        if holds(calls):
            good = calls
            calls = limit if good * STRIDE >= limit else int(good * STRIDE)
        else:
            bad = calls
            calls = int(bad / STRIDE)
    while good and bad <= limit and bad - good > 1 and bad / good > STEP:
        middle = (good + bad) // 2
        if holds(middle):
            good = middle
        else:
            bad = middle
    return good
