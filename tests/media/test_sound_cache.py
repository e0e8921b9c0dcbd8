"""`SoundCache`: one reading for all calls, changed files, failures and the limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from audiosocket.errors import InvalidSound
from audiosocket.media.sound_cache import SoundCache
from tests.support.wav_files import TONE, plain


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def write(content: bytes, name: str = "sound.wav") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


class FakeThreads:
    """A `deferToThread` whose work is done in `run`."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []
        self.reads = 0

    def __call__(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def run() -> None:
            self.reads += 1
            try:
                result = work(*args)
            except InvalidSound:
                done.errback()
            else:
                done.callback(result)

        self.jobs.append(run)
        return done

    def run(self) -> None:
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job()


def results(*waiting: Deferred[bytes]) -> list[bytes]:
    got: list[bytes] = []
    for deferred in waiting:
        deferred.addCallback(got.append)
    return got


def failures(deferred: Deferred[Any]) -> list[BaseException]:
    got: list[BaseException] = []

    def failed(why: Failure) -> None:
        got.append(cast("BaseException", why.value))

    deferred.addErrback(failed)
    return got


def test_a_sound_is_read_once_for_all_calls(save: Callable[..., Path]) -> None:
    path, threads = save(plain(TONE)), FakeThreads()
    cache = SoundCache(threads)
    got = results(cache.get(path, 8000), cache.get(path, 8000), cache.get(path, 8000))
    assert not got
    assert len(threads.jobs) == 1
    threads.run()
    assert got == [TONE] * 3
    later = results(cache.get(path, 8000))
    threads.run()
    assert later[0] is got[0]
    assert cache.kept_bytes == len(TONE)


def test_each_rate_is_read_separately(save: Callable[..., Path]) -> None:
    path, threads = save(plain(TONE)), FakeThreads()
    cache = SoundCache(threads)
    got = results(cache.get(path, 8000), cache.get(path, 16000))
    threads.run()
    assert [len(pcm) for pcm in got] == [8000, 16000]


def test_a_changed_file_is_read_again(save: Callable[..., Path]) -> None:
    path, threads = save(plain(TONE)), FakeThreads()
    cache = SoundCache(threads)
    results(cache.get(path, 8000))
    threads.run()
    save(plain(TONE[:800]))
    got = results(cache.get(path, 8000))
    threads.run()
    assert got == [TONE[:800]]
    assert cache.kept_bytes == 800


def test_a_failed_read_is_repeated(save: Callable[..., Path], tmp_path: Path) -> None:
    path, threads = tmp_path / "sound.wav", FakeThreads()
    cache = SoundCache(threads)
    first, second = failures(cache.get(path, 8000)), failures(cache.get(path, 8000))
    threads.run()
    assert isinstance(first[0], InvalidSound)
    assert "sound.wav: No such file" in str(second[0])
    save(plain(TONE))
    got = results(cache.get(path, 8000))
    threads.run()
    assert got == [TONE]
    path.unlink()
    third = failures(cache.get(path, 8000))
    threads.run()
    assert isinstance(third[0], InvalidSound)
    assert cache.kept_bytes == 0


def test_a_thread_that_cannot_start_fails_only_that_request(save: Callable[..., Path]) -> None:
    path, threads = save(plain(TONE)), FakeThreads()
    broken = [RuntimeError("can't start new thread")]

    def in_thread(*work: Any) -> Deferred[Any]:
        if broken:
            raise broken.pop()
        return threads(*work)

    cache = SoundCache(in_thread)
    assert isinstance(failures(cache.get(path, 8000))[0], RuntimeError)
    got = results(cache.get(path, 8000))
    threads.run()
    assert got == [TONE]


def test_cancelling_one_request_does_not_affect_the_others(save: Callable[..., Path]) -> None:
    path, threads = save(plain(TONE)), FakeThreads()
    cache = SoundCache(threads)
    cancelled, other = cache.get(path, 8000), cache.get(path, 8000)
    gone = failures(cancelled)
    cancelled.cancel()
    got = results(other)
    threads.run()
    assert got == [TONE]
    assert isinstance(gone[0], CancelledError)


def test_the_least_recently_used_sound_is_dropped_first(save: Callable[..., Path]) -> None:
    threads = FakeThreads()
    cache = SoundCache(threads, limit_bytes=2 * len(TONE))
    one, two, three = (save(plain(TONE), f"{name}.wav") for name in ("one", "two", "three"))

    def get(path: Path) -> bytes:
        got = results(cache.get(path, 8000))
        threads.run()
        return got[0]

    first, second = get(one), get(two)
    assert get(one) is first
    get(three)
    assert cache.kept_bytes == 2 * len(TONE)
    assert get(one) is first
    assert get(two) is not second


def test_a_sound_above_the_limit_is_returned_but_not_kept(save: Callable[..., Path]) -> None:
    path, threads = save(plain(TONE)), FakeThreads()
    cache = SoundCache(threads, limit_bytes=100)
    got = results(cache.get(path, 8000))
    threads.run()
    assert got == [TONE]
    assert cache.kept_bytes == 0


def test_a_sound_dropped_while_it_is_checked_is_still_returned(save: Callable[..., Path]) -> None:
    threads = FakeThreads()
    cache = SoundCache(threads, limit_bytes=len(TONE))
    one, two = save(plain(TONE), "one.wav"), save(plain(TONE), "two.wav")
    results(cache.get(one, 8000))
    threads.run()
    got = results(cache.get(two, 8000), cache.get(one, 8000))
    threads.run()
    assert got == [TONE, TONE]


async def test_reading_in_a_real_thread(save: Callable[..., Path]) -> None:
    cache = SoundCache(deferToThread)
    assert await cache.get(save(plain(TONE)), 8000) == TONE
    with pytest.raises(InvalidSound, match="No such file"):
        await cache.get(Path("missing.wav"), 8000)
