"""What the two legs of a visit hear: prompts, the visitor's name, each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from audiosocket.apps.porteiro.name_recording import NameRecording
from audiosocket.apps.porteiro.words import NAME, TONE, Began, Event, Said, Say, SpeechEnded, SpeechStarted
from audiosocket.extensions.model import Role
from audiosocket.interfaces import Leg
from audiosocket.prompts.library import PromptLibrary
from audiosocket.prompts.player import BEEP, Item, PromptPlayer, Sound

#: Frames that may wait on the other side while two people talk, in milliseconds.
TALK_WAIT_MS = 200


class Sounds:
    """The players of the legs that are there, and the name; ``send`` is told what was said and heard."""

    def __init__(
        self, library: PromptLibrary, call_later: Callable[..., Any], send: Callable[[Event], None]
    ) -> None:
        self._library = library
        self._call_later = call_later
        self._send = send
        self._players: dict[Role, PromptPlayer] = {}
        self._recording: NameRecording | None = None
        #: What the visitor said, while a leg is there.
        self.name: Sound | None = None
        #: The two hear each other.
        self.connected = False

    def add(self, leg: Leg) -> None:
        """Have something to play to a leg."""
        self._players[leg.role] = PromptPlayer(
            leg,
            self._library,
            self._call_later,
            began=lambda token: self._send(Began(leg.role, token)),
            said=lambda token: self._send(Said(leg.role, token)),
        )

    def remove(self, role: Role) -> None:
        """Forget a leg that has left, and the name with the last one."""
        player = self._players.pop(role, None)
        if player is not None:
            player.close()
        if role is Role.VISITOR:
            self._recording = None
        if not self._players:
            self.name = None

    def heard(self, leg: Leg, other: Leg | None, pcm: bytes, rate: int) -> None:
        """Take a frame of a leg; ``other`` is the other one, None where there is none."""
        player = self._players.get(leg.role)
        if player is not None:
            player.heard()
        if self.connected:
            if other is not None:
                other.pass_on(pcm, rate, at_most_ms=TALK_WAIT_MS)
        elif self._recording is not None and leg.role is Role.VISITOR:
            self._recording.hear(leg.now_ms, pcm, rate)

    def marked(self, role: Role, name: str) -> None:
        """Take a mark that a leg has reached."""
        player = self._players.get(role)
        if player is not None:
            player.marked(name)

    def say(self, action: Say) -> None:
        """Play prompts to a leg, if it is there."""
        player = self._players.get(action.role)
        if player is not None:
            items = [item for prompt in action.prompts for item in self._items(prompt)]
            player.say(items, action.token, hold=action.hold)

    def _items(self, prompt: str) -> list[Item]:
        if prompt == TONE:
            return [BEEP]
        if prompt == NAME:
            return [] if self.name is None else [self.name]
        return [prompt]

    def record(self, visitor: Leg) -> None:
        """Begin to record the visitor's name."""
        self._recording = NameRecording(
            visitor.now_ms, lambda: self._send(SpeechStarted()), lambda: self._send(SpeechEnded())
        )

    def stop_recording(self) -> None:
        """Have as the name what was recorded, if there was speech in it."""
        recording, self._recording = self._recording, None
        if recording is not None:
            self.name = recording.sound() or self.name

    def save(self, role: Role) -> dict[str, Any] | None:
        """Return what a leg is played, see `PromptPlayer.save`; None too while a name is recorded."""
        player = self._players.get(role)
        return None if player is None or self._recording is not None else player.save()

    def load(self, role: Role, saved: Mapping[str, Any]) -> None:
        """Go on with what a leg is played."""
        self._players[role].load(saved)
