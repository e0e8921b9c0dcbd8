"""Prompts by name: an operator's own file, else the one that is shipped.

A file that an operator puts into ``DATA_DIR/prompts/<language>/`` is heard by the next call that plays it, at the
latest `LOOK_AGAIN_SECONDS` later; one that cannot be played is logged once, and the shipped one is played.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from twisted.logger import Logger

from audiosocket.errors import InvalidSound
from audiosocket.interfaces import SoundSource
from audiosocket.media.sound_formats import sound_layout

SHIPPED = Path(__file__).parent
LANGUAGES = ("pt_BR", "en")
#: How long a file that is not there is not looked for again, in seconds.
LOOK_AGAIN_SECONDS = 10.0
#: Sounds are read at the leg's rate, but never at more than this, in Hz; the playout converts the rest of the way.
MAX_RATE = 48_000


class PromptLibrary:
    """The prompts of one language. ``seconds`` is a steady clock; what is known of files all calls share."""

    _log = Logger()
    #: When a file of an operator was last found missing or broken.
    _unusable: ClassVar[dict[Path, float]] = {}
    _reported: ClassVar[dict[Path, str]] = {}

    def __init__(self, sounds: SoundSource, data_dir: Path, language: str, seconds: Callable[[], float]) -> None:
        self._sounds = sounds
        self._own = data_dir / "prompts" / language
        self._shipped = SHIPPED / language
        self._seconds = seconds

    async def get(self, name: str, rate: int) -> bytes:
        """The prompt as 16-bit mono at ``rate``; empty for one that cannot be read, which is logged once."""
        own = self._own / f"{name}.wav"
        missed = self._unusable.get(own)
        if missed is None or self._seconds() - missed >= LOOK_AGAIN_SECONDS or self._seconds() < missed:
            try:
                sound = await self._sounds.get(own, rate)
            except InvalidSound as error:
                self._unusable[own] = self._seconds()
                if not isinstance(error.__cause__, FileNotFoundError):
                    self._report(own, f"{error}; the shipped prompt is played")
            else:
                self._unusable.pop(own, None)
                self._reported.pop(own, None)
                return sound
        shipped = self._shipped / f"{name}.wav"
        try:
            return await self._sounds.get(shipped, rate)
        except InvalidSound as error:
            self._report(shipped, str(error))
            return b""

    def _report(self, path: Path, problem: str) -> None:
        if self._reported.get(path) != problem:
            self._reported[path] = problem
            self._log.error("prompt {path}: {problem}", path=str(path), problem=problem)


def unusable_files(data_dir: Path) -> Iterator[str]:
    """Yield a sentence for each file of an operator that no call will hear. Blocking, for the start."""
    for language in LANGUAGES:
        names = {path.stem for path in (SHIPPED / language).glob("*.wav")}
        for path in sorted((data_dir / "prompts" / language).glob("*")):
            if path.stem not in names or not path.is_file():
                continue
            try:
                with path.open("rb") as source:
                    sound_layout(source, path, os.fstat(source.fileno()).st_size)
            except OSError as error:
                yield f"prompt {path} cannot be read ({error.strerror}); the shipped prompt is played"
            except InvalidSound as error:
                yield f"prompt {path}: {error}; the shipped prompt is played"
            else:
                if path.suffix != ".wav":
                    yield f"prompt {path} is not used: rename or convert it to {path.stem}.wav"
