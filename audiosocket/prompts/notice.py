"""The notice that a call is recorded, or what is said in it written down: played before anything else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from audiosocket.interfaces import AppContext, CallPolicy, Leg
from audiosocket.prompts.library import MAX_RATE, PromptLibrary

#: Apps that say it themselves: beside them `record` does not.
SAY_IT_THEMSELVES = frozenset({"porteiro", "twilio", "openai_realtime", "asterisk_ws"})
_MARK = "recording-notice"


def is_due(policy: CallPolicy, first: Sequence[str], app: str) -> bool:
    """Return whether ``app`` has to say the notice on a leg that began with the apps ``first``: not where it took
    the leg over from another one that has said it.
    """
    if not (policy.record or policy.transcript):
        return False
    # with `record` the app of that name has said it where none of the others does
    said = policy.record or not SAY_IT_THEMSELVES.isdisjoint(first)
    return app in first or not first or not said


class RecordingNotice:
    """Plays the notice on one leg. ``said`` is called once, when it has been heard or cannot be played."""

    _log = Logger()

    def __init__(self, leg: Leg, context: AppContext, said: Callable[[], None] = lambda: None) -> None:
        settings = context.settings
        self._leg = leg
        self._library = PromptLibrary(
            context.sounds, Path(settings.data_dir), settings.porteiro_language, time.monotonic
        )
        self._said = said
        self._over = False

    def start(self) -> None:
        """Play it as soon as it is read."""
        Deferred.fromCoroutine(self._play()).addErrback(
            lambda failure: self._log.failure("the notice on {leg} failed", failure, leg=self._leg)
        )

    def marked(self, name: str) -> None:
        """Take a mark that the leg has reached; those of other apps are ignored."""
        if name == _MARK:
            self._finish()

    def cancel(self) -> None:
        """Stop, because the leg has ended."""
        self._over = True

    async def _play(self) -> None:
        rate = min(self._leg.rate, MAX_RATE)
        pcm = await self._library.get("recording_notice", rate)
        if self._over:
            return
        if pcm:
            self._leg.play(pcm, rate)
            self._leg.mark(_MARK)
        else:
            self._finish()

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._said()
