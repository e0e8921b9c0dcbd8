"""The apps of one leg: called in order, one app's failure kept from the others, one replaced by others."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from types import FrameType
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.calls.async_hooks import AsyncHooks
from audiosocket.calls.call import Call
from audiosocket.interfaces import App, HookResult
from audiosocket.interfaces import Leg as LegForApps

#: Under this name a call remembers which apps a leg runs since one was replaced: no app has it.
REPLACED = ""

Pair = tuple[str, App]


class HostLeg(LegForApps, Protocol):
    """The leg that apps run on: `leg.Leg`. It is an argument, so that the two do not keep each other alive."""

    call: Call

    @property
    def over(self) -> bool:
        """Whether the leg has no connection."""

    def app_failed(self, name: str, failure: Failure | None = None) -> None:
        """End the call because an app raised; without ``failure`` it is the current exception."""

    def replacement(self, names: str) -> Sequence[Pair]:
        """Return the apps with these names, joined by ``+``; raises for those that cannot be found."""


def purpose_of(frame: FrameType) -> str:
    """Return which app and call a frame of `LegApps.call` works for, empty for another frame; only reads."""
    if frame.f_code is not LegApps.call.__code__:
        return ""
    values = frame.f_locals
    return f"the app {values['name']} of call {values['leg'].call.call_id}"


class LegApps:
    """The apps of one leg, as names and apps in order."""

    __slots__ = ("_handed_over", "_hooks", "_pairs", "_started", "listening")
    _log = Logger()

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        #: How many of them know of this leg, the first ones.
        self._started = 0
        #: Those of them that take the caller's audio.
        self.listening: tuple[Pair, ...] = ()
        #: Apps that handed this leg over.
        self._handed_over: tuple[App, ...] = ()
        #: Running coroutines by the name of their app; None for most legs.
        self._hooks: dict[str, AsyncHooks] | None = None

    @property
    def passes_on(self) -> bool:
        """Whether one of them passes frames on to another leg."""
        return any(app.passes_on for _, app in self._pairs)

    def name_of(self, app: App) -> str | None:
        """Return the name of an app; None if it is not on this leg."""
        return next((name for name, known in self._pairs if known is app), None)

    def start(self, leg: HostLeg) -> None:
        """Report the new leg, to one app after the other until one ends it."""
        for pair in self._pairs:
            if leg.over:
                return
            self._start(leg, pair)

    def restart(self, leg: HostLeg, states: Mapping[str, Any]) -> None:
        """Report a leg that resumes after a restart of the server; ``states`` are those of the apps, by name."""
        for pair in self._pairs:
            if leg.over:
                return
            self._add(pair)
            name, app = pair
            self.call(leg, name, app.restored, leg, states.get(name))
            if not leg.over:
                self.call(leg, name, app.resumed, leg)

    def save(self, leg: HostLeg) -> dict[str, Any]:
        """Return what the apps need in the next process, by name; those that cannot go on there are left out."""
        states: dict[str, Any] = {}
        for name, app in self._pairs[: self._started]:
            try:
                state = app.handed_over(leg)
            except Exception:  # noqa: BLE001 - it continues as after a restart
                self._log.failure("{name} cannot hand over {leg}", name=name, leg=leg)
                continue
            if state is not None:
                states[name] = state
        return states

    def can_take_over(self, states: Mapping[str, Any]) -> bool:
        """Return whether all apps have a state of the previous process to go on with."""
        return all(name in states for name, _ in self._pairs)

    def take_over(self, leg: HostLeg, states: Mapping[str, Any]) -> None:
        """Report a leg of the previous process whose queue goes on."""
        for pair in self._pairs:
            if leg.over:
                return
            self._add(pair)
            name, app = pair
            self.call(leg, name, app.taken_over, leg, states[name])

    def report(self, leg: HostLeg, hook: Callable[[App], HookResult], *, even_when_over: bool = False) -> None:
        """Call ``hook`` with the apps that know of this leg, in order, until one of them ends it."""
        for name, app in self._pairs[: self._started]:
            if leg.over and not even_when_over:
                return
            self.call(leg, name, hook, app)

    def call(self, leg: HostLeg, name: str, hook: Callable[..., object], *arguments: object) -> None:
        """Call a hook of the app called ``name``, and run what it returns if that is a coroutine or a Deferred."""
        try:
            result = hook(*arguments)
            if result is not None:
                self.run(leg, name, result)
        except Exception:  # noqa: BLE001 - an app's fault costs its own call
            leg.app_failed(name)

    def run(self, leg: HostLeg, name: str, result: object) -> None:
        """Run what a hook of the app called ``name`` returned, if it is a coroutine or a Deferred."""
        if not isinstance(result, Coroutine | Deferred):
            return
        if self._hooks is None:
            self._hooks = {}
        hooks = self._hooks.get(name)
        if hooks is None:
            hooks = self._hooks[name] = AsyncHooks(partial(self._coroutine_failed, leg, name))
        hooks.add(result)

    def cancel(self) -> None:
        """Cancel the coroutines that run."""
        for hooks in (self._hooks or {}).values():
            hooks.cancel()

    def hand_over(self, leg: HostLeg, app: App, to: str, reason: str) -> None:
        """Replace ``app`` by the apps named in ``to``, see `interfaces.Leg.hand_over`."""
        name = self.name_of(app)
        if name is None or leg.over:
            return
        leg.clear()
        leg.pause(False)
        try:
            new = leg.replacement(to)
        except Exception:  # noqa: BLE001 - such as an app that was uninstalled
            leg.app_failed(name)
            return
        self._handed_over += (app,)
        leg.note("app.replaced", app=name, to=to, reason=reason)
        if any(one is gone for _, one in new for gone in self._handed_over):
            leg.hang_up()
            return
        self._replace(leg, name, app, new)

    def _replace(self, leg: HostLeg, name: str, app: App, new: Sequence[Pair]) -> None:
        known = [one for _, one in self._pairs]
        at = known.index(app)
        new = [pair for pair in new if pair[1] not in known]
        if self._hooks is not None and name in self._hooks:
            self._hooks.pop(name).cancel()
        self.listening = tuple(pair for pair in self.listening if pair[1] is not app)
        self._pairs = (*self._pairs[:at], *new, *self._pairs[at + 1 :])
        self._started -= 1
        leg.call.remember(leg.role, REPLACED, {"apps": "+".join(name for name, _ in self._pairs)})
        for pair in new:
            if leg.over:
                return
            self._start(leg, pair)
            caller = leg.caller
            if not leg.over and caller is not None:
                self.call(leg, pair[0], pair[1].identified, leg, caller)

    def _start(self, leg: HostLeg, pair: Pair) -> None:
        self._add(pair)
        name, app = pair
        self.call(leg, name, app.joined, leg)

    def _add(self, pair: Pair) -> None:
        self._started += 1
        if getattr(pair[1].audio, "__func__", None) is not App.audio:
            self.listening += (pair,)

    def _coroutine_failed(self, leg: HostLeg, name: str, failure: Failure) -> None:
        if leg.over:
            self._log.failure("{name} raised after the end of {leg}", failure, name=name, leg=leg)
        else:
            leg.app_failed(name, failure)
