"""The apps of each call: chosen when it begins, made once, shared by its legs, replaced by a fallback."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from twisted.logger import Logger

from audiosocket.calls.call import Call
from audiosocket.calls.leg_apps import REPLACED
from audiosocket.extensions.model import Extension, Role
from audiosocket.interfaces import App, AppContext, AppFactory, CallPolicy, Leg
from audiosocket.provisioning.app_rules import CallApps, Chain, LoadApps

Pairs = tuple[tuple[str, App], ...]


class _Unmade(App):
    """Stands for an app that could not be made: ends its call as an app that raises does."""

    def joined(self, leg: Leg) -> None:
        raise LookupError("this app could not be made; the failure before this one says why")


def _load_nothing(spec: str) -> Sequence[tuple[str, AppFactory]]:
    raise LookupError(f"no app {spec!r} is known here")


class AppInstances:
    """Makes the apps of calls and keeps them until the calls end.

    ``choose`` is asked once per call, so that a change of the rules never reaches a call in progress. ``load``
    finds the apps that take a leg over, by name.
    """

    _log = Logger()

    def __init__(
        self, choose: Callable[[Extension], CallApps], context: AppContext, load: LoadApps = _load_nothing
    ) -> None:
        self._choose = choose
        self._context = context
        self._load = load
        #: Of each call, by the number of its UUID, what was chosen, and the apps made so far. Pairs: a dictionary
        #: is larger than an app.
        self._calls: dict[int, tuple[CallApps, Pairs]] = {}

    @classmethod
    def fixed(
        cls,
        apps: Mapping[Role, Sequence[tuple[str, AppFactory]]],
        context: AppContext,
        load: LoadApps = _load_nothing,
    ) -> AppInstances:
        """Return instances that choose the same apps for all calls."""
        chains = {role: Chain("+".join(name for name, _ in each), tuple(each), "") for role, each in apps.items()}
        chosen = CallApps(chains)
        return cls(lambda extension: chosen, context, load)

    def of(self, call: Call, role: Role) -> Pairs:
        """Return the apps of a leg that joins or resumes, in order."""
        chosen, _ = self._of_call(call)
        replaced = _replaced(call, role)
        if not replaced:
            return (*self._make(call, chosen.chains[role].apps), *self._recorder(call, chosen, role))
        try:
            apps = self._load(replaced)
        except Exception:  # noqa: BLE001 - such as an app that was uninstalled while the server was restarted
            self._log.failure("app {spec} of {call_id} cannot be found", spec=replaced, call_id=call.name)
            return (("unknown", _Unmade()),)
        return self._make(call, apps)

    def _recorder(self, call: Call, chosen: CallApps, role: Role) -> Pairs:
        """The app record, last, where ``record = true`` stands in ``apps.toml`` and no chain names it."""
        if not chosen.policy.record or "record" in chosen.chains[role].names:
            return ()
        return self._make(call, self._load("record"))

    def replacement(self, call: Call, spec: str) -> Pairs:
        """Return the apps named in ``spec``; raises `UnknownApp`."""
        return self._make(call, self._load(spec))

    def policy(self, call: Call) -> CallPolicy:
        """Return what the operator decided for a call."""
        return self._of_call(call)[0].policy

    def forget(self, call_id: UUID) -> None:
        """Drop the apps of a call that has ended."""
        self._calls.pop(call_id.int, None)

    def _of_call(self, call: Call) -> tuple[CallApps, Pairs]:
        known = self._calls.get(call.call_id.int)
        if known is None:
            known = self._calls[call.call_id.int] = (self._choose(call.extension), ())
        return known

    def _make(self, call: Call, apps: Sequence[tuple[str, AppFactory]]) -> Pairs:
        return tuple([self._instance(call, name, factory) for name, factory in apps])

    def _instance(self, call: Call, name: str, factory: AppFactory) -> tuple[str, App]:
        """Return the name and the app, the same for both legs of the call."""
        chosen, made = self._of_call(call)
        for pair in made:
            if pair[0] == name:
                return pair
        try:
            app = _checked(factory(self._context_for(chosen, name, factory)))
        except Exception:  # noqa: BLE001 - a plug-in's constructor costs its own call
            self._log.failure("app {name} cannot be made for {call_id}", name=name, call_id=call.name)
            app = _Unmade(self._context)
        pair = (name, app)
        self._calls[call.call_id.int] = (chosen, (*made, pair))
        return pair

    def _context_for(self, chosen: CallApps, name: str, factory: AppFactory) -> AppContext:
        """Return the context of one app, made once for all calls with the same choice."""
        context = chosen.contexts.get(name)
        if context is None:
            context = chosen.contexts[name] = replace(
                self._context,
                parameters=chosen.parameters_of(name, factory),
                policy=chosen.policy,
                chains={role: chain.names for role, chain in chosen.chains.items()},
            )
        return context


def _checked(made: object) -> App:
    """Return what a factory returned; raises TypeError when it is not an app."""
    if not isinstance(made, App):
        raise TypeError(f"the factory returned {type(made).__name__}, which is no App")
    return made


def _replaced(call: Call, role: Role) -> str:
    """Return the apps that replaced those of this leg before a restart; empty for none."""
    kept: Any = call.states.get((role, REPLACED)) if call.states else None
    spec = kept.get("apps") if isinstance(kept, dict) else None
    return spec if isinstance(spec, str) else ""
