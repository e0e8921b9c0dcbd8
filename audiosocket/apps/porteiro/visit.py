"""What the server must know of a visit to go on with it after a restart, as a value that JSON can carry."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from audiosocket.apps.porteiro.words import Stage
from audiosocket.extensions.model import Role


@dataclass
class Visit:
    """One visit. The recorded name is not in it: that lives in memory only and dies with the process."""

    #: Tells this visit from another one with the same UUID.
    visit: str
    #: Counts the changes: each leg keeps the state, and the later one is right.
    changes: int = 0
    stage: Stage = Stage.NEW
    #: "" (none), "heard", or "lost" in a restart.
    name: str = ""
    #: How often the visitor was asked for a name, and how often a try to type an apartment has failed.
    asked: int = 0
    tries: int = 0
    typed: str = ""
    apartment: str = ""
    block: str = ""
    #: The number that is rung or has answered, and those that come after it.
    number: str = ""
    waiting: list[str] = field(default_factory=list)
    #: Whether `number` is the concierge, and whether the concierge has been rung at all.
    concierge: bool = False
    concierge_rung: bool = False
    #: Whether any number rang, so that the end is "no answer" and not "failed".
    rang: bool = False
    #: Menus without a key, keys without a decision, and conversations.
    rounds: int = 0
    keys: int = 0
    talks: int = 0
    #: The key that authorised, and whether the gate failed to confirm.
    key: str = ""
    gate_failed: bool = False
    #: What each leg is told at the end.
    farewell: dict[str, list[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The state for `interfaces.Leg.remember`."""
        return {**asdict(self), "stage": self.stage.value}

    @classmethod
    def from_json(cls, state: Any) -> Visit:
        """The visit as it was; raises ValueError for what is none."""
        if not isinstance(state, dict):
            raise ValueError(f"a visit is not {type(state).__name__}")  # noqa: TRY004 - one error for the caller
        visit = cls(visit="")
        for spec in fields(cls):
            value, default = state.get(spec.name), getattr(visit, spec.name)
            if spec.name == "stage":
                value = Stage(value)
            if type(value) is not type(default):
                raise ValueError(f"{spec.name} of a visit is {value!r}")
            setattr(visit, spec.name, value)
        texts = [visit.waiting, *visit.farewell.values()]
        if not all(isinstance(text, list) and all(isinstance(one, str) for one in text) for text in texts):
            raise ValueError("the numbers or the farewell of a visit are no texts")
        return visit

    def farewell_of(self, role: Role) -> tuple[str, ...]:
        """What this leg is told at the end."""
        return tuple(self.farewell.get(role.value, ()))
