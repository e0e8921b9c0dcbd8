"""Pages of the calls of all workers: each worker is asked for small pages, and their calls are put in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from twisted.logger import Logger

from audiosocket.control_interface import CallSelection
from audiosocket.errors import WorkerGone
from audiosocket.fleet.page_order import PageSource, merged_page
from audiosocket.json_shapes import CallPageJSON
from audiosocket.workers.worker_handle import WorkerHandle

_log = Logger()
#: Calls that a worker is asked for at once.
PER_REQUEST = 25


async def page_of_workers(workers: Sequence[WorkerHandle], selection: CallSelection) -> CallPageJSON:
    """Return one page of the calls of all workers, without those of a worker that does not respond."""
    return await merged_page([_source(worker, selection) for worker in workers], selection.limit)


def _source(worker: WorkerHandle, selection: CallSelection) -> PageSource:
    async def ask(cursor: str) -> CallPageJSON | None:
        wanted = replace(selection, limit=PER_REQUEST, cursor=cursor)
        try:
            page: CallPageJSON = await worker.request("page", selection=asdict(wanted))
        except WorkerGone as error:
            _log.warn("{error}; the response is without it", error=str(error))
            return None
        return page

    return PageSource(ask, selection.cursor)
