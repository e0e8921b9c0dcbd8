"""``apps.toml``: which apps the legs of an extension run, and with which parameters. Pure.

The most specific entry wins: extension, then condominium, then the settings. Each app's table is taken whole
from the most specific entry that has it; the options of `CallPolicy` are taken one by one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from audiosocket.errors import InvalidAppRules, InvalidParameter, UnknownApp
from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.number_patterns import is_pattern
from audiosocket.interfaces import AppContext, AppFactory, CallPolicy
from audiosocket.json_shapes import AppsJSON, ChainJSON
from audiosocket.provisioning.toml_lines import line_of

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

#: Names of apps joined by ``+`` to those apps; raises `UnknownApp`.
LoadApps = Callable[[str], Sequence[tuple[str, AppFactory]]]

MAX_BYTES = 1_000_000
MASK = "***"
_ROLES = {role.value: role for role in Role}
_POLICY: Mapping[str, type] = {option.name: type(option.default) for option in fields(CallPolicy)}
_PLACEHOLDER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SYNTAX_LINE = re.compile(r"at line (\d+)")
_SECRET_NAME = re.compile(r"key|token|secret|password|authorization|cookie|credential", re.IGNORECASE)


@dataclass(frozen=True)
class Parameters:
    """An app's table: ``value`` as the app parsed it, ``shown`` with every secret masked."""

    value: Any
    shown: Mapping[str, Any]
    origin: str


@dataclass(frozen=True)
class Chain:
    """The apps of a leg in order, as named in ``spec``; ``origin`` says where that stands."""

    spec: str
    apps: tuple[tuple[str, AppFactory], ...]
    origin: str

    @property
    def names(self) -> tuple[str, ...]:
        """The apps' names in order."""
        return tuple(name for name, _ in self.apps)


@dataclass(frozen=True)
class Entry:
    """One table ``[extension."1001"]`` or ``[condominium.15]`` with the tables of apps in it."""

    origin: str
    chains: Mapping[Role, Chain] = field(default_factory=dict)
    parameters: Mapping[str, Parameters] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AppRules:
    """A whole file. ``files`` are those that apps read besides it: a change of one is a change of the rules."""

    extensions: Mapping[str, Entry] = field(default_factory=dict)
    condominiums: Mapping[int, Entry] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def entries(self, extension: Extension) -> tuple[Entry, ...]:
        """The entries for an extension, the most specific first."""
        found = (self.extensions.get(extension.number), self.condominiums.get(extension.condominium_id))
        return tuple(entry for entry in found if entry is not None)


@dataclass(frozen=True)
class CallApps:
    """What the legs of one extension's calls run; kept by each call from its beginning to its end."""

    chains: Mapping[Role, Chain]
    policy: CallPolicy = field(default_factory=CallPolicy)
    parameters: Mapping[str, Parameters] = field(default_factory=dict)
    #: The context of each app, once it has been made.
    contexts: dict[str, AppContext] = field(default_factory=dict, compare=False, repr=False)

    def parameters_of(self, name: str, factory: AppFactory) -> Any:
        """The parsed table of an app, the defaults where it has none.

        Raises `InvalidParameter` for an app that needs a table and has none.
        """
        found = self.parameters.get(name)
        if found is not None:
            return found.value
        parse = getattr(factory, "parse_parameters", None)
        return None if parse is None else parse({}, Path())

    def to_json(self) -> AppsJSON:
        """Return what is shown by ``GET /api/extensions/{id}/apps``; secrets are masked."""
        return {
            "visitor": self._chain_json(self.chains[Role.VISITOR]),
            "resident": self._chain_json(self.chains[Role.RESIDENT]),
            "parameters": {
                name: {"from": found.origin, "values": dict(found.shown)}
                for name, found in self.parameters.items()
            },
            "options": {option.name: getattr(self.policy, option.name) for option in fields(CallPolicy)},
        }

    @staticmethod
    def _chain_json(chain: Chain) -> ChainJSON:
        return {"app": chain.spec, "apps": list(chain.names), "from": chain.origin}


def choose(rules: AppRules, defaults: Mapping[Role, Chain], extension: Extension) -> CallApps:
    """What the legs of ``extension`` run; ``defaults`` are the settings ``VISITOR_APP`` and ``RESIDENT_APP``."""
    entries = rules.entries(extension)
    chains = dict(defaults)
    parameters: dict[str, Parameters] = {}
    policy: dict[str, Any] = {}
    for entry in reversed(entries):
        chains.update(entry.chains)
        parameters.update(entry.parameters)
        policy.update(entry.policy)
    return CallApps(chains, CallPolicy(**policy), parameters)


def parse(text: str, values: Mapping[str, str], load: LoadApps, directory: Path) -> AppRules:
    """The rules in ``text``. ``values`` fill ``${NAME}``; names of files are relative to ``directory``.

    Raises `InvalidAppRules`; its text contains neither a value of ``values`` nor one of the file.
    """
    return _Reading(text, values, load, directory).read()


class _Reading:
    def __init__(self, text: str, values: Mapping[str, str], load: LoadApps, directory: Path) -> None:
        self._text = text
        self._values = values
        self._load = load
        self._directory = directory
        self._files: list[Path] = []

    def read(self) -> AppRules:
        try:
            found = tomllib.loads(self._text)
        except (ValueError, RecursionError) as error:
            line = _SYNTAX_LINE.search(str(error))
            reason = re.sub(r"\s*\(at line \d+, column \d+\)", "", str(error))
            raise InvalidAppRules(f"this is not TOML: {reason}", int(line[1]) if line else 0) from None
        unknown = [name for name in found if name not in {"extension", "condominium"}]
        if unknown:
            raise self._wrong(f"unknown table {unknown[0]!r}; there are extension and condominium", unknown[0])
        extensions = {
            name.strip(): self._entry(f"extension {name}", "extension", name, entry)
            for name, entry in self._tables(found, "extension")
        }
        condominiums = {
            self._condominium(name): self._entry(f"condominium {name}", "condominium", name, entry)
            for name, entry in self._tables(found, "condominium")
        }
        rules = AppRules(extensions, condominiums, tuple(self._files))
        self._check_needs(rules)
        return rules

    def _tables(self, found: Mapping[str, Any], kind: str) -> list[tuple[str, Mapping[str, Any]]]:
        tables = found.get(kind, {})
        if not isinstance(tables, dict):
            raise self._wrong(f"{kind} must be tables such as [{kind}.15]", kind)
        for name, entry in tables.items():
            if not isinstance(entry, dict):
                raise self._wrong(f"{kind}.{name} must be a table, [{kind}.{name}]", kind, name)
        return list(tables.items())

    def _condominium(self, name: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", name):
            raise self._wrong(f"{name!r} is not the id of a condominium", "condominium", name)
        return int(name)

    def _entry(self, origin: str, kind: str, name: str, table: Mapping[str, Any]) -> Entry:
        chains: dict[Role, Chain] = {}
        parameters: dict[str, Parameters] = {}
        policy: dict[str, Any] = {}
        for key, value in table.items():
            path = (kind, name, key)
            if key in _ROLES:
                chains[_ROLES[key]] = self._chain(value, origin, path)
            elif key in _POLICY:
                policy[key] = self._option(key, value, path)
            elif isinstance(value, dict):
                parameters[key] = self._parameters(key, value, origin, path)
            else:
                known = ", ".join([*_ROLES, *_POLICY])
                raise self._wrong(f"unknown key {key!r}; there are {known}, and a table for each app", *path)
        return Entry(origin, chains, parameters, policy)

    def _chain(self, spec: Any, origin: str, path: tuple[str, ...]) -> Chain:
        if not isinstance(spec, str):
            raise self._wrong(f"{path[-1]} must name an app, or several joined by +", *path)
        try:
            return Chain(spec, tuple(self._load(spec)), origin)
        except UnknownApp as error:
            raise self._wrong(f"{path[-1]}: {error}", *path) from None

    def _option(self, key: str, value: Any, path: tuple[str, ...]) -> Any:
        wanted = _POLICY[key]
        if wanted is tuple:
            return self._numbers(key, value, path)
        if type(value) is not wanted:
            kinds = {bool: "true or false", int: "a whole number", str: "a text"}
            raise self._wrong(f"{key} must be {kinds[wanted]}", *path)
        if isinstance(value, int) and not isinstance(value, bool) and not 1 <= value <= 36_500:
            raise self._wrong(f"{key} must be 1 to 36500", *path)
        if key == "transfer_context" and not re.fullmatch(r"[0-9A-Za-z._-]{0,79}", str(value)):
            raise self._wrong(f"{key} is not the name of a dialplan context", *path)
        return value

    def _numbers(self, key: str, value: Any, path: tuple[str, ...]) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise self._wrong(f'{key} must be a list of numbers or patterns, such as ["0", "_3XX"]', *path)
        for place, one in enumerate(value, 1):
            if not isinstance(one, str) or not is_pattern(one):
                raise self._wrong(f"{key}: entry {place} is neither a number nor a pattern such as _3XX", *path)
        return tuple(value)

    def _parameters(self, app: str, table: Mapping[str, Any], origin: str, path: tuple[str, ...]) -> Parameters:
        try:
            loaded = tuple(self._load(app))
        except UnknownApp as error:
            raise self._wrong(f"unknown key or app {app!r}: {error}", *path) from None
        if len(loaded) != 1:
            raise self._wrong(f"{app!r} is not one app", *path)
        parse = getattr(loaded[0][1], "parse_parameters", None)
        if parse is None:
            raise self._wrong(f"the app {app!r} takes no parameters", *path)
        filled = {key: self._filled(value, (*path, key)) for key, value in table.items()}
        try:
            value = parse(filled, self._directory)
        except InvalidParameter as error:
            inner = (*path, error.parameter) if error.parameter else path
            raise self._wrong(f"{app}: {error}", *inner) from None
        self._files += getattr(value, "files", ())
        self._check_fallback(app, getattr(value, "fallback", ""), path)
        return Parameters(value, _masked(table), origin)

    def _check_fallback(self, app: str, fallback: str, path: tuple[str, ...]) -> None:
        if not fallback:
            return
        try:
            names = [name for name, _ in self._load(fallback)]
        except UnknownApp as error:
            raise self._wrong(f"fallback: {error}", *path, "fallback") from None
        if app in names:
            raise self._wrong(f"fallback: {app} cannot be the fallback of itself", *path, "fallback")

    def _filled(self, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(one, path) for key, one in value.items()}
        if isinstance(value, list):
            return [self._filled(one, path) for one in value]
        if not isinstance(value, str):
            return value

        def fill(found: re.Match[str]) -> str:
            if found[1] not in self._values:
                raise self._wrong(f"{found[1]} is set neither in the environment nor in the .env file", *path)
            return self._values[found[1]]

        return _PLACEHOLDER.sub(fill, value)

    def _check_needs(self, rules: AppRules) -> None:
        """An app that needs parameters must have them in its entry; an extension may have its condominium's."""
        shared = {name for entry in rules.condominiums.values() for name in entry.parameters}
        for kind, entries in (("extension", rules.extensions), ("condominium", rules.condominiums)):
            for key, entry in entries.items():
                given = set(entry.parameters) | (shared if kind == "extension" else set())
                for role, chain in entry.chains.items():
                    for name, factory in chain.apps:
                        if name not in given:
                            self._check_default(name, factory, (kind, str(key), role.value))

    def _check_default(self, name: str, factory: AppFactory, path: tuple[str, ...]) -> None:
        parse = getattr(factory, "parse_parameters", None)
        try:
            if parse is not None:
                parse({}, self._directory)
        except InvalidParameter as error:
            table = f'[{path[0]}."{path[1]}".{name}]'
            raise self._wrong(f"{name} needs its table {table}: {error}", *path) from None

    def _wrong(self, reason: str, *path: str) -> InvalidAppRules:
        return InvalidAppRules(reason, line_of(self._text, path))


def _masked(table: Mapping[str, Any], *, secret: bool = False) -> dict[str, Any]:
    """The table as it may be shown: nothing that was filled in, no header, no secret, no value of a query."""
    return {
        key: _masked_value(
            value, secret=secret or key == "headers" or bool(_SECRET_NAME.search(key)), url=key == "url"
        )
        for key, value in table.items()
    }


def _masked_value(value: Any, *, secret: bool, url: bool) -> Any:
    if isinstance(value, dict):
        return _masked(value, secret=secret)
    if isinstance(value, list):
        return [_masked_value(one, secret=secret, url=url) for one in value]
    if secret:
        return MASK
    if not isinstance(value, str):
        return value
    shown = _PLACEHOLDER.sub(MASK, value)
    return re.sub(r"(?<==)(?!\{)[^&#]+", MASK, shown) if url else shown
