"""What the door-keeper's conversation is built with: saying, waiting, ending. The rules are in ``dialogue.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audiosocket.apps.porteiro.visit import Visit
from audiosocket.apps.porteiro.words import Action, Decide, HangUp, Note, Outcome, Say, Stage
from audiosocket.extensions.model import Role

VISITOR, RESIDENT = Role.VISITOR, Role.RESIDENT
Step = Callable[[], None]


@dataclass(frozen=True)
class Timing:
    """How long the door-keeper waits, in seconds."""

    #: No prompt takes longer: what is not over by then goes on as if it were.
    prompt: float = 60.0
    #: Until speech begins after the tone, and how long a name may take.
    no_speech: float = 5.0
    name: float = 10.0
    #: For the first key of an apartment, for each next one, and for the next one after a lone 0.
    first_key: float = 8.0
    next_key: float = 5.0
    lone_zero: float = 2.0
    #: Between the end of one number and the ringing of the next: who answers too late must not be taken for it.
    guard: float = 2.0
    #: Ringing ends by itself; this is for a backend that says nothing.
    ring: float = 25.0 + 10.0 + 10.0
    #: After a restart, until a number is rung anew unless its return call goes on.
    ring_again: float = 1.5
    #: Between a key that cut the greeting and the menu: a key pressed twice must not authorise.
    menu_gap: float = 0.5
    #: For a key after the menu.
    choice: float = 5.0
    #: The longest conversation, after which the resident hears the menu again.
    talk: float = 300.0
    #: For the gate's answer, its retries included; and until the resident hears that something is going on.
    gate: float = 45.0
    gate_silence: float = 2.0
    #: Until a leg whose connection broke is given up.
    away: float = 5.0
    #: For a resident whose visitor is not there (any more after a restart).
    alone: float = 90.0
    #: For a resident who answered after a restart, until the visitor is back (5 s with the dialplan).
    return_of_visitor: float = 15.0


@dataclass(frozen=True)
class Options:
    """What the settings and the call's extension say: the concierge's number, and who is told of a recording."""

    concierge: str = ""
    notice: frozenset[Role] = frozenset()


class Script:
    """A visit and what it waits for. Times are steady seconds and arguments."""

    def __init__(self, visit: Visit, options: Options | None = None, timing: Timing | None = None) -> None:
        self.visit = visit
        self.options = options or Options()
        self.timing = timing or Timing()
        #: The legs that are there.
        self.present: set[Role] = set()
        self._now = 0.0
        self._actions: list[Action] = []
        self._tokens = {VISITOR: 0, RESIDENT: 0}
        self._then: dict[Role, Step | None] = {}
        self._began: dict[Role, Step | None] = {}
        self._until: dict[str, tuple[float, Step]] = {}
        self._kept: dict[str, Any] = {}

    @property
    def due(self) -> float | None:
        """When a `Tick` is wanted."""
        return min((when for when, _ in self._until.values()), default=None)

    def changed_state(self) -> dict[str, Any] | None:
        """The state to be kept before the actions take effect, None while it is as it was."""
        now = self.visit.to_json()
        if {**now, "changes": 0} == self._kept:
            return None
        self._kept = {**now, "changes": 0}
        self.visit.changes += 1
        return {**now, "changes": self.visit.changes}

    # the next process, see `Leg.handed_over`

    def save(self) -> dict[str, Any]:
        """Return everything but the options; what is waited for by the name of its step."""
        return {
            "visit": self.visit.to_json(),
            "present": [role.value for role in self.present],
            "tokens": {role.value: token for role, token in self._tokens.items()},
            "then": {role.value: _name(step) for role, step in self._then.items()},
            "began": {role.value: _name(step) for role, step in self._began.items()},
            "until": [[name, when, _name(step)] for name, (when, step) in self._until.items()],
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on where another process was; raises ValueError or KeyError for what is none of `save`."""
        self.visit = Visit.from_json(saved["visit"])
        self._kept = {**self.visit.to_json(), "changes": 0}
        self.present = {Role(role) for role in saved["present"]}
        self._tokens = {Role(role): int(token) for role, token in saved["tokens"].items()}
        self._then = {Role(role): self._step(name) for role, name in saved["then"].items()}
        self._began = {Role(role): self._step(name) for role, name in saved["began"].items()}
        steps = [(name, when, self._step(step)) for name, when, step in saved["until"]]
        self._until = {name: (float(when), step) for name, when, step in steps if step is not None}

    def _step(self, name: str) -> Step | None:
        if not name:
            return None
        step = getattr(self, name, None)
        if step is None:  # of another version
            raise ValueError(f"no step {name!r}")
        found: Step = step
        return found

    # steps

    def _do(self, *actions: Action) -> None:
        self._actions += actions

    def _enter(self, stage: Stage) -> None:
        """Begin a stage; nothing of the one before is waited for any more."""
        if stage is not self.visit.stage:
            self._do(Note(stage.value))
        self.visit.stage = stage
        self._until.pop("stage", None)
        self._then.clear()
        self._began.clear()

    def _say(
        self,
        role: Role,
        *prompts: str,
        hold: bool = False,
        then: Step | None = None,
        began: Step | None = None,
    ) -> None:
        """Have a leg hear this instead of what it hears; ``then`` follows when all has been sent."""
        self._tokens[role] += 1
        self._then[role], self._began[role] = then, began
        if role in self.present:
            self._do(Say(role, prompts, self._tokens[role], hold))

    def _notice(self, role: Role) -> tuple[str, ...]:
        """What is said first where the call is recorded."""
        return ("recording_notice",) if role in self.options.notice else ()

    def _wait(self, seconds: float, step: Step, name: str = "stage") -> None:
        self._until[name] = self._now + seconds, step

    def _stop_waiting(self, name: str = "stage") -> None:
        self._until.pop(name, None)

    def _on_began(self, role: Role, token: int) -> None:
        step = self._began.get(role)
        if token == self._tokens[role] and step is not None:
            self._began[role] = None
            step()

    def _on_said(self, role: Role, token: int) -> None:
        step = self._then.get(role)
        if token == self._tokens[role] and step is not None:
            self._then[role] = None
            step()

    def _on_tick(self) -> None:
        for name, (when, step) in list(self._until.items()):
            if when <= self._now and self._until.get(name) == (when, step):
                del self._until[name]
                step()

    # the end

    def _finish(self, outcome: Outcome | None, visitor: Sequence[str], resident: Sequence[str]) -> None:
        """It is decided: tell who is there, and hang up."""
        if outcome is not None:
            self._do(Decide(Outcome.FAILED if self.visit.gate_failed else outcome))
        self.visit.farewell = {VISITOR.value: list(visitor), RESIDENT.value: list(resident)}
        self._enter(Stage.TELLING)
        self._wait(self.timing.prompt, self._hang_up_all)
        for role in self._here():
            self._tell_end(role)

    def _tell_end(self, role: Role) -> None:
        self._say(role, *self.visit.farewell_of(role), then=self._dismiss(role))

    def _dismiss(self, role: Role) -> Step:
        return self._dismiss_visitor if role is VISITOR else self._dismiss_resident

    def _dismiss_visitor(self) -> None:
        self._do(HangUp(VISITOR))

    def _dismiss_resident(self) -> None:
        self._do(HangUp(RESIDENT))

    def _hang_up_all(self) -> None:
        for role in self._here():
            self._do(HangUp(role))

    def _here(self) -> list[Role]:
        """The legs that are there, the visitor's first."""
        return [role for role in Role if role in self.present]


def _name(step: Step | None) -> str:
    return "" if step is None else step.__name__
