"""Pages of the calls of all workers: each worker is asked for small pages, and their calls are put in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, replace

from twisted.logger import Logger

from audiosocket.control_interface import CallSelection
from audiosocket.errors import WorkerGone
from audiosocket.json_shapes import CallJSON, CallPageJSON
from audiosocket.server.call_pages import as_page, place_of
from audiosocket.workers.worker_handle import WorkerHandle

_log = Logger()
#: Calls that a worker is asked for at once.
PER_REQUEST = 25


class WorkerPages:
    """The calls of one worker in order, asked for when they are needed; none of a worker that does not respond."""

    def __init__(self, worker: WorkerHandle, selection: CallSelection) -> None:
        self._worker = worker
        self._selection = replace(selection, limit=PER_REQUEST)
        self._ended = False
        self.total = 0
        self.waiting: deque[CallJSON] = deque()

    async def fill(self) -> None:
        """Ask for the next calls if there are more and none waits."""
        if self.waiting or self._ended:
            return
        try:
            page: CallPageJSON = await self._worker.request("page", selection=asdict(self._selection))
        except WorkerGone as error:
            _log.warn("{error}; the response is without it", error=str(error))
            self._ended = True
            return
        self.total = page["total"]
        self.waiting.extend(page["calls"])
        self._ended = page["next_cursor"] is None
        self._selection = replace(self._selection, cursor=page["next_cursor"] or "")


async def merged_page(workers: Sequence[WorkerHandle], selection: CallSelection) -> CallPageJSON:
    """Return one page of the calls of all workers."""
    pages = [WorkerPages(worker, selection) for worker in workers]
    calls: list[CallJSON] = []
    while len(calls) <= selection.limit:
        for page in pages:
            await page.fill()
        some = [page for page in pages if page.waiting]
        if not some:
            break
        first = max(some, key=lambda page: place_of(page.waiting[0]))
        calls.append(first.waiting.popleft())
    return as_page(sum(page.total for page in pages), calls, selection.limit)
