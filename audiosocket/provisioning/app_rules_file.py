"""The file ``apps.toml`` in force: looked at every 2 s, applied to new calls, the last good one kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from audiosocket.errors import AudioSocketError, InvalidAppRules
from audiosocket.extensions.model import Extension, Role
from audiosocket.json_shapes import AppRulesJSON
from audiosocket.provisioning.app_rules import MAX_BYTES, AppRules, CallApps, Chain, LoadApps, choose, parse

FILE_NAME = "apps.toml"
LOOK_SECONDS = 2.0

_Signature = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class _Reading:
    """What a look at the file found; ``rules`` is None when it cannot be used."""

    signature: _Signature
    rules: AppRules | None
    reason: str = ""
    line: int = 0


class AppSelection(Service):
    """Chooses the apps of each new call from the settings and the file.

    ``values`` returns what fills ``${NAME}``; it and ``load`` run in a thread. ``in_thread`` runs blocking work
    off the reactor. ``quiet`` leaves the log to another process that reads the same file.
    """

    _log = Logger()

    def __init__(
        self,
        path: Path,
        defaults: Mapping[Role, Chain],
        values: Callable[[], Mapping[str, str]],
        load: LoadApps,
        in_thread: Callable[..., Deferred[Any]],
        clock: IReactorTime,
        *,
        quiet: bool = False,
    ) -> None:
        self._path = path
        self._defaults = dict(defaults)
        self._values = values
        self._load = load
        self._in_thread = in_thread
        self._quiet = quiet
        self._rules = AppRules()
        #: Counts the changes of what is chosen.
        self.revision = 0
        #: What was chosen, by number and condominium: the same object for all calls of an extension.
        self._chosen: dict[tuple[str, int], CallApps] = {}
        self._signature: _Signature = ()
        #: The file is gone, for one look so far: a program that writes it may remove it first.
        self._missing_once = False
        self._state, self._reason, self._line = "absent", "", 0
        self._looking: Deferred[None] | None = None
        self._looks = LoopingCall(self.look)
        self._looks.clock = clock

    def startService(self) -> None:
        super().startService()
        self._looks.start(LOOK_SECONDS, now=False)

    def stopService(self) -> None:
        super().stopService()
        if self._looks.running:
            self._looks.stop()

    def choose(self, extension: Extension) -> CallApps:
        """What the legs of a new call on ``extension`` run."""
        key = (extension.number, extension.condominium_id)
        chosen = self._chosen.get(key)
        if chosen is None:
            chosen = self._chosen[key] = choose(self._rules, self._defaults, extension)
        return chosen

    def load_now(self) -> None:
        """Read the file at once, blocking; for the start, before anything listens."""
        self._use(_read(self._path, self._rules.files, self._values, self._load))

    def look(self) -> Deferred[None]:
        """Read the file if it has changed; fires when that is done."""
        if self._looking is None:
            looking = self._in_thread(self._look)
            looking.addCallback(self._looked)
            looking.addErrback(lambda failure: self._log.failure("apps.toml could not be looked at", failure))
            looking.addBoth(self._done)
            if not looking.called:
                self._looking = looking
            return looking
        waiting: Deferred[None] = Deferred()
        self._looking.addBoth(lambda _: waiting.callback(None))
        return waiting

    def read_again(self) -> Deferred[None]:
        """Read the file even if it has not changed, as the values of ``${NAME}`` may have; fires then."""
        self._signature = ()
        return self.look()

    def to_json(self) -> AppRulesJSON:
        """As shown under ``apps`` in ``/api/status``; ``reason`` and ``line`` say why a file is not used."""
        return {
            "file": str(self._path),
            "state": self._state,
            "entries": len(self._rules.extensions) + len(self._rules.condominiums),
            "line": self._line or None,
            "reason": self._reason or None,
        }

    def _done(self, _: object) -> None:
        self._looking = None

    def _look(self) -> _Reading | None:
        """Runs in a thread; None when nothing has changed."""
        if _sign(self._path, self._rules.files) == self._signature:
            return None
        return _read(self._path, self._rules.files, self._values, self._load)

    def _looked(self, found: _Reading | None) -> None:
        if found is None:
            self._missing_once = False
            return
        gone = found.signature[0] is None
        if gone and self._state != "absent" and not self._missing_once:
            self._missing_once = True
            return
        self._missing_once = False
        self._use(found)

    def _use(self, found: _Reading) -> None:
        self._signature = found.signature
        if found.rules is None:
            self._state, self._reason, self._line = "rejected", found.reason, found.line
            if not self._quiet:
                self._log.error(
                    "{file} cannot be used, line {line}: {reason}; what was in force before stays in force",
                    file=str(self._path),
                    line=found.line or "unknown",
                    reason=found.reason,
                )
            return
        was, absent = self._state, found.signature[0] is None
        self._rules, self._chosen = found.rules, {}
        self.revision += 1
        self._state, self._reason, self._line = "absent" if absent else "used", "", 0
        # The files that apps read are known only now.
        self._signature = _sign(self._path, found.rules.files)
        if not self._quiet and not (absent and was == "absent"):
            self._log.info(
                "{file}: {entries} entries apply to new calls",
                file=str(self._path),
                entries=len(found.rules.extensions) + len(found.rules.condominiums),
            )


def _sign(path: Path, files: tuple[Path, ...]) -> _Signature:
    """What changes whenever a file does: time of change in nanoseconds, size, inode; None for a missing file."""

    def one(file: Path) -> tuple[int, int, int] | None:
        try:
            found = os.stat(file)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    return tuple(one(file) for file in (path, *files))


def _read(
    path: Path, files: tuple[Path, ...], values: Callable[[], Mapping[str, str]], load: LoadApps
) -> _Reading:
    signature = _sign(path, files)
    try:
        with path.open("rb") as source:
            content = source.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InvalidAppRules(f"the file has more than {MAX_BYTES} bytes")
        rules = parse(content.decode("utf-8-sig"), values(), load, path.parent)
    except FileNotFoundError:
        return _Reading((None, *signature[1:]), AppRules())
    except UnicodeDecodeError as error:
        return _Reading(signature, None, f"byte {error.start + 1} is not UTF-8")
    except OSError as error:
        return _Reading(signature, None, f"it cannot be read: {error.strerror or type(error).__name__}")
    except AudioSocketError as error:
        return _Reading(signature, None, str(error), getattr(error, "line", 0))
    return _Reading(signature, rules)
