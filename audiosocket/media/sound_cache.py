"""A cache of sound files, which are read and converted in a thread."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from audiosocket.media.soundfile import Sound

DEFAULT_CACHE_BYTES = 256_000_000

_Key = tuple[Path, int]


class SoundCache:
    """Sounds by file and rate, each read and converted once.

    ``in_thread`` runs a function in a thread, as `twisted.internet.threads.deferToThread` does. A file that has
    changed (time of change, size, inode) is read again; a failed read is repeated by the next `get`. The least
    recently used sounds are dropped when more than ``limit_bytes`` are kept.
    """

    def __init__(self, in_thread: Callable[..., Deferred[Sound]], limit_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self._in_thread = in_thread
        self._limit = limit_bytes
        self._kept: OrderedDict[_Key, Sound] = OrderedDict()
        self._waiting: dict[_Key, list[Deferred[bytes]]] = {}

    @property
    def kept_bytes(self) -> int:
        """Bytes of all cached sounds."""
        return sum(len(sound.pcm) for sound in self._kept.values())

    def get(self, path: Path, rate: int) -> Deferred[bytes]:
        """Return the sound at ``rate`` Hz; fails with `InvalidSound`. Cancelling affects this request only."""
        key = (path, rate)
        # Without a canceller, a cancelled Deferred ignores the result that still comes.
        answer: Deferred[bytes] = Deferred()
        if key in self._waiting:
            self._waiting[key].append(answer)
            return answer
        self._waiting[key] = [answer]
        kept = self._kept.get(key)
        reading = maybeDeferred(self._in_thread, _read, path, rate, kept)
        reading.addCallbacks(self._arrived, self._failed, callbackArgs=(key,), errbackArgs=(key,))
        return answer

    def _arrived(self, sound: Sound, key: _Key) -> None:
        self._kept[key] = sound
        self._kept.move_to_end(key)
        while self.kept_bytes > self._limit:
            self._kept.popitem(last=False)
        for answer in self._waiting.pop(key):
            answer.callback(sound.pcm)

    def _failed(self, why: Failure, key: _Key) -> None:
        self._kept.pop(key, None)
        for answer in self._waiting.pop(key):
            answer.errback(why)


def _read(path: Path, rate: int, kept: Sound | None) -> Sound:
    """Read the sound, in a thread; the first call may wait until numpy and soxr are imported."""
    from audiosocket.media.soundfile import read_if_changed  # noqa: PLC0415 - not imported at the start

    return read_if_changed(path, rate, kept)
