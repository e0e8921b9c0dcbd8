"""One attempt of a return call: a number, when it was rung, and how that ended."""

from __future__ import annotations

from dataclasses import dataclass

from audiosocket.calls.journal_records import SavedAttempt
from audiosocket.json_shapes import AttemptJSON
from audiosocket.returncalls.dial_string import masked
from audiosocket.returncalls.originator import AttemptEnd


@dataclass
class Attempt:
    """One number, rung from ``began`` on (steady time in seconds); ``end`` is None while it rings.

    ``attempt_id`` is the backend's name for it, with which a later process can stop the ringing.
    """

    number: str
    began: float
    attempt_id: str = ""
    end: AttemptEnd | None = None
    reason: str = ""
    ended: float | None = None

    def to_json(self, now: float) -> AttemptJSON:
        """Return it for the API."""
        return {
            "number": self.number,
            "end": None if self.end is None else self.end.value,
            "reason": self.reason,
            "seconds": round((now if self.ended is None else self.ended) - self.began, 3),
        }

    def as_event(self, now: float) -> AttemptJSON:
        """Return it for timeline and log, with a `masked` number: many people read logs."""
        return {**self.to_json(now), "number": masked(self.number)}

    def saved(self) -> SavedAttempt:
        """Return it for the journal, in steady time."""
        end = None if self.end is None else self.end.value
        return SavedAttempt(self.number, self.attempt_id, self.began, self.ended, end, self.reason)


def restored(saved: SavedAttempt) -> Attempt:
    """Return the attempt that the journal has, in steady time."""
    end = None
    if saved.end is not None:  # one that only a newer version knows counts as failed
        end = next((end for end in AttemptEnd if end.value == saved.end), AttemptEnd.FAILED)
    return Attempt(saved.number, saved.began, saved.attempt_id, end, saved.reason, saved.ended)
