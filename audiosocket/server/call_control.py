"""`control_interface.CallControl` over the calls of this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred

from audiosocket.bots.call_commands import CallCommands
from audiosocket.bots.call_tokens import CallTokens
from audiosocket.bots.commands import parse_command
from audiosocket.calls.call import Call
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.control_interface import CallSelection
from audiosocket.errors import ReturnTaken, ReturnUnavailable, UnknownAttempt, UnknownCall
from audiosocket.extensions.model import Role
from audiosocket.fleet.page_order import as_page
from audiosocket.interfaces import Gate
from audiosocket.json_shapes import BackendJSON, CallJSON, CallPageJSON, CallStatusJSON, OpenFilesJSON
from audiosocket.returncalls.backends.selection import ReturnBackend
from audiosocket.returncalls.originator import NOT_CONFIGURED
from audiosocket.runtime.histograms import Histograms
from audiosocket.runtime.storage import of_journal
from audiosocket.server.call_pages import in_pieces, select
from audiosocket.server.call_server import CallServer
from audiosocket.transport import open_files
from audiosocket.transport.accept_gate import AcceptGate

_NO_BACKEND: BackendJSON = {"kind": "none", "state": "off", "reason": NOT_CONFIGURED}


class LocalCallControl:
    """Calls of this process, from memory; lists are made in several turns of the reactor.

    ``seconds`` is a steady clock, in seconds.
    """

    def __init__(
        self,
        server: CallServer,
        seconds: Callable[[], float],
        backend: ReturnBackend | None = None,
        histograms: Histograms | None = None,
        gate: Gate | None = None,
        tokens: CallTokens | None = None,
        accepting: AcceptGate | None = None,
    ) -> None:
        self._gate = gate
        self._accepting = accepting
        self._tokens = tokens
        self._server = server
        self._switchboard = server.switchboard
        self._seconds = seconds
        self._backend = backend
        self._histograms = histograms or Histograms()

    async def status(self) -> CallStatusJSON:
        """Return the part of the status that is about calls; the reactor turns after each look at all of them."""
        switchboard = self._switchboard
        registry = switchboard.registry
        suspended = sum(call.suspended for call in registry)
        await self._server.turn()
        traffic = switchboard.legs.traffic.to_json(switchboard.legs)
        await self._server.turn()
        legs = switchboard.legs.by_extension()
        await self._server.turn()
        return {
            "storage": of_journal(self._server.journal_trouble),
            "live_calls": len(registry),
            "suspended_calls": suspended,
            "calls_total": registry.started_total,
            "refused_total": registry.refused_total,
            "late_turns_total": switchboard.late_turns,
            "rejected_total": dict(switchboard.admission.rejected_total),
            "return_backend": _NO_BACKEND if self._backend is None else self._backend.to_json(),
            "mislabelled_codecs": {str(key): codec for key, codec in switchboard.codecs.latest.items()},
            "reactor": self._server.reactor_lag.to_json(),
            "latencies": self._histograms.to_json(),
            "limits_reached_total": {**registry.limits.reached_total, **switchboard.admission.reached_total},
            "open_files": self._open_files(),
            "traffic": traffic,
            "timings": {
                **switchboard.admission.timings.to_json(),
                "reactor_lag": self._server.reactor_lag.histogram(),
            },
            "legs_by_extension": legs,
        }

    def _open_files(self) -> OpenFilesJSON:
        return {"used": open_files.used(), "limit": open_files.limit(), "accepting": not self._gate_is_closed()}

    def _gate_is_closed(self) -> bool:
        return self._accepting is not None and self._accepting.paused

    def problems(self) -> list[str]:
        """Return why no call can come in, for ``/readyz``; empty when they can."""
        return ["no file descriptors are left for new calls"] if self._gate_is_closed() else []

    def live_by_extension(self) -> Mapping[int, int]:
        """Return the number of live calls of each extension that has any."""
        return Counter(call.extension.id for call in self._switchboard.registry)

    async def all(self) -> list[CallJSON]:
        registry = self._switchboard.registry
        return await in_pieces([*registry, *registry.recent()], self._seconds(), self._server.turn)

    async def page(self, selection: CallSelection) -> CallPageJSON:
        registry = self._switchboard.registry
        total, calls = select([*registry, *registry.recent()], selection)
        shown = await in_pieces(calls, self._seconds(), self._server.turn)
        return as_page(total, shown, selection.limit)

    def get(self, call_id: UUID) -> CallJSON:
        call = self._switchboard.registry.get(call_id)
        if call is None:
            raise UnknownCall(f"no live or recent call {call_id}")
        return call.to_json(self._seconds(), timeline=True)

    def hang_up(self, call_id: UUID, role: Role) -> None:
        self._switchboard.hang_up(call_id, role, LegOutcome.ADMIN_HANGUP)

    def return_call(self, call_id: UUID, numbers: Sequence[str]) -> CallJSON:
        call, returns = self._live(call_id), self._switchboard.returns
        if returns is None:
            raise ReturnUnavailable(NOT_CONFIGURED)
        returns.place(call, numbers)
        return self.get(call_id)

    def cancel_return(self, call_id: UUID) -> CallJSON:
        call, returns = self._live(call_id), self._switchboard.returns
        if returns is None:
            raise ReturnTaken(f"no return call for {call_id} is under way")
        returns.cancel(call)
        return self.get(call_id)

    def command(
        self, call_id: UUID, role: Role, name: str, arguments: Mapping[str, Any]
    ) -> Awaitable[dict[str, Any]]:
        leg, policy = self._switchboard.leg_for_commands(call_id, role)
        telephony = None if self._backend is None else self._backend.telephony
        commands = CallCommands(leg, policy, telephony, self._gate)
        return Deferred.fromCoroutine(commands.run(name, parse_command(name, arguments)))

    def call_of_token(self, token: str) -> UUID | None:
        return None if self._tokens is None else self._tokens.call_of(token)

    def attempt_ended(self, attempt_id: str, end: str, reason: str) -> None:
        if self._backend is None:
            raise UnknownAttempt(NOT_CONFIGURED)
        self._backend.report(attempt_id, end, reason)

    def vouches(self, signature: str, attempt_id: str, body: bytes) -> bool:
        return self._backend is not None and self._backend.vouches(signature, attempt_id, body)

    def _live(self, call_id: UUID) -> Call:
        call = self._switchboard.registry.get(call_id)
        if call is None or call.ended is not None:
            raise UnknownCall(f"no live call {call_id}")
        return call
