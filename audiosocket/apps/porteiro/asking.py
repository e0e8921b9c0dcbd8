"""The visitor's half of the conversation: the name, the apartment, the block, and the ringing of numbers."""

from __future__ import annotations

from audiosocket.apps.porteiro.script import RESIDENT, VISITOR, Script
from audiosocket.apps.porteiro.words import (
    TONE,
    Found,
    LookUp,
    Outcome,
    Record,
    Ring,
    Stage,
    StopRecording,
    StopRinging,
)

#: How often a name is asked for, and how often an apartment or block may be typed.
NAME_TRIES = 2
APARTMENT_TRIES = 3
MAX_TYPED = 12
DIGITS = "0123456789"


class Asking(Script):
    """From the greeting until a resident's leg is there."""

    # name

    def _ask_name(self) -> None:
        self._enter(Stage.NAME)
        self.visit.name = ""
        self._prompt_name(*self._notice(VISITOR), "greeting", "ask_name", TONE)

    def _prompt_name(self, *prompts: str) -> None:
        self._enter(Stage.NAME)
        self._say(VISITOR, *prompts, then=self._record)
        self._wait(self.timing.prompt, self._record)

    def _record(self) -> None:
        self._enter(Stage.RECORDING)
        self.visit.asked += 1
        self._do(Record())
        self._wait(self.timing.no_speech, self._name_ended)

    def _speech_started(self) -> None:
        if self.visit.stage is Stage.RECORDING and not self.visit.name:
            self.visit.name = "heard"
            self._wait(self.timing.name, self._name_ended)

    def _name_ended(self) -> None:
        if self.visit.stage is not Stage.RECORDING:
            return
        self._do(StopRecording())
        if not self.visit.name and self.visit.asked < NAME_TRIES:
            self._prompt_name("not_heard", TONE)
        else:
            self._ask_apartment()

    def _name_key(self, digit: str) -> None:
        """A key ends the greeting, then the recording; a number is already the apartment."""
        recording = self.visit.stage is Stage.RECORDING
        if digit == "0" and self._may_call_concierge():
            if recording:
                self._do(StopRecording())
            self._call_concierge()
        elif digit in DIGITS:
            if recording:
                self._do(StopRecording())
            self._ask_apartment()
            self._typed(digit)
        elif recording:
            self._do(StopRecording())
            self._ask_apartment()
        else:
            self._say(VISITOR, TONE, then=self._record)

    # apartment and block

    def _ask_apartment(self, *before: str) -> None:
        self._enter(Stage.APARTMENT)
        self.visit.apartment = self.visit.block = ""
        self._ask_number(*before, "ask_apartment")

    def _ask_block(self, *before: str) -> None:
        self._enter(Stage.BLOCK)
        self.visit.block = ""
        self._ask_number(*before, "ask_block")

    def _ask_number(self, *prompts: str) -> None:
        self.visit.typed = ""
        self._say(VISITOR, *prompts, then=self._wait_for_key)
        self._wait(self.timing.prompt, self._wait_for_key)

    def _wait_for_key(self) -> None:
        self._wait(self.timing.first_key, self._entered)

    def _typed(self, digit: str) -> None:
        self._say(VISITOR)
        if digit == "#":
            self._entered()
        elif digit in DIGITS:
            self.visit.typed += digit
            alone = self.visit.typed == "0" and self.visit.stage is Stage.APARTMENT and self._may_call_concierge()
            if len(self.visit.typed) >= MAX_TYPED:
                self._entered()
            else:
                self._wait(self.timing.lone_zero if alone else self.timing.next_key, self._entered)
        else:  # a star takes back what was typed
            self.visit.typed = ""
            self._wait_for_key()

    def _entered(self) -> None:
        typed, self.visit.typed = self.visit.typed, ""
        if not typed:
            self._again("not_heard")
        elif typed == "0" and self.visit.stage is Stage.APARTMENT and self._may_call_concierge():
            self._call_concierge()
        else:
            if self.visit.stage is Stage.BLOCK:
                self.visit.block = typed
            else:
                self.visit.apartment = typed
            self._do(LookUp(self.visit.apartment, self.visit.block))
            self._wait(self.timing.prompt, self._unknown)

    def _found(self, found: Found) -> None:
        if self.visit.stage not in {Stage.APARTMENT, Stage.BLOCK} or not self.visit.apartment:
            return
        if found.numbers:
            self.visit.waiting = list(found.numbers)
            self._ring_next()
        elif found.blocks and self.visit.stage is Stage.APARTMENT:
            self._ask_block()
        else:
            self._unknown()

    def _unknown(self) -> None:
        self._again("unknown_apartment")

    def _again(self, prompt: str) -> None:
        """One more try to type, or the end."""
        self.visit.tries += 1
        if self.visit.tries >= APARTMENT_TRIES:
            self._finish(Outcome.UNKNOWN_APARTMENT, ("failed", "goodbye"), ())
        elif self.visit.stage is Stage.BLOCK:
            self._ask_block(prompt)
        else:
            self._ask_apartment(prompt)

    # ringing

    def _ring_next(self) -> None:
        """Ring the next number, the first one at once; after the last one the concierge, or the end."""
        if self.visit.waiting:
            first = not self.visit.number
            self.visit.number, self.visit.concierge = self.visit.waiting.pop(0), False
            if first:
                self._ring("calling")
            else:
                self._announce("next_number")
        elif self._may_call_concierge():
            self._call_concierge()
        elif self.visit.rang:
            self._finish(Outcome.NO_ANSWER, ("no_answer", "goodbye"), ())
        else:
            self._finish(Outcome.FAILED, ("failed", "goodbye"), ())

    def _may_call_concierge(self) -> bool:
        return bool(self.options.concierge) and not self.visit.concierge_rung

    def _call_concierge(self, *before: str) -> None:
        self.visit.waiting = []
        self.visit.number, self.visit.concierge, self.visit.concierge_rung = self.options.concierge, True, True
        self._announce(*before, "calling_concierge")

    def _announce(self, *prompts: str) -> None:
        """Say whom we ring next. Who answered the number before only now finds that nobody is expected."""
        self._enter(Stage.CALLING)
        self._say(VISITOR, *prompts, hold=True)
        self._wait(self.timing.guard, self._ring)

    def _ring(self, *prompts: str) -> None:
        self._enter(Stage.RINGING)
        if prompts:
            self._say(VISITOR, *prompts, hold=True)
        self._do(Ring(self.visit.number))
        self._wait(self.timing.ring, self._ring_timed_out)

    def _ring_timed_out(self) -> None:
        self._do(StopRinging())
        self._ring_ended(self.visit.number, rang=False)

    def _ring_ended(self, number: str, *, rang: bool) -> None:
        if self.visit.stage is Stage.RINGING and number == self.visit.number:
            self.visit.rang = self.visit.rang or rang
            self._ring_next()

    def _ringing_key(self, digit: str) -> None:
        """While somebody is rung only 0 means something: the concierge, now."""
        if digit == "0" and self._may_call_concierge():
            if self.visit.stage is Stage.RINGING:
                self._do(StopRinging())
            self._call_concierge()
        else:
            self._say(VISITOR, hold=True)

    def _visitor_came(self, *, back: bool) -> None:
        """The visitor's leg is there, for the first time or ``back`` in the middle of something."""
        stage = self.visit.stage
        if stage in {Stage.NEW, Stage.NAME, Stage.RECORDING}:
            if RESIDENT in self.present:  # nobody rang this one
                self._reject_resident()
            self._ask_name()
        elif stage is Stage.APARTMENT:
            self._ask_apartment()
        elif stage is Stage.BLOCK:
            self._ask_block()
        elif stage is Stage.CALLING:
            self._announce("calling_concierge" if self.visit.concierge else "next_number")
        elif stage is Stage.RINGING:
            self._say(VISITOR, hold=True)
            self._wait(self.timing.ring_again if back else self.timing.ring, self._ring)

    def _reject_resident(self) -> None:
        """Defined by the resident's half."""
        raise NotImplementedError
