"""Plays prompts on one leg: one list of them after the other, and ring-back where somebody waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from audiosocket.interfaces import Leg
from audiosocket.media.pcm import silence, tone
from audiosocket.prompts.library import MAX_RATE, PromptLibrary

#: Seconds after which a caller that has sent nothing has no rate of its own.
RATE_SECONDS = 0.04
#: Ring-back as in Brazil (425 Hz, 1 s), with a shorter pause: nobody waits more than 4 s without a sound.
RING_HZ, RING_MS, RING_PAUSE_MS, RING_DBFS = 425, 1_000, 2_800, -22.0
#: The tone after which a name is said.
BEEP_HZ, BEEP_MS, BEEP_DBFS = 1_000, 300, -18.0
#: Rings between two "please wait".
RINGS = 4


@dataclass(frozen=True)
class Sound:
    """Audio that is no prompt; ``rate`` is in Hz."""

    pcm: bytes
    rate: int


#: The name of a prompt, audio, or `BEEP`.
Item: TypeAlias = "str | Sound"
BEEP = "@beep"


@lru_cache(maxsize=16)
def ring_back(rate: int) -> bytes:
    """One ring and its pause; shared by all legs of that rate."""
    return tone(rate, RING_HZ, RING_MS, RING_DBFS) + silence(rate, RING_PAUSE_MS)


@lru_cache(maxsize=16)
def beep(rate: int) -> bytes:
    """The tone after which the caller speaks."""
    return tone(rate, BEEP_HZ, BEEP_MS, BEEP_DBFS)


class PromptPlayer:
    """What one leg is played. ``began`` and ``said`` get the token of what has begun and what has all been sent.

    The app hands over `App.marked` and tells of the first frame (`heard`), which says the caller's rate.
    """

    _log = Logger()

    def __init__(
        self,
        leg: Leg,
        library: PromptLibrary,
        call_later: Callable[..., Any],
        *,
        began: Callable[[int], None],
        said: Callable[[int], None],
        waiting: str = "please_wait",
    ) -> None:
        self._leg = leg
        self._library = library
        self._began = began
        self._said = said
        self._waiting = waiting
        #: Counts what was to be played: what belongs to another count is over.
        self._turn = 0
        self._rings = 0
        self._over = False
        self._first: tuple[Sequence[Item], int, bool] | None = None
        self._timer: Any = call_later(RATE_SECONDS, self._rate_known)
        self._open = False
        #: Prompts that are being read for this leg.
        self._reading = 0

    def save(self) -> dict[str, Any] | None:
        """Return what the next process needs to go on; None while something is read that is to be played."""
        if self._timer is not None or self._reading:
            return None
        return {"turn": self._turn, "rings": self._rings, "open": self._open}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on with what is queued on the leg."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._turn, self._rings, self._open = int(saved["turn"]), int(saved["rings"]), bool(saved["open"])

    def say(self, items: Sequence[Item], token: int, *, hold: bool = False) -> None:
        """Stop what is heard within 40 ms and play this; with ``hold``, ring-back follows until the next `say`."""
        self._turn += 1
        self._leg.clear()
        if self._timer is not None:
            self._first = (items, token, hold)
            return
        work = Deferred.fromCoroutine(self._play(items, token, hold, self._turn))
        work.addErrback(lambda why: self._log.failure("a prompt failed on {leg}", why, leg=self._leg))

    def heard(self) -> None:
        """A frame came from the caller."""
        if self._timer is not None:
            self._timer.cancel()
            self._rate_known()

    def marked(self, name: str) -> None:
        """Take a mark that the leg has reached; those of other apps are ignored."""
        if name == f"prompt-{self._turn}":
            if self._open:
                self._ring()

        elif name.startswith(f"prompt-{self._turn}-"):
            token = int(name.rpartition("-")[2])
            if self._open:
                self._ring()
            self._said(token)

    def close(self) -> None:
        """Stop, because the leg has ended."""
        self._over = True
        self._turn += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rate_known(self) -> None:
        self._timer = None
        first, self._first = self._first, None
        if first is not None and not self._over:
            items, token, hold = first
            self.say(items, token, hold=hold)

    @property
    def _rate(self) -> int:
        return min(self._leg.rate, MAX_RATE)

    async def _play(self, items: Sequence[Item], token: int, hold: bool, turn: int) -> None:
        self._open, self._rings = hold, 0
        began = False
        for item in items:
            pcm, rate = await self._sound(item)
            if turn != self._turn:
                return
            if pcm:
                self._leg.play(pcm, rate)
            if not began:
                began = True
                self._began(token)
                if turn != self._turn:
                    return
        if items:
            self._leg.mark(f"prompt-{turn}-{token}")
            return
        if hold:
            self._ring()
        self._began(token)
        self._said(token)

    async def _sound(self, item: Item) -> tuple[bytes, int]:
        rate = self._rate
        if isinstance(item, Sound):
            return item.pcm, item.rate
        if item == BEEP:
            return beep(rate), rate
        return await self._read(item, rate), rate

    async def _read(self, prompt: str, rate: int) -> bytes:
        self._reading += 1
        try:
            return await self._library.get(prompt, rate)
        finally:
            self._reading -= 1

    def _ring(self) -> None:
        """One more ring, now and then followed by words, until `say` is called again."""
        self._rings += 1
        rate = self._rate
        self._leg.play(ring_back(rate), rate)
        if self._rings % RINGS == 0 and self._waiting:
            work = Deferred.fromCoroutine(self._ring_words(self._turn))
            work.addErrback(lambda why: self._log.failure("a prompt failed on {leg}", why, leg=self._leg))
        else:
            self._leg.mark(f"prompt-{self._turn}")

    async def _ring_words(self, turn: int) -> None:
        rate = self._rate
        pcm = await self._read(self._waiting, rate)
        if turn == self._turn:
            if pcm:
                self._leg.play(pcm, rate)
            self._leg.mark(f"prompt-{turn}")
