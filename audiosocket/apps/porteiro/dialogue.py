"""The whole conversation: the resident's half, and which event goes where.

Only key 1 of the leg that the number being rung brought, pressed after its menu began, leads to `Open`. That
leg is the one that joined in the stage RINGING; any other resident's leg is hung up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiosocket.apps.porteiro.asking import Asking
from audiosocket.apps.porteiro.script import RESIDENT, VISITOR, Step
from audiosocket.apps.porteiro.visit import Visit
from audiosocket.apps.porteiro.words import (
    NAME,
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
    Note,
    Open,
    Outcome,
    Presume,
    RingEnded,
    Said,
    SpeechEnded,
    SpeechStarted,
    Stage,
)
from audiosocket.extensions.model import Role

#: Menus without a key, keys that decide nothing, and conversations that one resident may have.
MAX_ROUNDS = 3
MAX_KEYS = 10
MAX_TALKS = 3


class Dialogue(Asking):
    """One visit, from the first leg to the last; `handle` is all there is to call."""

    #: The resident's leg is in its menu, and the menu has begun.
    _menu_began = False
    _greeting_cut = False
    _asked_gate = False

    #: The changes of the state that a restart left and that was taken over.
    _adopted = -1

    def save(self) -> dict[str, Any]:
        """See `Script.save`."""
        flags = [self._menu_began, self._greeting_cut, self._asked_gate]
        return {**super().save(), "flags": flags, "adopted": self._adopted}

    def load(self, saved: Mapping[str, Any]) -> None:
        """See `Script.load`."""
        super().load(saved)
        self._menu_began, self._greeting_cut, self._asked_gate = map(bool, saved["flags"])
        self._adopted = int(saved["adopted"])

    def adopt(self, visit: Visit, now: float) -> list[Action]:
        """After a restart: go on with what a leg that is back kept, if no other leg has brought as much.

        What was recorded is lost with the process that recorded it.
        """
        self._now, self._actions = now, []
        if visit.changes <= self._adopted or self.visit.stage in {Stage.OPENING, Stage.TELLING}:
            return []
        self._adopted = visit.changes
        visit.changes = max(visit.changes, self.visit.changes)
        visit.name = "lost" if visit.name else ""
        self.visit = visit
        self._until.clear()
        self._then.clear()
        self._began.clear()
        for role in self._here():
            self._joined(role, back=True)
        return self._actions

    def handle(self, event: Event, now: float) -> list[Action]:
        """What is to be done about ``event`` at ``now`` (steady seconds), in this order."""
        self._now, self._actions = now, []
        match event:
            case Joined(role, back):
                self._joined(role, back=back)
            case Left(role, broken):
                self._left(role, broken=broken)
            case Key(role, digit):
                self._key(role, digit)
            case Began(role, token):
                self._on_began(role, token)
            case Said(role, token):
                self._on_said(role, token)
            case SpeechStarted():
                self._speech_started()
            case SpeechEnded():
                self._name_ended()
            case Found():
                self._found(event)
            case RingEnded(number, rang):
                self._ring_ended(number, rang=rang)
            case GateAnswered(opened):
                self._gate_answered(opened=opened)
            case _:
                self._on_tick()
        return self._actions

    # legs

    def _joined(self, role: Role, *, back: bool) -> None:
        self._stop_waiting(role.value)
        self.present.add(role)
        if self.visit.stage is Stage.OVER:
            self._do(HangUp(role))
        elif self.visit.stage is Stage.TELLING:
            self._tell_end(role)
            self._wait(self.timing.prompt, self._hang_up_all)
        elif role is RESIDENT:
            self._resident_came()
        else:
            self._visitor_came(back=back)
            self._visitor_with_resident()
        other = RESIDENT if role is VISITOR else VISITOR
        if back and other not in self.present and self.visit.stage in {Stage.MENU, Stage.TALKING}:
            self._wait(self.timing.alone, self._gone(other), other.value)

    def _visitor_with_resident(self) -> None:
        """The visitor is back, and the resident is or will be."""
        if self.visit.stage is Stage.MENU:
            self._say(VISITOR, hold=True)
        elif self.visit.stage is Stage.TALKING:
            self._say(VISITOR)
            self._do(Connect(True))
        elif self.visit.stage is Stage.OPENING:
            self._open()

    def _resident_came(self) -> None:
        stage = self.visit.stage
        if stage in {Stage.RINGING, Stage.MENU}:
            self._choose()
        elif stage is Stage.TALKING:
            self._talk()
        elif stage is Stage.OPENING:
            self._open()
        elif stage is Stage.NEW:  # after a restart the visitor may come back later
            self._say(RESIDENT, hold=True)
            self._wait(self.timing.return_of_visitor, self._visitor_stays_away)
        else:
            self._reject_resident()

    def _visitor_stays_away(self) -> None:
        """Tell the resident, who has waited; a visitor who comes back even later is rung for once more."""
        self._say(RESIDENT, "visitor_left", then=self._hang_up_resident)
        self._wait(self.timing.prompt, self._hang_up_resident)

    def _reject_resident(self) -> None:
        """A resident's leg that no ringing brought hears nothing and decides nothing."""
        self._do(Note("unexpected_resident"), HangUp(RESIDENT))

    def _left(self, role: Role, *, broken: bool) -> None:
        self.present.discard(role)
        self._tokens[role] += 1
        stage = self.visit.stage
        if stage in {Stage.MENU, Stage.TALKING}:
            if broken:
                self._wait(self.timing.away, self._gone(role), role.value)
            else:
                self._gone(role)()
        elif stage in {Stage.NEW, Stage.OPENING}:
            return  # the visitor may come back after a restart; the gate will answer
        elif not self.present or (role is VISITOR and stage is not Stage.TELLING):
            self._over()
        elif stage is Stage.CALLING:  # who has heard that the gate failed; the concierge may join now
            self._wait(self.timing.guard, self._ring)

    def _gone(self, role: Role) -> Step:
        return self._visitor_gone if role is VISITOR else self._resident_gone

    def _visitor_gone(self) -> None:
        if self.visit.stage in {Stage.MENU, Stage.TALKING}:
            self._do(Connect(False))
            self._finish(None, (), ("visitor_left",))

    def _resident_gone(self) -> None:
        if self.visit.stage in {Stage.MENU, Stage.TALKING}:
            self._do(Connect(False))
            self._finish(Outcome.NO_CHOICE, ("resident_left", "goodbye"), ())

    def _over(self) -> None:
        self._enter(Stage.OVER)
        self._until.clear()
        self._hang_up_all()

    # keys

    def _key(self, role: Role, digit: str) -> None:
        stage = self.visit.stage
        if role not in self.present or stage is Stage.OVER:
            return
        if stage is Stage.TELLING:
            self._do(HangUp(role))
        elif role is RESIDENT:
            self._resident_key(digit)
        elif stage in {Stage.NAME, Stage.RECORDING}:
            self._name_key(digit)
        elif stage in {Stage.APARTMENT, Stage.BLOCK}:
            self._typed(digit)
        elif stage in {Stage.CALLING, Stage.RINGING}:
            self._ringing_key(digit)
        elif stage is Stage.TALKING:
            self._say(VISITOR)
        else:
            self._say(VISITOR, hold=True)

    def _resident_key(self, digit: str) -> None:
        stage = self.visit.stage
        if stage is Stage.MENU and not self._menu_began:
            self._skip_greeting()
        elif stage in {Stage.MENU, Stage.TALKING} and digit == "1":
            self._authorise(digit)
        elif stage in {Stage.MENU, Stage.TALKING} and digit == "2":
            self._deny()
        elif stage is Stage.TALKING:
            self._say(RESIDENT)
        elif stage is Stage.MENU:
            self._other_key(digit)
        elif stage is Stage.CALLING:
            self._hang_up_resident()
        else:
            self._say(RESIDENT, hold=stage is not Stage.OPENING)

    def _skip_greeting(self) -> None:
        """The first key cuts the greeting; the menu follows after a moment in which keys do nothing."""
        if not self._greeting_cut:
            self._greeting_cut = True
            self._say(RESIDENT)
            self._wait(self.timing.menu_gap, self._menu)

    def _other_key(self, digit: str) -> None:
        self.visit.keys += 1
        self.visit.rounds = 0
        if self.visit.keys > MAX_KEYS:
            self._no_choice()
        elif digit == "3" and self.visit.talks < MAX_TALKS:
            self.visit.talks += 1
            self._talk()
        elif digit == "4":
            self._menu(*self._who())
        else:
            self._menu("invalid_key")

    # the menu

    def _choose(self) -> None:
        """The resident's leg has joined: who it is, then the menu."""
        self._enter(Stage.MENU)
        self._menu_began = self._greeting_cut = False
        self.visit.rounds = 0
        self._say(RESIDENT, *self._notice(RESIDENT), "resident_greeting", *self._who(), then=self._menu)
        self._wait(self.timing.prompt, self._menu)

    def _who(self) -> tuple[str, ...]:
        return {"heard": ("visitor_said", NAME), "": ("no_name",)}.get(self.visit.name, ())

    def _menu(self, *before: str) -> None:
        """Only from here on, and once it is heard, does a key decide anything."""
        self._say(RESIDENT, *before, "resident_menu", then=self._wait_for_choice, began=self._menu_heard)
        self._wait(self.timing.prompt, self._wait_for_choice)

    def _menu_heard(self) -> None:
        self._menu_began = self.visit.stage is Stage.MENU

    def _wait_for_choice(self) -> None:
        self._wait(self.timing.choice, self._no_key)

    def _no_key(self) -> None:
        self.visit.rounds += 1
        if self.visit.rounds >= MAX_ROUNDS:
            self._no_choice()
        else:
            self._menu()

    def _no_choice(self) -> None:
        self._finish(Outcome.NO_CHOICE, ("no_choice", "goodbye"), ("no_choice",))

    def _deny(self) -> None:
        self._do(Connect(False))
        self._finish(Outcome.DENIED, ("denied", "goodbye"), ("resident_denied",))

    def _talk(self) -> None:
        self._enter(Stage.TALKING)
        self._say(VISITOR, "connecting")
        self._say(RESIDENT, "talking")
        self._do(Connect(True))
        self._wait(self.timing.talk, self._talked_long)

    def _talked_long(self) -> None:
        self._do(Connect(False))
        self._say(VISITOR, hold=True)
        self._enter(Stage.MENU)
        self._menu()

    # the gate

    def _authorise(self, key: str) -> None:
        self._do(Connect(False))
        self._enter(Stage.OPENING)
        if self.visit.gate_failed:
            self._gate_failed()
        else:
            self.visit.key = key
            self._open()

    def _open(self) -> None:
        """Ask the gate, and the gate alone: what it answers is what both are told."""
        visit = self.visit
        self._say(VISITOR, hold=True)
        self._say(RESIDENT)
        if self._asked_gate:
            return
        self._asked_gate = True
        self._do(
            Presume(Outcome.FAILED),
            Open(visit.apartment, visit.block, visit.number, visit.concierge, visit.key),
        )
        self._wait(self.timing.gate_silence, self._gate_is_slow)

    def _gate_is_slow(self) -> None:
        self._say(RESIDENT, hold=True)
        self._wait(self.timing.gate - self.timing.gate_silence, self._gate_failed)

    def _gate_answered(self, *, opened: bool) -> None:
        if self.visit.stage is not Stage.OPENING:
            return
        if opened and not self.visit.gate_failed:
            self._finish(Outcome.AUTHORISED, ("authorised",), ("resident_authorised",))
        else:
            self._gate_failed()

    def _gate_failed(self) -> None:
        """The outcome stays failed; the concierge may still talk with the visitor and open in another way."""
        again, self.visit.gate_failed = self.visit.gate_failed, True
        if again or VISITOR not in self.present or not self._may_call_concierge():
            self._finish(Outcome.FAILED, ("failed", "goodbye"), ("failed",))
            return
        self._do(Decide(Outcome.FAILED))
        self._call_concierge("failed")
        if RESIDENT in self.present:
            self._say(RESIDENT, "failed", then=self._hang_up_resident)
            self._wait(self.timing.prompt, self._hang_up_resident)

    def _hang_up_resident(self) -> None:
        self._do(HangUp(RESIDENT))
