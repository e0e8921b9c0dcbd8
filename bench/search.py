"""The greatest number of calls that a server carries. Pure."""

from __future__ import annotations

from collections.abc import Callable

#: The search ends when the greatest number that holds and the least that does not are this close.
STEP = 1.04
STRIDE = 1.3


def most_calls(holds: Callable[[int], bool], start: int, limit: int) -> int:
    """The greatest number up to ``limit`` for which ``holds``, to 4 %; 0 when not even 1 does.

    Looks from ``start`` in strides of 30 %, then halves the gap.
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
