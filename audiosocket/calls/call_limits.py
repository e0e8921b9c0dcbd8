"""How many calls there may be, how fast they may begin, and how long one may last.

The defaults are far above what an Asterisk does; its calls come from one peer. Several processes share the limits
on calls: each refuses on the sum of its own calls and of those it knows the others have. Pure: the time is an
argument, in seconds. For every limit 0 means none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from audiosocket.calls.outcomes import LegOutcome


@dataclass(frozen=True)
class Limits:
    """The settings; numbers of calls, calls per second, seconds."""

    calls: int = 0
    calls_per_peer: int = 0
    calls_per_extension: int = 0
    calls_per_second: int = 0
    call_seconds: int = 0
    idle_seconds: int = 0


class LegFacts(NamedTuple):
    """What is looked at of a leg; times in seconds."""

    key: object
    call_started: float
    last_received: float
    #: Frames it was sent that were not silence.
    spoken: int


_Leg = TypeVar("_Leg")


class SharedCounts:
    """Live calls by what they are limited by: those of this process, and of the others that share its limits.

    ``changed`` is called after each change of the own ones; None where there are no others. `take_changes` is what
    the others have to learn, `learn` takes what they have.
    """

    def __init__(self, changed: Callable[[], object] | None = None) -> None:
        self.changed = changed
        self._own: Counter[str] = Counter()
        self._others: dict[str, int] = {}
        self._changed: set[str] = set()
        self._begun = 0

    def number(self, key: str) -> int:
        """Return the sum of all processes, as far as it is known here."""
        return self._own[key] + self._others.get(key, 0)

    def change(self, keys: tuple[str, ...], by: int) -> None:
        """Count one more (1) or one less (-1) under each of ``keys``."""
        for key in keys:
            self._own[key] += by
            if not self._own[key]:  # or every address would be kept for ever
                del self._own[key]
        if self.changed is not None:  # or nobody takes them
            self._changed.update(keys)
            self.changed()

    def begun(self) -> None:
        """Count a call that begins, for the limit of calls per second."""
        if self.changed is not None:
            self._begun += 1
            self.changed()

    def take_changes(self) -> tuple[dict[str, int], int]:
        """Return the own numbers that have changed since they were taken, and how many calls have begun."""
        numbers = {key: self._own[key] for key in self._changed}
        begun, self._begun = self._begun, 0
        self._changed.clear()
        return numbers, begun

    def learn(self, numbers: Mapping[str, int]) -> None:
        """Take sums of the other processes; those that are not contained stay as they are."""
        for key, number in numbers.items():
            if number:
                self._others[key] = number
            else:
                self._others.pop(key, None)


class CallLimits:
    """Which calls may begin, and which legs have to end; counts what was refused or ended."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        #: Live calls, in all, by peer and by extension.
        self.counts = SharedCounts()
        #: Calls that may begin now, and when that was; less than 0 after others began more than they might have.
        self._ready = float(self._limits.calls_per_second)
        self._at = 0.0
        #: Of legs from which nothing comes: how many frames they were sent that were not silence, and since when.
        self._quiet: dict[object, tuple[int, float]] = {}
        #: Calls refused or ended by each limit.
        self.reached_total = dict.fromkeys(
            ("calls", "peer_calls", "extension_calls", "calls_per_second", "call_seconds", "idle_seconds"), 0
        )

    def refusal(self, host: str, extension: int, now: float) -> str:
        """Return why a call from ``host`` to ``extension`` may not begin now; empty if it may."""
        limits = self._limits
        number, every, of_peer, of_extension = self.counts.number, *_keys(host, extension)
        if limits.calls and (calls := number(every)) >= limits.calls:
            return self._reached("calls", "MAX_CALLS", calls)
        if limits.calls_per_peer and (calls := number(of_peer)) >= limits.calls_per_peer:
            return self._reached("peer_calls", "MAX_CALLS_PER_PEER", calls)
        if limits.calls_per_extension and (calls := number(of_extension)) >= limits.calls_per_extension:
            return self._reached("extension_calls", "MAX_CALLS_PER_EXTENSION", calls)
        if limits.calls_per_second and not self._may_begin(now):
            self.reached_total["calls_per_second"] += 1
            return f"more than {limits.calls_per_second} calls begin in a second; see MAX_CALLS_PER_SECOND"
        return ""

    def _reached(self, kind: str, setting: str, number: int) -> str:
        self.reached_total[kind] += 1
        return f"there are {number} calls; {setting} allows no more"

    def _may_begin(self, now: float) -> bool:
        self._earn(now)
        if self._ready < 1:
            return False
        self._ready -= 1
        self.counts.begun()
        return True

    def _earn(self, now: float) -> None:
        rate = self._limits.calls_per_second
        self._ready = min(float(rate), self._ready + max(0.0, now - self._at) * rate)
        self._at = now

    def learn(self, numbers: Mapping[str, int], begun: int, now: float) -> None:
        """Take what other processes report: numbers of live calls, as `SharedCounts.learn`, and calls begun.

        What they begin more than the limit allows, before they know of each other's, is taken from what may begin
        later.
        """
        self.counts.learn(numbers)
        if self._limits.calls_per_second:
            self._earn(now)
            self._ready -= begun

    def began(self, host: str, extension: int) -> None:
        """Count a call that is live from now on."""
        self.counts.change(_keys(host, extension), 1)

    def ended(self, host: str, extension: int) -> None:
        """Stop counting a call."""
        self.counts.change(_keys(host, extension), -1)

    def overdue(self, legs: Iterable[tuple[_Leg, LegFacts]], now: float) -> list[tuple[_Leg, LegOutcome, str]]:
        """Return the legs that have to end, with what outcome, and why."""
        limits = self._limits
        found: list[tuple[_Leg, LegOutcome, str]] = []
        quiet, self._quiet = self._quiet, {}
        for leg, facts in legs:
            if limits.call_seconds and now - facts.call_started > limits.call_seconds:
                self.reached_total["call_seconds"] += 1
                why = f"its call lasts longer than {limits.call_seconds} s (MAX_CALL_SECONDS)"
                found.append((leg, LegOutcome.TOO_LONG, why))
            elif limits.idle_seconds and self._idle(facts, quiet, now) > limits.idle_seconds:
                self.reached_total["idle_seconds"] += 1
                why = f"nothing was said for {limits.idle_seconds} s (MAX_IDLE_SECONDS)"
                found.append((leg, LegOutcome.IDLE, why))
        return found

    def _idle(self, facts: LegFacts, before: dict[object, tuple[int, float]], now: float) -> float:
        """Return for how long the peer has sent no frame and was sent nothing but silence."""
        silent = now - facts.last_received
        if silent <= 1:
            return 0.0
        known = before.get(facts.key)
        since = known[1] if known is not None and known[0] == facts.spoken else now
        self._quiet[facts.key] = (facts.spoken, since)
        return min(silent, now - since)


def _keys(host: str, extension: int) -> tuple[str, str, str]:
    """Return under what a call is counted."""
    return "calls", f"peer {host}", f"extension {extension}"
