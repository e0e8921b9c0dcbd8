"""A visit in progress as a value, for the process that goes on with it at an upgrade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audiosocket.apps.porteiro.words import Outcome
from audiosocket.prompts.player import Sound


@dataclass(frozen=True)
class HandedOver:
    """The visit and what one leg of it is played."""

    #: See `Dialogue.save` and `PromptPlayer.save`.
    dialogue: Mapping[str, Any]
    player: Mapping[str, Any]
    #: The name that the visitor said.
    name: Sound | None
    #: The two hear each other.
    connected: bool
    #: The number that is rung, and whether that was so before a restart.
    ringing: str
    rang_before: bool
    decided: Outcome | None

    def to_value(self) -> dict[str, Any]:
        """Return it as `upgrade.codec` takes it; earlier versions read and write the same."""
        return {
            "dialogue": self.dialogue,
            "player": self.player,
            "name": None if self.name is None else [self.name.pcm, self.name.rate],
            "connected": self.connected,
            "ringing": self.ringing,
            "rang_before": self.rang_before,
            "decided": None if self.decided is None else self.decided.value,
        }

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> HandedOver:
        """Return what `to_value` returned as it was; raises `KeyError` or `ValueError` for another value."""
        return cls(
            value["dialogue"],
            value["player"],
            None if value["name"] is None else Sound(*value["name"]),
            bool(value["connected"]),
            str(value["ringing"]),
            bool(value["rang_before"]),
            None if value["decided"] is None else Outcome(value["decided"]),
        )
