"""Apps by name: the built-in ones, and those of other packages through the entry-point group.

A setting such as ``VISITOR_APP`` names one app or several joined by ``+``, which run on the same leg in that
order: ``play+echo``. A plug-in is an installed package with an entry point in the group ``audiosocket.apps``: a
subclass of `interfaces.App`, or a function that returns one; ``examples/apps`` has complete ones. Plug-ins that
are not named are not imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, cast

from twisted.logger import Logger

from audiosocket.apps.bridge import Bridge
from audiosocket.apps.echo import Echo
from audiosocket.apps.loopback import Loopback
from audiosocket.apps.play import Play
from audiosocket.apps.porteiro.app import Porteiro
from audiosocket.apps.record import Record
from audiosocket.apps.silence import Silence
from audiosocket.bots.app import AsteriskWs, OpenAIRealtime, Twilio
from audiosocket.errors import UnknownApp
from audiosocket.interfaces import App, AppContext, AppFactory
from audiosocket.settings import Settings

GROUP = "audiosocket.apps"

BUILT_IN: Mapping[str, AppFactory] = MappingProxyType(
    {
        "asterisk_ws": AsteriskWs,
        "bridge": Bridge,
        "echo": Echo,
        "loopback": Loopback,
        "openai_realtime": OpenAIRealtime,
        "play": Play,
        "porteiro": Porteiro,
        "record": Record,
        "silence": Silence,
        "twilio": Twilio,
    }
)

_log = Logger()


def load(spec: str) -> tuple[tuple[str, AppFactory], ...]:
    """Return the apps named in ``spec``, in order, with their factories, which are called once per call.

    Raises `UnknownApp` for a name that is blank, repeated or unknown and for a plug-in that cannot be used; the
    text does not name the setting, which is known to the caller only.
    """
    offered = _offered()
    apps: dict[str, AppFactory] = {}
    for part in spec.split("+"):
        name = part.strip()
        if not name:
            raise UnknownApp(
                f"{spec!r} has an empty name; write one app or several joined by '+'. {_known(offered)}"
            )
        if name in apps:
            raise UnknownApp(f"{spec!r} names {name!r} twice; an app runs once on a leg")
        apps[name] = _factory(name, offered)
    return tuple(apps.items())


def known() -> dict[str, str]:
    """Return every name that `load` accepts, and its origin; nothing is imported."""
    return _origins(_offered())


def problems(apps: Iterable[tuple[str, AppFactory]], settings: Settings) -> list[str]:
    """Return what the apps report not to work with these settings, one sentence each.

    An app may have a function ``check(settings)`` beside its factory (a static method of its class) that returns
    such sentences. It may read files, so it is called at the start and not during a call.
    """
    found: list[str] = []
    for name, factory in dict(apps).items():
        check = getattr(factory, "check", None)
        try:
            found += check(settings) if check is not None else []
        except Exception as error:  # noqa: BLE001 - foreign code must not keep the server from starting
            found.append(f"the app {name!r} could not be checked: {type(error).__name__}: {error}")
    return found


def _factory(name: str, offered: Mapping[str, list[EntryPoint]]) -> AppFactory:
    entries = offered.get(name, [])
    built_in = BUILT_IN.get(name)
    if built_in is not None:
        for entry in entries:
            _log.warn(
                "the app {name} of {origin} is not used: a built-in app has that name; rename the entry point",
                name=name,
                origin=_origin(entry),
            )
        return built_in
    if not entries:
        close = get_close_matches(name, [*BUILT_IN, *offered], 1)
        meant = f"; did you mean {close[0]!r}?" if close else "."
        raise UnknownApp(f"{name!r} is no app{meant} {_known(offered)}")
    if len(entries) > 1:
        origins = " and ".join(sorted(_origin(entry) for entry in entries))
        raise UnknownApp(f"the app {name!r} comes from {origins}; uninstall all but one")
    return _loaded(entries[0])


def _loaded(entry: EntryPoint) -> AppFactory:
    where = f"the app {entry.name!r} of {_origin(entry)} ({entry.value})"
    try:
        found = entry.load()
    except Exception as error:
        raise UnknownApp(f"{where} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UnknownApp(f"{where} is not a class or function but {type(found).__name__}")
    if isinstance(found, type) and not issubclass(found, App):
        raise UnknownApp(f"{where} is a class that is no subclass of audiosocket.interfaces.App")
    if _takes(found, 1):
        return cast(AppFactory, found)
    if _takes(found, 0):
        return _WithoutContext(found)
    raise UnknownApp(f"{where} cannot be called with one argument, the AppContext")


class _WithoutContext:
    """A factory without a parameter, such as a class without ``__init__``."""

    def __init__(self, make: Callable[[], App]) -> None:
        self._make = make

    def __call__(self, context: AppContext) -> App:
        return self._make()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make, name)


def _takes(function: Callable[..., Any], arguments: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except (TypeError, ValueError):  # the latter: written in C, without a signature
        return False
    return True


def _offered() -> dict[str, list[EntryPoint]]:
    """Return the entry points of other packages; this distribution lists the built-in apps there, too."""
    offered: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        if not _is_built_in(entry):
            offered.setdefault(entry.name, []).append(entry)
    return offered


def _is_built_in(entry: EntryPoint) -> bool:
    factory = BUILT_IN.get(entry.name)
    if factory is None:
        return False
    ours = f"{factory.__module__}:{getattr(factory, '__qualname__', '')}"
    return entry.value.replace(" ", "") == ours


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unknown package"


def _origins(offered: Mapping[str, list[EntryPoint]]) -> dict[str, str]:
    plugged = {name: " and ".join(map(_origin, entries)) for name, entries in sorted(offered.items())}
    return {**plugged, **dict.fromkeys(BUILT_IN, "built in")}


def _known(offered: Mapping[str, list[EntryPoint]]) -> str:
    origins = _origins(offered)
    plugged = [f"{name} (from {origin})" for name, origin in origins.items() if name not in BUILT_IN]
    return f"Known apps: {', '.join([f'{name} (built in)' for name in sorted(BUILT_IN)] + plugged)}"
