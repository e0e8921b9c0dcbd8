"""A `Dialogue` with an imitation of its app around it: what it says is heard at once, or when a test says so."""

from __future__ import annotations

from collections.abc import Mapping

from audiosocket.apps.porteiro.dialogue import Dialogue
from audiosocket.apps.porteiro.script import Options, Timing
from audiosocket.apps.porteiro.visit import Visit
from audiosocket.apps.porteiro.words import (
    Action,
    Began,
    Connect,
    Decide,
    Event,
    Found,
    GateAnswered,
    HangUp,
    Joined,
    Key,
    Left,
    LookUp,
    Note,
    Open,
    Presume,
    Record,
    Ring,
    RingEnded,
    Said,
    Say,
    StopRecording,
    StopRinging,
    Tick,
)
from audiosocket.extensions.model import Role

APARTMENTS: Mapping[tuple[str, str], Found] = {
    ("101", ""): Found(("1001",)),
    ("102", ""): Found(("1021", "1022")),
    ("7", ""): Found(blocks=True),
    ("7", "1"): Found(("1071",)),
}


class Staged:
    """One visit, driven by hand; what it did is in lists."""

    def __init__(
        self, concierge: str = "", *, notice: frozenset[Role] = frozenset(), timing: Timing | None = None
    ) -> None:
        self.options = Options(concierge, notice)
        self.dialogue = Dialogue(Visit("visit-1"), self.options, timing)
        self.now = 1000.0
        #: What each leg hears: the prompts of the last `Say`, and whether ring-back follows.
        self.heard: dict[Role, Say] = {}
        self.said: list[tuple[Role, tuple[str, ...]]] = []
        self.rung: list[str] = []
        self.decided: list[str] = []
        self.opened: list[Open] = []
        self.hung_up: list[Role] = []
        self.notes: list[str] = []
        self.connected = False
        self.recording = False
        self.ringing = ""
        self.presumed = ""
        #: Whether a `Say` is over at once.
        self.prompt_ends = True
        self._states: dict[Role, object] = {}

    # what happens

    def send(self, event: Event) -> list[Action]:
        """One event, and all that follows from it at once."""
        return self._follow(self.dialogue.handle(event, self.now))

    def _follow(self, actions: list[Action]) -> list[Action]:
        state = self.dialogue.changed_state()
        if state is not None:
            for role in self.dialogue.present:
                self._states[role] = state
        for action in actions:
            self._do(action)
        return actions

    def come(self, role: Role = Role.VISITOR) -> None:
        """A leg joins."""
        self.send(Joined(role))

    def leave(self, role: Role = Role.VISITOR, *, broken: bool = False) -> None:
        """A leg is over."""
        self.send(Left(role, broken))

    def press(self, digits: str, role: Role = Role.VISITOR) -> None:
        """Keys, one after the other."""
        for digit in digits:
            self.send(Key(role, digit))

    def answer(self) -> None:
        """Who is rung answers: the leg joins."""
        assert self.ringing
        self.ringing = ""
        self.come(Role.RESIDENT)

    def ring_out(self, *, rang: bool = True) -> None:
        """Nobody answers what rings."""
        number, self.ringing = self.ringing, ""
        self.send(RingEnded(number, rang))

    def gate(self, *, opened: bool = True) -> None:
        """The gate answers."""
        self.send(GateAnswered(opened))

    def pass_time(self, seconds: float) -> None:
        """Time passes, with a tick whenever one is wanted."""
        until = self.now + seconds
        while (due := self.dialogue.due) is not None and due <= until:
            self.now = max(self.now, due)
            self.send(Tick())
        self.now = until

    def finish_prompt(self, role: Role) -> None:
        """All that the leg was to hear has been sent."""
        say = self.heard[role]
        self.send(Began(role, say.token))
        self.send(Said(role, say.token))

    def restart(self) -> None:
        """The server dies and is back; no leg is yet."""
        self.dialogue = Dialogue(Visit("visit-2"), self.options)
        self.heard.clear()
        self.connected = self.recording = False

    def come_back(self, role: Role) -> None:
        """After `restart` a leg is back, with what was kept for it."""
        state = self._states.get(role)
        if state is not None:
            self._follow(self.dialogue.adopt(Visit.from_json(state), self.now))
        self.send(Joined(role, back=True))

    # what is done

    def _do(self, action: Action) -> None:  # noqa: PLR0912 - one case for each action
        match action:
            case Say(role, prompts, token, _):
                self.heard[role] = action
                self.said.append((role, prompts))
                if self.prompt_ends:
                    self.send(Began(role, token))
                    self.send(Said(role, token))
            case Record():
                self.recording = True
            case StopRecording():
                self.recording = False
            case LookUp(apartment, block):
                self.send(APARTMENTS.get((apartment, block), Found()))
            case Ring(number):
                self.rung.append(number)
                self.ringing = number
            case StopRinging():
                self.ringing = ""
            case Connect(on):
                self.connected = on
            case Open():
                self.opened.append(action)
            case Presume(outcome):
                self.presumed = outcome.value
            case Decide(outcome):
                self.decided.append(outcome.value)
            case HangUp(role):
                if role not in self.hung_up:
                    self.hung_up.append(role)
                    self.leave(role)
            case Note(what):
                self.notes.append(what)

    @property
    def outcome(self) -> str:
        """The first outcome, which is the call's; empty while there is none."""
        return self.decided[0] if self.decided else ""


def visit_to_menu(concierge: str = "") -> Staged:
    """A visitor for 101 whose resident has answered and hears the menu."""
    staged = Staged(concierge)
    staged.come()
    staged.press("#101#")
    staged.answer()
    return staged
