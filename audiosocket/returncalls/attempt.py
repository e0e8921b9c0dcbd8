"""One attempt of a return call: a number, when it rang, and how that ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audiosocket.calls.journal_replay import SavedAttempt
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

    def kept(self, now: float) -> dict[str, Any]:
        """As the journal keeps it: times in seconds before now."""
        return {
            "number": self.number,
            "id": self.attempt_id,
            "began": round(now - self.began, 3),
            "ended": None if self.ended is None else round(now - self.ended, 3),
            "end": None if self.end is None else self.end.value,
            "reason": self.reason,
        }


def masked(number: str) -> str:
    """The number with all but its last two characters hidden."""
    return "*" * max(2, len(number) - 2) + number[-2:]


def restored(kept: SavedAttempt, offset: float) -> Attempt:
    """The attempt as a journal knows it; steady time is the time of day plus ``offset`` seconds."""
    end = (
        None if kept.end is None else next((one for one in AttemptEnd if one.value == kept.end), AttemptEnd.FAILED)
    )
    ended = None if kept.ended is None else kept.ended + offset
    return Attempt(kept.number, kept.began + offset, kept.attempt_id, end, kept.reason, ended)
