"""Settings that changed in their file while the server runs: what can be applied is, the rest is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.errors import InvalidSetting


class SettingsChanges:
    """Compares the settings as they are now with those in force.

    ``running`` is the dataclass of settings that the server was started with; ``read`` returns it anew, blocks and
    may raise `InvalidSetting`; ``in_thread`` runs it off the reactor. ``appliers`` take the new value of the field
    with their name.
    """

    _log = Logger()

    def __init__(
        self,
        running: Any,
        read: Callable[[], Any],
        appliers: Mapping[str, Callable[[Any], object]],
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self._running = {each.name: getattr(running, each.name) for each in fields(running)}
        self._read = read
        self._appliers = appliers
        self._in_thread = in_thread

    def read_again(self) -> None:
        """Read the settings, apply those that can change now, and log the names of the others."""
        reading = self._in_thread(self._read)
        reading.addCallback(self._compare).addErrback(self._unusable)

    def _compare(self, new: Any) -> None:
        waiting = []
        for name, before in self._running.items():
            value = getattr(new, name)
            if value == before:
                continue
            if name not in self._appliers:
                waiting.append(name.upper())
                continue
            self._appliers[name](value)
            self._running[name] = value
            self._log.info("{name} is {value} from now on", name=name.upper(), value=value)
        if waiting:
            self._log.warn("these settings have changed and need a restart: {names}", names=", ".join(waiting))

    def _unusable(self, failure: Failure) -> None:
        if failure.check(InvalidSetting):
            self._log.error("the settings stay as they are: {problem}", problem=failure.getErrorMessage())
        else:
            self._log.failure("the settings could not be read again", failure)
