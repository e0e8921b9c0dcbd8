"""`control_interface.Control` of the supervisor: extensions from its own memory, calls from the workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from twisted.internet.defer import ensureDeferred

from audiosocket.bots.call_tokens import CallTokens
from audiosocket.control_interface import CallSelection, FleetControl, fleet_status
from audiosocket.errors import UnknownAttempt
from audiosocket.extensions.model import Role
from audiosocket.json_shapes import (
    BackendJSON,
    CallJSON,
    CallPageJSON,
    OpenFilesJSON,
    ReactorJSON,
    ServicesJSON,
    StorageJSON,
    SupervisorStatusJSON,
    WorkerJSON,
    WorkerStatusJSON,
)
from audiosocket.postgres.database import Database
from audiosocket.provisioning.app_rules_file import AppSelection
from audiosocket.returncalls.backends.selection import ReturnBackend
from audiosocket.runtime.histograms import add_histograms
from audiosocket.runtime.reactor_lag import MAX_HEALTHY_SECONDS
from audiosocket.runtime.storage import as_text, of_first_process
from audiosocket.server.control import MAX_PROBLEMS
from audiosocket.server.draining import NodeDrain
from audiosocket.server.extension_control import TableControl
from audiosocket.server.records import RecordControl
from audiosocket.transport import open_files
from audiosocket.workers.kept_totals import KeptTotals
from audiosocket.workers.merged_pages import page_of_workers
from audiosocket.workers.pool import WorkerPool
from audiosocket.workers.supervisor import SupervisorServer

#: The states of a worker's backend of return calls, the worst first.
_WORST_FIRST = ("down", "failing", "connecting", "up", "off")


class SupervisorControl:
    """Extensions of this process and calls of all workers.

    ``backend`` is never started, it only verifies the webhook's signatures. ``seconds`` is a steady clock,
    ``services`` returns the state of the services of this process alone.
    """

    def __init__(
        self,
        server: SupervisorServer,
        database: Database | None,
        seconds: Callable[[], float],
        api_port: int,
        selection: AppSelection,
        records: RecordControl,
        services: Callable[[], ServicesJSON],
        backend: ReturnBackend,
        tokens: CallTokens,
        fleet_ports: range | None = None,
    ) -> None:
        self._server = server
        self._pool = server.pool
        self._totals = KeptTotals()
        self.extensions = TableControl(
            server.listeners, server.poller, database, seconds, api_port, selection, fleet_ports
        )
        self.calls = SupervisorCallControl(server.pool, backend, tokens)
        self.records = records
        self.drain = NodeDrain(lambda: server.ending, self._unable)
        self._services = services
        #: Given later: it needs this control.
        self.fleet: FleetControl | None = None

    async def status(self) -> SupervisorStatusJSON:
        refreshed = ensureDeferred(self._pool.refresh())
        answers: list[WorkerStatusJSON] = await self._pool.request("status")
        await refreshed
        await self.extensions.catch_up(self._server.turn)
        totals = self._totals.update(answers, [worker.pid for worker in self._pool.workers])
        live: Counter[int] = Counter()
        for answer in answers:
            live.update({int(key): number for key, number in answer["live_by_extension"].items()})
        services: ServicesJSON = {**self._services(), "fleet_calls": totals.fleet_calls}
        return {
            **self.extensions.status(live),
            "live_calls": sum(answer["live_calls"] for answer in answers),
            "suspended_calls": sum(answer["suspended_calls"] for answer in answers),
            "calls_total": totals.calls,
            "refused_total": totals.refused,
            "late_turns_total": totals.late_turns,
            "rejected_total": dict(totals.rejected),
            "return_backend": _worst([answer["return_backend"] for answer in answers]),
            "mislabelled_codecs": {
                key: codec for one in answers for key, codec in one["mislabelled_codecs"].items()
            },
            "reactor": self._latest([answer["reactor"] for answer in answers]),
            "latencies": totals.latencies,
            "limits_reached_total": dict(totals.limits),
            "open_files": _fullest([answer["open_files"] for answer in answers]),
            "traffic": totals.traffic,
            "timings": add_histograms([totals.timings, {"reactor_lag": self._server.reactor_lag.histogram()}]),
            "legs_by_extension": _legs(answers),
            "workers": self._workers({answer["pid"]: answer["reactor"] for answer in answers}),
            "spare_worker": self._pool.spare,
            **services,
            "apartments": self.records.status(),
            "drain": self.drain.to_json(),
            "fleet": fleet_status(self.fleet),
            "storage": [*self._storage(), *(trouble for answer in answers for trouble in answer["storage"])],
        }

    def _storage(self) -> list[StorageJSON]:
        return of_first_process(self._server.poller.configuration.file_trouble)

    def _latest(self, reactors: Sequence[ReactorJSON]) -> ReactorJSON:
        """Return the figures of the worker that was latest; the supervisor's own when no worker responds."""
        mine = self._server.reactor_lag.to_json()
        return max(reactors, key=lambda reactor: float(reactor["lag_ms_worst_10s"]), default=mine)

    def _workers(self, reactors: Mapping[int, ReactorJSON]) -> list[WorkerJSON]:
        return [
            {
                "index": worker.index,
                "pid": worker.pid,
                "state": worker.state,
                "restarts": worker.restarts,
                "live_legs": worker.report.live_legs,
                "reactor": reactors.get(worker.pid or 0),
            }
            for worker in self._pool.workers
        ]

    def _unable(self) -> str:
        if not self._server.listeners.applied:
            return "no configuration has been applied yet"
        up = any(worker.state == "up" for worker in self._pool.workers)
        return "" if up else "no worker is up"

    def ready(self) -> tuple[bool, str]:
        if not self._server.running or self._server.ending:
            return False, self._server.ending or "stopping"
        full = [worker.name for worker in self._pool.workers if not worker.report.accepting]
        files = [f"{name} has no file descriptors left for new calls" for name in full]
        problems = [*self._pool.problems(), *files, *self.extensions.problems()]
        return not problems, "; ".join(problems[:MAX_PROBLEMS]) or as_text(self._storage())

    def healthy(self) -> tuple[bool, str]:
        late = {"the supervisor": self._server.reactor_lag.recent_worst}
        late.update({worker.name: worker.lateness for worker in self._pool.workers})
        wrong = [
            f"{name} was {seconds:.1f} s late" for name, seconds in late.items() if seconds > MAX_HEALTHY_SECONDS
        ]
        wrong += [
            f"the clock of {worker.name} has stood still for {worker.report.silent_seconds} s"
            for worker in self._pool.workers
            if worker.report.silent_seconds > MAX_HEALTHY_SECONDS
        ]
        return not wrong, "; ".join(wrong)


#: More calls than there can be.
ALL_CALLS = 1_000_000


class SupervisorCallControl:
    """Calls of all workers; implements `control_interface.CallControl`."""

    def __init__(self, pool: WorkerPool, backend: ReturnBackend, tokens: CallTokens) -> None:
        self._tokens = tokens
        self._pool = pool
        self._backend = backend

    async def all(self) -> list[CallJSON]:
        page = await page_of_workers(self._pool.workers, CallSelection(limit=ALL_CALLS))
        return page["calls"]

    async def page(self, selection: CallSelection) -> CallPageJSON:
        return await page_of_workers(self._pool.workers, selection)

    async def get(self, call_id: UUID) -> CallJSON:
        return cast("CallJSON", await self._of(call_id, "call"))

    async def hang_up(self, call_id: UUID, role: Role) -> None:
        await self._of(call_id, "hang_up", role=role.value)

    async def return_call(self, call_id: UUID, numbers: Sequence[str]) -> CallJSON:
        return cast("CallJSON", await self._of(call_id, "return_call", numbers=list(numbers)))

    async def cancel_return(self, call_id: UUID) -> CallJSON:
        return cast("CallJSON", await self._of(call_id, "cancel_return"))

    async def command(self, call_id: UUID, role: Role, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        fields = {"role": role.value, "command": name, "arguments": dict(arguments)}
        return cast("dict[str, Any]", await self._of(call_id, "command", **fields))

    def call_of_token(self, token: str) -> UUID | None:
        return self._tokens.call_of(token)

    async def attempt_ended(self, attempt_id: str, end: str, reason: str) -> None:
        """Pass the report to the workers in turn: only the one that placed the attempt knows it."""
        unknown: UnknownAttempt | None = None
        for worker in self._pool.workers:
            try:
                await worker.request("attempt_ended", attempt=attempt_id, end=end, reason=reason)
            except UnknownAttempt as error:
                unknown = error
            else:
                return
        if unknown is not None:
            raise unknown

    def vouches(self, signature: str, attempt_id: str, body: bytes) -> bool:
        return self._backend.vouches(signature, attempt_id, body)

    async def _of(self, call_id: UUID, kind: str, **fields: Any) -> Any:
        return await self._pool.owner(call_id).request(kind, call_id=str(call_id), **fields)


def _fullest(processes: Sequence[OpenFilesJSON]) -> OpenFilesJSON:
    """Return the open files of the worker that is nearest to its limit, or of this process."""
    own: OpenFilesJSON = {"used": open_files.used(), "limit": open_files.limit(), "accepting": True}
    return max([own, *processes], key=lambda one: (not one["accepting"], one["used"] / max(1, one["limit"])))


def _legs(answers: Sequence[WorkerStatusJSON]) -> dict[str, dict[str, int]]:
    """Return the legs of all workers, by role and extension."""
    sums: dict[str, Counter[str]] = {role.value: Counter() for role in Role}
    for answer in answers:
        for role, numbers in answer["legs_by_extension"].items():
            sums[role].update(numbers)
    return {role: dict(numbers) for role, numbers in sums.items()}


def _worst(backends: Sequence[BackendJSON]) -> BackendJSON:
    """Return the worst state: each worker has a backend of its own."""
    if not backends:
        return {"kind": "none", "state": "down", "reason": "no worker responds"}
    return min(backends, key=lambda backend: _WORST_FIRST.index(backend["state"]))
