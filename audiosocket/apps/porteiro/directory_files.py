"""The files of apartments, read again when they change, in a thread that never keeps the reactor waiting."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Event
from typing import Any, TypeAlias

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from audiosocket.apps.porteiro.directory import (
    OWN_NAME,
    SHARED_NAME,
    ApartmentFile,
    Directory,
    comparable,
    parse_file,
)
from audiosocket.interfaces import ApartmentMatch
from audiosocket.json_shapes import ApartmentPageJSON, ApartmentsJSON
from audiosocket.returncalls.dial_string import masked

#: Seconds between two looks at the files.
LOOK_SECONDS = 2.0
MAX_BYTES = 64_000_000
#: Seconds for which the reading thread lets others work after each piece.
PAUSE_SECONDS = 0.0005
#: Problems of one file that are logged; all are counted, the first ones are in the status.
MAX_LOGGED = 20
MAX_SHOWN = 100
#: Apartments in one answer of the API.
MAX_LISTED = 1_000

_Signature: TypeAlias = "tuple[int, int, int]"


class DirectoryFiles(Service):
    """The apartments of all condominiums, from ``directory``; implements `interfaces.Apartments`.

    ``condominiums`` says those of all extensions, None while that is not known; ``in_thread`` runs blocking work.
    A file that cannot be used leaves what it said before in force. ``take_any`` is for a fresh install, on which
    nobody is rung: where there is no file at all, any apartment is taken for known.
    """

    _log = Logger()

    def __init__(
        self,
        directory: Path,
        condominiums: Callable[[], Iterable[int] | None],
        clock: IReactorTime,
        in_thread: Callable[..., Deferred[Any]],
        *,
        take_any: bool = False,
        quiet: bool = False,
    ) -> None:
        self._path = directory
        self._condominiums = condominiums
        self._clock = clock
        self._in_thread = in_thread
        #: Where there is no file at all, take any apartment for known, under the number that was typed.
        self._take_any = take_any
        #: Another process logs what is wrong.
        self._quiet = quiet
        self.current = Directory()
        self._signatures: dict[str, _Signature] = {}
        self._broken: dict[str, str] = {}
        self._refusal = ""
        #: The files have been looked for.
        self._looked = False
        self._timer: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None
        #: How often files have been read; for tests.
        self.reads = 0

    def startService(self) -> None:
        super().startService()
        self._look()

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        return self._looking

    # what is asked

    def find(self, condominium_id: int, apartment: str, block: str = "") -> ApartmentMatch:
        if self._take_any and self._looked and not self.current.files:
            return ApartmentMatch((comparable(apartment),))
        return self.current.find(condominium_id, apartment, block, self._condominiums())

    def listing(self, condominium_id: int | None, limit: int, offset: int) -> ApartmentPageJSON:
        """A page of what is known, numbers masked, as the API shows it."""
        condominiums = sorted(set(self._condominiums() or ()))
        rows = self.current.page(condominium_id, condominiums, offset, limit + 1)
        return {
            "apartments": [
                {
                    "apartment_number": row[0],
                    "block": row[1],
                    "condominio_id": condominium,
                    "residents": list(row[3]),
                    "numbers": [masked(number) for number in row[2]],
                    "file": name,
                }
                for condominium, row, name in rows[:limit]
            ],
            "next_offset": offset + limit if len(rows) > limit else None,
            **self.to_json(),
        }

    def to_json(self) -> ApartmentsJSON:
        """Files and problems, as the status shows them."""
        files = self.current.files.values()
        problems = [problem for file in files for problem in file.problems]
        problems += [f"{name}: {why}" for name, why in self._broken.items()]
        refusal = self.current.refusal(self._condominiums())
        if refusal:
            problems.append(refusal)
        total = sum(file.problems_total for file in files) + len(self._broken) + bool(refusal)
        return {
            "total": sum(file.total for file in files),
            "files": [
                {"name": file.name, "condominio_id": file.condominium, "apartments": file.total} for file in files
            ],
            "problems_total": total,
            "problems": problems[-MAX_SHOWN:],
        }

    # how they are read

    def _look(self) -> None:
        self._timer = None
        self._looking = Deferred.fromCoroutine(self._refresh())
        self._looking.addErrback(lambda failure: self._log.failure("apartments cannot be read", failure))
        self._looking.addBoth(self._again)

    def _again(self, _: object) -> None:
        self._looking = None
        if self.running:
            self._timer = self._clock.callLater(LOOK_SECONDS, self._look)

    async def _refresh(self) -> None:
        signatures: dict[str, _Signature] = await self._in_thread(_signatures, self._path)
        files = dict(self.current.files)
        changed = [name for name, now in signatures.items() if self._signatures.get(name) != now]
        for name in changed:
            condominium = _condominium(name)
            self.reads += 1
            try:
                parsed = await self._in_thread(_read, self._path / name, condominium)
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or str(error)
                kept = "; what it said before stays in force" if condominium in files else ""
                self._broken[name] = f"{why}{kept}"
                self._say(f"{name}: {why}{kept}")
                # A broken file still hides the shared one: its condominium must not get other numbers by accident.
                files.setdefault(condominium, ApartmentFile(name, condominium))
            else:
                self._broken.pop(name, None)
                files[condominium] = parsed
                self._report(parsed)
        gone = [key for key, file in files.items() if file.name not in signatures]
        for key in gone:
            self._broken.pop(files[key].name, None)
            self._say(f"{files[key].name} is gone; its apartments are not used any more")
            del files[key]
        if self._take_any and not signatures and not self._looked:
            self._say_mildly(
                f"there is no {SHARED_NAME}: porteiro takes any apartment for known, and rings nobody"
            )
        self._signatures, self._looked = signatures, True
        if changed or gone:
            old, self.current = self.current, Directory(files)
            dropped = [file for key, file in old.files.items() if files.get(key) is not file]
            del old
            await self._in_thread(_dismantle, dropped)
        self._report_refusal()

    def _report(self, file: ApartmentFile) -> None:
        if self._quiet:
            return
        self._log.info("{name}: {total} apartments", name=file.name, total=file.total)
        for problem in file.problems[:MAX_LOGGED]:
            self._log.warn("{problem}", problem=problem)
        if file.problems_total > MAX_LOGGED:
            self._log.warn(
                "{name}: {n} more entries are wrong", name=file.name, n=file.problems_total - MAX_LOGGED
            )

    def _report_refusal(self) -> None:
        refusal = self.current.refusal(self._condominiums())
        if refusal != self._refusal and refusal:
            self._say(refusal)
        self._refusal = refusal

    def _say_mildly(self, problem: str) -> None:
        if not self._quiet:
            self._log.warn("{problem}", problem=problem)

    def _say(self, problem: str) -> None:
        if not self._quiet:
            self._log.error("{problem}", problem=problem)


def _condominium(name: str) -> int | None:
    own = OWN_NAME.fullmatch(name)
    return None if own is None else int(own[1])


def _signatures(directory: Path) -> dict[str, _Signature]:
    """The files there are, and what changes when they do. Blocking."""
    found: dict[str, _Signature] = {}
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name == SHARED_NAME or OWN_NAME.fullmatch(entry.name):
                    status = entry.stat()
                    found[entry.name] = status.st_mtime_ns, status.st_size, status.st_ino
    except FileNotFoundError:
        pass
    return dict(sorted(found.items()))


def _read(path: Path, condominium: int | None) -> ApartmentFile:
    """One file. Blocking; raises `OSError` and `ValueError`."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 1_000_000} MB")
    return parse_file(path.name, path.read_bytes(), condominium, _pause)


def _pause() -> None:
    """Let the reactor have the interpreter."""
    Event().wait(PAUSE_SECONDS)


def _dismantle(files: list[ApartmentFile]) -> None:
    """Free what is not used any more, a little at a time: all at once would be a pause for everybody."""
    for file in files:
        for ordered in file.ordered.values():
            while ordered:
                del ordered[-200:]
                _pause()
        for rows in file.rows.values():
            while rows:
                for _ in range(min(len(rows), 200)):
                    rows.popitem()
                _pause()
