"""One thread that writes files, so that the reactor does not wait for a disk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool


class FileThread:
    """One thread for all writing of files, in the order of the calls of `run`."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=1, name="files")
        self._running = False

    def run(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Call a blocking function in the thread; fires with its result."""
        if not self._running:
            self._pool.start()
            self._running = True
        return deferToThreadPool(self._reactor, self._pool, work, *args, **kwargs)

    def settle(self, seconds: float) -> bool:
        """Block until all calls made so far are done, ``seconds`` at most; return whether they are.

        Their Deferreds fire later, in the reactor.
        """
        if not self._running:
            return True
        done = threading.Event()
        self._pool.callInThread(done.set)
        return done.wait(seconds)

    async def stop(self) -> None:
        """Wait for all calls made so far, then end the thread."""
        if self._running:
            await self.run(_nothing_left)
            self._running = False
            self._pool.stop()


def _nothing_left() -> None:
    """Do nothing: when this call is done, all before it are."""
