"""The door-keeper's conversation, walked by Hypothesis: whatever happens, only the resident's key 1 authorises."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from audiosocket.apps.porteiro.dialogue import Dialogue
from audiosocket.apps.porteiro.script import Options
from audiosocket.apps.porteiro.visit import Visit
from audiosocket.apps.porteiro.words import (
    Began,
    Decide,
    Found,
    GateAnswered,
    HangUp,
    Joined,
    Key,
    Left,
    LookUp,
    Open,
    Outcome,
    Ring,
    RingEnded,
    Said,
    Say,
    SpeechEnded,
    SpeechStarted,
    Stage,
    StopRinging,
    Tick,
)
from audiosocket.extensions.model import Role

ROLES = st.sampled_from(list(Role))
KEYS = st.sampled_from("0123456789*#ABCD")
FOUND = st.sampled_from([Found(), Found(blocks=True), Found(("1001",)), Found(("1001", "1002", "1003"))])


class Visits(RuleBasedStateMachine):
    """A model of who may authorise, beside the dialogue; it is wrong if the dialogue authorises anybody else."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.legs: set[Role] = set()
        self.ringing = ""
        self.says: dict[Role, Say] = {}
        self.kept: dict[Role, dict[str, Any]] = {}
        #: The model: this leg was brought by what rang, and has begun to hear the menu.
        self.invited = False
        self.menu_heard = False
        self.key_1 = False  # pressed by that leg
        self.confirmed = False  # by the gate, after that
        self.gate_asked = 0
        self.outcomes: list[Outcome] = []
        self.answering = False
        self.answer: bool | None = None
        self.cut_off: set[Role] = set()

    @initialize(
        concierge=st.sampled_from(["", "9"]), notice=st.sets(st.sampled_from(Role)), steps=st.integers(0, 6)
    )
    def begin(self, concierge: str, notice: set[Role], steps: int) -> None:
        self.options = Options(concierge, frozenset(notice))
        self.dialogue = Dialogue(Visit("v"), self.options)
        self._send(Joined(Role.VISITOR))
        for _ in range(steps):
            self.it_goes_on()

    # what may happen

    @rule()
    def it_goes_on(self) -> None:
        """What would come next in a good visit, so that its later stages are reached as often as the first."""
        stage = self.dialogue.visit.stage
        if stage in {Stage.NAME, Stage.RECORDING, Stage.APARTMENT}:
            for digit in "#101#":
                self._send(Key(Role.VISITOR, digit))
            self.an_apartment_is_found(Found(("1001", "1002")))
        elif stage is Stage.CALLING:
            self.time_passes(2.1)
        elif stage is Stage.RINGING and self.ringing and Role.RESIDENT not in self.legs:
            self.it_is_answered()
        elif stage is Stage.MENU and not self.menu_heard:
            self.a_prompt_is_heard(Role.RESIDENT, True)
        elif stage is Stage.MENU:
            self._send(Key(Role.RESIDENT, "1"))

    @rule(role=ROLES)
    def a_leg_joins(self, role: Role) -> None:
        if role in self.cut_off:
            self._come_back(role)
        elif role not in self.legs:
            self._send(Joined(role))

    @rule(role=ROLES, broken=st.booleans())
    def a_leg_leaves(self, role: Role, broken: bool) -> None:
        if role in self.legs:
            self._send(Left(role, broken))

    @rule(role=ROLES, digit=KEYS)
    def a_key(self, role: Role, digit: str) -> None:
        self._send(Key(role, digit))

    @rule(digits=st.sampled_from(["#", "101#", "#101#", "0", "1", "11", "3", "31"]))
    def keys_of_a_resident_and_a_visitor(self, digits: str) -> None:
        for digit in digits:
            self._send(Key(Role.VISITOR, digit))
            self._send(Key(Role.RESIDENT, digit))

    @rule(role=ROLES, whole=st.booleans())
    def a_prompt_is_heard(self, role: Role, whole: bool) -> None:
        say = self.says.get(role)
        if say is not None and role in self.legs:
            self._send(Began(role, say.token))
            if whole:
                self._send(Said(role, say.token))

    @rule(role=ROLES, token=st.integers(0, 40))
    def a_prompt_of_before_is_heard(self, role: Role, token: int) -> None:
        self._send(Said(role, token))

    @rule(event=st.sampled_from([SpeechStarted(), SpeechEnded()]))
    def somebody_speaks(self, event: SpeechStarted | SpeechEnded) -> None:
        self._send(event)

    @rule(seconds=st.sampled_from([0.1, 0.6, 2.1, 5.1, 10, 46, 301]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self._send(Tick())

    @rule(found=FOUND)
    def an_apartment_is_found(self, found: Found) -> None:
        if self.answering:
            self.answering = False
            self._send(found)

    @rule()
    def it_is_answered(self) -> None:
        if self.ringing and Role.RESIDENT not in self.legs:
            self.ringing = ""
            self._send(Joined(Role.RESIDENT))

    @rule(number=st.sampled_from(["1001", "1002", "9", ""]), rang=st.booleans())
    def ringing_ends(self, number: str, rang: bool) -> None:
        if number == self.ringing:
            self.ringing = ""
        self._send(RingEnded(number, rang))

    @rule(opened=st.booleans())
    def the_gate_answers(self, opened: bool) -> None:
        if self.gate_asked:
            self.answer = opened if self.answer is None else self.answer  # a gate does not change its mind
            self.confirmed = self.answer and self.key_1
            self._send(GateAnswered(self.answer))

    @rule(back=st.permutations(list(Role)), how_many=st.integers(0, 2))
    def the_server_dies(self, back: list[Role], how_many: int) -> None:
        self.cut_off |= self.legs
        self.dialogue = Dialogue(Visit("w"), self.options)
        self.legs.clear()
        self.says.clear()
        self.menu_heard = False
        for role in back[:how_many]:
            if role in self.cut_off:
                self._come_back(role)

    def _come_back(self, role: Role) -> None:
        self.cut_off.discard(role)
        if role in self.kept:
            self._follow(self.dialogue.adopt(Visit.from_json(self.kept[role]), self.now))
        self._send(Joined(role, back=True))

    # what follows

    def _send(self, event: Any) -> None:
        if isinstance(event, Joined):
            self.legs.add(event.role)
            if event.role is Role.RESIDENT and not event.back:
                self.invited = self.dialogue.visit.stage in {Stage.RINGING, Stage.NEW, Stage.MENU, Stage.TALKING}
                self.menu_heard = self.dialogue.visit.stage is Stage.TALKING and self.menu_heard
        if isinstance(event, Left):
            self.legs.discard(event.role)
        if (
            isinstance(event, Began)
            and event.role is Role.RESIDENT
            and event.token == self.says[event.role].token
            and "resident_menu" in self.says[event.role].prompts
        ):
            self.menu_heard = True
        talking = self.dialogue.visit.stage is Stage.TALKING
        if event == Key(Role.RESIDENT, "1") and Role.RESIDENT in self.legs and self.invited:
            self.key_1 = self.key_1 or self.menu_heard or talking
        self._follow(self.dialogue.handle(event, self.now))

    def _follow(self, actions: list[Any]) -> None:
        state = self.dialogue.changed_state()
        if state is not None:
            for role in self.legs:
                self.kept[role] = state
        for action in actions:
            self._do(action)

    def _do(self, action: Any) -> None:
        match action:
            case Say():
                assert action.role in self.legs
                self.says[action.role] = action
            case LookUp():
                self.answering = True
            case Ring(number):
                assert number
                self.ringing = number
            case StopRinging():
                self.ringing = ""
            case Open():
                assert self.key_1, "the gate is opened without key 1 of the resident"
                assert action.key == "1"
                self.gate_asked += 1
            case Decide(outcome):
                if outcome is Outcome.AUTHORISED:
                    assert self.key_1, "authorised without key 1 of the resident"
                    assert self.confirmed, "authorised although the gate did not confirm"
                self.outcomes.append(outcome)
            case HangUp(role):
                if role in self.legs:
                    self._send(Left(role))

    @invariant()
    def authorised_only_after_key_1_of_the_pending_resident(self) -> None:
        if Outcome.AUTHORISED in self.outcomes:
            assert self.key_1
            assert self.confirmed

    @invariant()
    def an_outcome_is_never_taken_back(self) -> None:
        assert len(set(self.outcomes)) <= 1

    @invariant()
    def a_visit_can_be_kept(self) -> None:
        if hasattr(self, "dialogue"):
            assert Visit.from_json(self.dialogue.visit.to_json()) == self.dialogue.visit

    def teardown(self) -> None:
        """Left alone, with every prompt heard and nobody answering, a visit comes to its end."""
        if not hasattr(self, "dialogue"):
            return
        for _ in range(400):
            if not self.legs:
                return
            for role in list(self.legs):
                if role in self.says and role in self.legs:
                    self._send(Said(role, self.says[role].token))
            due = self.dialogue.due
            if due is None:
                break
            self.now = max(self.now, due)
            self._send(Tick())
        assert not self.legs, (self.dialogue.visit, self.legs, self.dialogue.due)


TestVisits = Visits.TestCase
TestVisits.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
