"""The door-keeper as an app: carries out what ``dialogue.py`` decides, and tells it what happens."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from audiosocket.apps.porteiro.dialogue import Dialogue
from audiosocket.apps.porteiro.hand_over import HandedOver
from audiosocket.apps.porteiro.ringing import Ringing
from audiosocket.apps.porteiro.script import Timing
from audiosocket.apps.porteiro.sounds import Sounds
from audiosocket.apps.porteiro.visit import Visit
from audiosocket.apps.porteiro.visit_options import options_of
from audiosocket.apps.porteiro.words import (
    Action,
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
    Outcome,
    Presume,
    Record,
    Ring,
    Say,
    Stage,
    StopRecording,
    StopRinging,
    Tick,
)
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, AppContext, Authorisation, GateAnswer, Leg, ReturnOutcome
from audiosocket.prompts.library import PromptLibrary
from audiosocket.settings import Settings

#: Endings of a leg whose connection broke, and which may be back.
BROKEN = frozenset({LegOutcome.CONNECTION_LOST.value, LegOutcome.SLOW_READER.value})
#: Time beyond ring time and window that a backend may take to say how ringing ended, in seconds.
RING_MARGIN = 10.0


class Porteiro(App):
    """One visit. Both legs of a call share it; name it in VISITOR_APP and RESIDENT_APP."""

    _log = Logger()

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self._context = context
        settings = context.settings
        library = PromptLibrary(
            context.sounds, Path(settings.data_dir), settings.porteiro_language, time.monotonic
        )
        self._sounds = Sounds(library, context.call_later, self._send)
        self._ringing = Ringing(self._send)
        self._timing = Timing(ring=settings.return_ring_seconds + settings.return_window_seconds + RING_MARGIN)
        self._legs: dict[Role, Leg] = {}
        #: The first leg: its clock goes on when it is over.
        self._clock: Leg | None = None
        self._dialogue: Dialogue | None = None
        self._timer: Any = None
        self._due = 0.0
        #: What has happened and was not handled yet: what an action brings about comes after all other actions.
        self._events: deque[Event] = deque()
        self._busy = False
        self._stopped = False
        #: The outcome, for a leg that comes back after it was decided.
        self._decided: Outcome | None = None

    @staticmethod
    def check(settings: Settings) -> Iterable[str]:
        """What will not work, for the log at the start."""
        named = {"VISITOR_APP": settings.visitor_app, "RESIDENT_APP": settings.resident_app}
        for name, apps in named.items():
            if "porteiro" not in [part.strip() for part in apps.split("+")]:
                yield f"{name} does not name the app porteiro: a visit needs it on both legs"

    # what the server tells

    def joined(self, leg: Leg) -> None:
        self._arrive(leg)
        self._send(Joined(leg.role))

    def restored(self, leg: Leg, state: Any) -> None:
        self._arrive(leg)
        dialogue = self._dialogue_of(leg)
        try:
            visit = Visit.from_json(state) if state is not None else None
        except ValueError as problem:
            self._log.warn(
                "{leg}: what was kept of the visit cannot be used ({problem})", leg=leg, problem=problem
            )
            visit = None
        if visit is not None:
            self._ringing.adopt(visit)
            self._busy = True
            try:
                self._follow(dialogue.adopt(visit, self._now))
            finally:
                self._busy = False
        self._send(Joined(leg.role, back=True))

    def resumed(self, leg: Leg) -> None:
        if leg.role not in self._legs:
            self.joined(leg)

    def handed_over(self, leg: Leg) -> Any:
        """Return the visit, and what this leg is played.

        None while a name is recorded, the gate is asked or a prompt is read: after that the visit goes on as after
        a restart, which does these again.
        """
        dialogue, player = self._dialogue, self._sounds.save(leg.role)
        if dialogue is None or player is None or self._events or self._stopped:
            return None
        if dialogue.visit.stage is Stage.OPENING:
            return None
        return HandedOver(
            dialogue.save(),
            player,
            self._sounds.name,
            self._sounds.connected,
            self._ringing.number,
            self._ringing.rang_before,
            self._decided,
        ).to_value()

    def taken_over(self, leg: Leg, state: Any) -> None:
        """Go on with a leg of the visit; the first one brings the conversation."""
        visit, first = HandedOver.from_value(state), self._dialogue is None
        self._decided = visit.decided
        self._arrive(leg)
        self._sounds.load(leg.role, visit.player)
        if first:
            dialogue = self._dialogue_of(leg)
            dialogue.load(visit.dialogue)
            self._sounds.name, self._sounds.connected = visit.name, visit.connected
            self._ringing.number, self._ringing.rang_before = visit.ringing, visit.rang_before
            self._plan(dialogue.due)

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        self._sounds.heard(leg, self._legs.get(_other(leg.role)), pcm, rate)

    def digit(self, leg: Leg, digit: str) -> None:
        self._send(Key(leg.role, digit))

    def marked(self, leg: Leg, name: str, heard_ms: int) -> None:
        self._sounds.marked(leg.role, name)

    def return_ended(self, leg: Leg, outcome: ReturnOutcome) -> None:
        self._ringing.ended(outcome)

    def other_gone(self, leg: Leg, outcome: str) -> None:
        self._send(Left(_other(leg.role)))

    def left(self, leg: Leg, outcome: str) -> None:
        self._sounds.remove(leg.role)
        self._legs.pop(leg.role, None)
        if outcome == LegOutcome.SHUTDOWN.value:  # it will be back, to the next process
            self._stop()
        else:
            self._send(Left(leg.role, broken=outcome in BROKEN))

    # between them and the dialogue

    def _arrive(self, leg: Leg) -> None:
        self._clock = self._clock or leg
        self._legs[leg.role] = leg
        if self._decided is not None:
            leg.decide(self._decided.value)
        self._sounds.add(leg)
        self._dialogue_of(leg)

    def _dialogue_of(self, leg: Leg) -> Dialogue:
        if self._dialogue is None:
            options = options_of(self._context, leg.extension)
            self._dialogue = Dialogue(Visit(uuid4().hex), options, self._timing)
        return self._dialogue

    @property
    def _now(self) -> float:
        return 0.0 if self._clock is None else self._clock.now_ms / 1000

    def _send(self, event: Event) -> None:
        """Tell the dialogue, and do what it wants; what happens meanwhile waits its turn."""
        self._events.append(event)
        if self._busy or self._dialogue is None or self._stopped:
            return
        self._busy = True
        try:
            while self._events and not self._stopped:
                self._follow(self._dialogue.handle(self._events.popleft(), self._now))
        finally:
            self._busy = False

    def _follow(self, actions: list[Action]) -> None:
        dialogue = self._dialogue
        if dialogue is None:
            return
        state = dialogue.changed_state()
        if state is not None:
            # The resident's leg first: if the process dies in between, the visitor's alone decides nothing.
            for role in (Role.RESIDENT, Role.VISITOR):
                if role in self._legs:
                    self._legs[role].remember(self, state)
        for action in actions:
            self._do(action)
        self._plan(dialogue.due)

    def _plan(self, due: float | None) -> None:
        if self._timer is not None and due == self._due:
            return
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if due is not None and not self._stopped:
            self._due = due
            self._timer = self._context.call_later(max(0.0, due - self._now), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._send(Tick())

    def _stop(self) -> None:
        self._stopped = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    # what is to be done

    def _do(self, action: Action) -> None:  # noqa: PLR0912 - one case for each action
        match action:
            case Say():
                self._sounds.say(action)
            case Record():
                self._visitor_leg(self._sounds.record)
            case StopRecording():
                self._sounds.stop_recording()
            case LookUp(apartment, block):
                self._look_up(apartment, block)
            case Ring(number):
                self._visitor_leg(lambda leg: self._ringing.ring(leg, number))
            case StopRinging():
                self._ringing.stopped()
                self._visitor_leg(lambda leg: leg.cancel_resident())
            case Connect(on):
                self._sounds.connected = on
            case Open():
                self._open(action)
            case Presume(outcome):
                self._any_leg(lambda leg: leg.presume(outcome.value))
            case Decide(outcome):
                self._decided = self._decided or outcome
                self._any_leg(lambda leg: leg.decide(outcome.value))
            case HangUp(role):
                leg = self._legs.get(role)
                if leg is not None:
                    leg.hang_up()
            case Note(what):
                self._any_leg(lambda leg: leg.note("app.note", app="porteiro", state=what))

    def _any_leg(self, do: Any) -> None:
        for leg in self._legs.values():
            do(leg)
            return

    def _visitor_leg(self, do: Any) -> None:
        leg = self._legs.get(Role.VISITOR)
        if leg is not None:
            do(leg)

    def _look_up(self, apartment: str, block: str) -> None:
        leg = self._legs.get(Role.VISITOR)
        if leg is None:
            return
        known = self._context.apartments
        found = known.find(leg.extension.condominium_id, apartment, block) if known is not None else None
        self._events.append(Found() if found is None else Found(found.numbers, found.ask_block))

    # the gate

    def _open(self, action: Open) -> None:
        visitor = self._legs.get(Role.VISITOR)
        leg = visitor or self._legs.get(Role.RESIDENT)
        gate, dialogue = self._context.gate, self._dialogue
        if leg is None or dialogue is None:
            return
        if gate is None:
            self._events.append(GateAnswered(False))
            return
        caller = None if visitor is None else visitor.caller
        authorisation = Authorisation(
            leg.call_id,
            dialogue.visit.visit,
            leg.extension,
            action.apartment,
            action.block,
            action.number,
            action.concierge,
            action.key,
            "" if caller is None else caller.channel,
        )
        work = Deferred.fromCoroutine(self._opened(gate.open(authorisation)))
        work.addErrback(self._gate_broke)

    async def _opened(self, answer: Any) -> None:
        said: GateAnswer = await answer
        if not self._stopped:
            self._send(GateAnswered(said.opened))

    def _gate_broke(self, failure: Any) -> None:
        self._log.failure("the gate could not be asked", failure)
        if not self._stopped:
            self._send(GateAnswered(False))


def _other(role: Role) -> Role:
    return Role.RESIDENT if role is Role.VISITOR else Role.VISITOR
