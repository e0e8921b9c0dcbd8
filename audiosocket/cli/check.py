"""What is wrong with the settings and the files that they name. Opens no port, creates and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from audiosocket.api_tokens import read_tokens
from audiosocket.apps import registry
from audiosocket.apps.porteiro.directory_files import DirectoryFiles
from audiosocket.cli.findings import Finding
from audiosocket.errors import AudioSocketError, InvalidSetting
from audiosocket.extensions.model import Role
from audiosocket.prompts.library import unusable_files
from audiosocket.provisioning import local_file
from audiosocket.provisioning.app_rules import Chain
from audiosocket.provisioning.app_rules_file import FILE_NAME as APPS_FILE_NAME
from audiosocket.provisioning.app_rules_file import AppSelection
from audiosocket.provisioning.extension_service import is_local
from audiosocket.returncalls.backends.selection import check as check_return_calls
from audiosocket.runtime.logs import FILE_NAME as LOG_FILE_NAME
from audiosocket.setting_advice import misspelt
from audiosocket.settings import SECRETS, Settings
from audiosocket.settings_files import read_secret


def check(
    values: Mapping[str, str],
    names: Iterable[str],
    placeholders: Callable[[], Mapping[str, str]],
    *,
    reach: bool = False,
) -> list[Finding]:
    """Return all findings; with ``reach`` also those that need a connection.

    ``values`` are the settings as they are given; ``names`` are all names in the environment and the ``.env``
    file; ``placeholders`` returns what fills ``${NAME}`` in ``apps.toml``. Blocks.
    """
    settings, wrong = usable_settings(values)
    found = [*_of_settings(names, wrong, settings is not None)]
    if settings is not None:
        found += _of_files(settings, placeholders)
        if reach:
            from audiosocket.cli.reach import reach as connect  # noqa: PLC0415 - psycopg2 takes its time

            found += connect(settings)
    return found


def _of_settings(names: Iterable[str], wrong: Sequence[InvalidSetting], usable: bool) -> Iterator[Finding]:
    for name, close in misspelt(names):
        yield Finding("warn", f"the setting {name} is unknown", f"did you mean {close}?")
    for error in wrong:
        yield Finding("bad", str(error))
    if not wrong:
        yield Finding("ok", "the settings can be used")
    elif not usable:
        yield Finding("warn", "the files were not looked at", "correct the settings first")


def _of_files(settings: Settings, placeholders: Callable[[], Mapping[str, str]]) -> Iterator[Finding]:
    yield from _of_values(settings)
    yield from _of_directories(settings)
    yield from _of_apps(settings, placeholders)
    yield from _of_data(settings)


def usable_settings(values: Mapping[str, str]) -> tuple[Settings | None, list[InvalidSetting]]:
    """Return the settings without the wrong ones, None where that is impossible, and all errors."""
    left, wrong = dict(values), list[InvalidSetting]()
    while True:
        try:
            return Settings.parse(left), wrong
        except InvalidSetting as error:
            wrong.append(error)
            if left.pop(str(error).partition(":")[0], None) is None:
                return None, wrong


def _of_values(settings: Settings) -> Iterator[Finding]:
    looks: list[Callable[[], object]] = [
        *(partial(read_secret, settings, name) for name in SECRETS),
        lambda: read_tokens(settings.api_tokens_file),
        lambda: check_return_calls(settings),
    ]
    for look in looks:
        try:
            look()
        except AudioSocketError as error:
            yield Finding("bad", str(error))
    if settings.bind_address and not is_local(settings.bind_address):
        yield Finding("bad", f"BIND_ADDRESS: {settings.bind_address!r} is not an address of this machine")


def _of_directories(settings: Settings) -> Iterator[Finding]:
    for name in ("data_dir", "log_dir"):
        path = Path(getattr(settings, name)).absolute()
        there = next(each for each in (path, *path.parents) if each.exists())
        if not there.is_dir():
            yield Finding("bad", f"{name.upper()}: {str(there)!r} is not a directory")
        elif not os.access(there, os.W_OK | os.X_OK):
            what = "is not writable by this user" if there == path else "cannot be created by this user"
            yield Finding("bad", f"{name.upper()}: {str(path)!r} {what}")
    log = Path(settings.log_dir) / LOG_FILE_NAME
    if log.exists() and not os.access(log, os.W_OK):
        yield Finding("bad", f"LOG_DIR: {str(log)!r} is not writable by this user")


def _of_apps(settings: Settings, placeholders: Callable[[], Mapping[str, str]]) -> Iterator[Finding]:
    chains: dict[Role, Chain] = {}
    for role, spec in ((Role.VISITOR, settings.visitor_app), (Role.RESIDENT, settings.resident_app)):
        try:
            chains[role] = Chain(spec, registry.load(spec), f"{role.name}_APP")
        except AudioSocketError as error:
            yield Finding("bad", f"{role.name}_APP: {error}")
    for sentence in registry.problems([app for chain in chains.values() for app in chain.apps], settings):
        yield Finding("warn", sentence)
    if len(chains) == len(Role):
        yield _of_app_rules(settings, chains, placeholders)


def _of_app_rules(
    settings: Settings, chains: Mapping[Role, Chain], placeholders: Callable[[], Mapping[str, str]]
) -> Finding:
    path = Path(settings.apps_file or Path(settings.data_dir) / APPS_FILE_NAME).expanduser().absolute()
    selection = AppSelection(path, chains, placeholders, registry.load, maybeDeferred, Clock(), quiet=True)
    selection.load_now()
    found = selection.to_json()
    if found["state"] == "rejected":
        line = f", line {found['line']}" if found["line"] else ""
        return Finding(
            "bad", f"{path}{line}: {found['reason']}", "no entry of the file is used until it is corrected"
        )
    if found["state"] == "absent":
        return Finding("ok", f"there is no {path}: all extensions run VISITOR_APP and RESIDENT_APP")
    return Finding("ok", f"{path} has {found['entries']} entries")


def _of_data(settings: Settings) -> Iterator[Finding]:
    data = Path(settings.data_dir).absolute()
    for sentence in unusable_files(data):
        yield Finding("warn", sentence)
    loaded = local_file.read(data / local_file.FILE_NAME, settings.max_extensions)
    if loaded.trouble:
        yield Finding("bad", f"{local_file.FILE_NAME}: {loaded.trouble}", "correct it, or remove it")
    for problem in loaded.problems:
        name = "an entry" if problem.id is None else f"entry {problem.id}"
        yield Finding("bad", f"{local_file.FILE_NAME}: {name} is not used: {problem.reason}", "correct the entry")
    apartments = DirectoryFiles(
        data, lambda: None, Clock(), maybeDeferred, take_any=settings.return_kind == "none", quiet=True
    )
    apartments.startService()
    apartments.stopService()
    found = apartments.to_json()
    for sentence in found["problems"]:
        yield Finding("bad", sentence, "correct the entry; nobody is rung by it")
    if found["files"]:
        yield Finding("ok", f"{found['total']} apartments in {len(found['files'])} files")
