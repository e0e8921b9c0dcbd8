"""A key before a leg counts as the resident's: a mailbox, an announcement or a forwarded call presses none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from audiosocket.calls.call import Call
from audiosocket.interfaces import App, AppContext, Leg
from audiosocket.prompts.library import PromptLibrary
from audiosocket.prompts.player import PromptPlayer
from audiosocket.returncalls.service import ReturnCalls

#: The name of this app on a leg; none that an operator can choose is written like this.
NAME = "(confirmation)"
#: How often the prompt is played, and for how long a key is waited for after each, in seconds.
PROMPTS = 2
KEY_SECONDS = 8.0
#: No prompt is longer; one that does not end is not waited for.
PROMPT_SECONDS = 30.0
UNCONFIRMED = "answered, but no key was pressed; perhaps a mailbox"


class Confirmation(App):
    """Asks for a key, and then hands the leg over to the apps in ``spec``.

    ``confirmed`` is asked whether the resident is still waited for; ``unconfirmed`` is called when the leg is
    over and no key was pressed.
    """

    def __init__(
        self,
        context: AppContext,
        spec: str,
        confirmed: Callable[[], bool],
        unconfirmed: Callable[[str], None],
        seconds: Callable[[], float],
    ) -> None:
        super().__init__(context)
        settings = context.settings
        self._library = PromptLibrary(context.sounds, Path(settings.data_dir), settings.porteiro_language, seconds)
        self._call_later = context.call_later
        self._spec = spec
        self._confirmed = confirmed
        self._unconfirmed = unconfirmed
        self._player: PromptPlayer | None = None
        self._timer: Any = None
        self._asked = 0
        self._over = False

    def joined(self, leg: Leg) -> None:
        leg.remember(self, True)
        self._player = PromptPlayer(
            leg, self._library, self._call_later, began=lambda _: None, said=lambda _: self._wait(leg)
        )
        self._ask(leg)

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        if self._player is not None:
            self._player.heard()

    def marked(self, leg: Leg, name: str, heard_ms: int) -> None:
        if self._player is not None:
            self._player.marked(name)

    def digit(self, leg: Leg, digit: str) -> None:
        if self._over:
            return
        self._close()
        leg.clear()
        if not self._confirmed():
            leg.hang_up()
            return
        leg.remember(self, None)
        leg.hand_over(self, self._spec, "a key was pressed")

    def left(self, leg: Leg, outcome: str) -> None:
        if not self._over:
            self._close()
            if outcome != "shutdown":
                self._unconfirmed(UNCONFIRMED)

    def _ask(self, leg: Leg) -> None:
        if self._asked >= PROMPTS:
            leg.hang_up()
            return
        self._asked += 1
        self._restart_timer(PROMPT_SECONDS, self._ask, leg)
        if self._player is not None:
            self._player.say(("resident_greeting", "press_three"), self._asked)

    def _wait(self, leg: Leg) -> None:
        self._restart_timer(KEY_SECONDS, self._ask, leg)

    def _restart_timer(self, seconds: float, step: Callable[[Leg], None], leg: Leg) -> None:
        self._stop_timer()
        self._timer = self._call_later(seconds, self._elapsed, step, leg)

    def _elapsed(self, step: Callable[[Leg], None], leg: Leg) -> None:
        self._timer = None
        step(leg)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _close(self) -> None:
        self._over = True
        self._stop_timer()
        if self._player is not None:
            self._player.close()


def make_confirmation(
    context: AppContext, seconds: Callable[[], float], call: Call, spec: str, returns: ReturnCalls
) -> Confirmation:
    """The app that asks on a resident's leg of ``call``; ``seconds`` is a steady clock."""
    return Confirmation(
        context, spec, lambda: returns.joined(call), lambda reason: returns.unconfirmed(call, reason), seconds
    )
