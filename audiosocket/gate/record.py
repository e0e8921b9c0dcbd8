"""What is known of one opening of the gate, as a value that JSON can carry. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class WayAnswer:
    """What one way of opening the gate answered; ``detail`` is for people and goes into the audit file."""

    ok: bool
    detail: str


@dataclass
class GateRecord:
    """One authorisation and how far its opening has come. Times are ISO 8601 in UTC."""

    call_id: str
    #: Tells this visit from another one with the same UUID.
    visit: str
    at: str
    extension: int
    ramal: str
    condominium: int
    apartment: str
    block: str
    answered_by: str
    concierge: bool
    key: str
    #: The visitor's channel, where AMI has told it.
    channel: str = ""
    port: int = 0
    other_port: int = 0
    #: Set before any way is asked, once it is certain that no other node of the fleet opens.
    claimed: bool = False
    #: Set before the first key is played: keys are never repeated.
    keys_begun: bool = False
    #: The answers so far, by way ("webhook", "dtmf").
    answers: dict[str, WayAnswer] = field(default_factory=dict)
    #: All ways have answered.
    answered: bool = False
    #: And that stands in the audit file.
    done: bool = False

    @property
    def opened(self) -> bool:
        """Whether every way confirmed; also where there is none."""
        return self.answered and all(answer.ok for answer in self.answers.values())

    @property
    def reason(self) -> str:
        """What the ways that failed answered, for people."""
        return "; ".join(f"{way}: {answer.detail}" for way, answer in self.answers.items() if not answer.ok)

    @property
    def began(self) -> float:
        """The time of the authorisation, in Unix time."""
        return datetime.fromisoformat(self.at.replace("Z", "+00:00")).timestamp()

    @property
    def uuid(self) -> UUID:
        """The call."""
        return UUID(self.call_id)

    def to_json(self) -> dict[str, Any]:
        """As kept in the journal of the gate."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: Any) -> GateRecord:
        """The record as it was kept; raises ValueError, TypeError, KeyError or AttributeError for what is none."""
        answers = {
            str(way): WayAnswer(bool(one["ok"]), str(one["detail"])) for way, one in text["answers"].items()
        }
        record = cls(**{**text, "answers": answers})
        UUID(record.call_id)
        if record.began < 0:
            raise ValueError(f"at: {record.at}")
        return record

    def audit_line(self) -> dict[str, Any]:
        """What the audit file says of it."""
        return {
            "at": self.at,
            "call_id": self.call_id,
            "extension": self.extension,
            "ramal_ia": self.ramal,
            "condominio_id": self.condominium,
            "apartment": self.apartment,
            "block": self.block,
            "answered_by": self.answered_by,
            "concierge": self.concierge,
            "key": self.key,
            "opened": self.opened,
            "gate": {way: answer.detail for way, answer in self.answers.items()},
        }
