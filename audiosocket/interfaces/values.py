"""What apps are given: the telephone behind a leg, and how a return call ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from audiosocket.json_shapes import CallerJSON


@dataclass(frozen=True)
class CallerInfo:
    """The telephone behind a leg, as Asterisk describes it; a text is empty where Asterisk does not know it.

    ``channel`` is the name of its channel and ``channel_id`` the Uniqueid, ``number`` and ``name`` are the caller
    id, ``dialled`` is the number dialled. Callers may be able to choose their caller id: it proves nothing. For a
    resident who was rung, ``channel`` is the telephone, and the caller id is the one shown there.
    """

    channel: str
    channel_id: str
    number: str
    name: str
    dialled: str

    def to_json(self) -> CallerJSON:
        """Return the telephone as shown by the API."""
        return {"channel": self.channel, "number": self.number, "name": self.name, "dialled": self.dialled}


@dataclass(frozen=True)
class ReturnAttempt:
    """One number that was rung; ``end`` is a value of `returncalls.originator.AttemptEnd`, ``reason`` is for
    people.

    ``number`` is the complete number, and is left out of ``repr`` to keep it out of logs.
    """

    number: str = field(repr=False)
    end: str
    reason: str = ""


@dataclass(frozen=True)
class ReturnOutcome:
    """How a return call ended: ``state`` is "connected" (the resident's leg is there), "failed" or "cancelled"."""

    state: str
    reason: str = ""
    attempts: tuple[ReturnAttempt, ...] = ()
