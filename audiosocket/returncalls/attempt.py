"""One attempt of a return call: a number, when it rang, and how that ended."""

from __future__ import annotations

from dataclasses import dataclass

from audiosocket.calls.journal_records import SavedAttempt
from audiosocket.json_shapes import AttemptJSON
from audiosocket.returncalls.originator import AttemptEnd


@dataclass
class Attempt:
    """One number, rung from ``began`` on (steady time in seconds); ``end`` is None while it rings.

    ``attempt_id`` is the backend's name for it, by which a later process can stop the ringing.
    """

    number: str
    began: float
    attempt_id: str = ""
    end: AttemptEnd | None = None
    reason: str = ""
    ended: float | None = None

    def to_json(self, now: float) -> AttemptJSON:
        """As shown by the API."""
        return {
            "number": self.number,
            "end": None if self.end is None else self.end.value,
            "reason": self.reason,
            "seconds": round((now if self.ended is None else self.ended) - self.began, 3),
        }

    def as_event(self, now: float) -> AttemptJSON:
        """As written down in timeline and log, with `masked` number: logs are read by many."""
        return {**self.to_json(now), "number": masked(self.number)}

    def saved(self) -> SavedAttempt:
        """Return what a journal keeps of it; in steady time."""
        end = None if self.end is None else self.end.value
        return SavedAttempt(self.number, self.attempt_id, self.began, self.ended, end, self.reason)


def masked(number: str) -> str:
    """The number with all but its last two characters hidden."""
    return "*" * max(2, len(number) - 2) + number[-2:]


def restored(saved: SavedAttempt) -> Attempt:
    """Return the attempt that a journal has kept; in steady time."""
    end = None
    if saved.end is not None:  # one that only a newer version knows has failed for this one
        end = next((end for end in AttemptEnd if end.value == saved.end), AttemptEnd.FAILED)
    return Attempt(saved.number, saved.began, saved.attempt_id, end, saved.reason, saved.ended)
