"""Authorisations in the table of the fleet: the gate is asked by one node only, whatever became of the others."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from audiosocket.errors import SourceUnavailable
from audiosocket.fleet.call_lookups import Database
from audiosocket.fleet.call_statements import AUTHORISE, AUTHORISED

#: How long an opening waits for the table, in seconds.
CLAIM_SECONDS = 1.0


class GateClaims:
    """Implements `gate.opener.Claims`. ``node`` is this node's name.

    ``may_open_alone`` says of a call whether no other node can have opened for it; it is asked while the table
    cannot be.
    """

    _log = Logger()

    def __init__(self, database: Database, node: str, may_open_alone: Callable[[UUID], bool]) -> None:
        self._database = database
        self._node = node
        self._may_open_alone = may_open_alone

    async def claim(self, call_id: UUID, visit: str) -> tuple[bool, str] | None:
        """Claim an opening. None: it is this node's; else whether another node opened, and the answer to that."""
        call = str(call_id)
        values = [call, self._node, call, visit, self._node, call, visit]
        try:
            ((claimed, ours, node, opened, answer),) = await self._database.ask(AUTHORISE, values, CLAIM_SECONDS)
        except SourceUnavailable as problem:
            if self._may_open_alone(call_id):
                self._log.warn(
                    "{call_id}: the gate opens without the table of the fleet: {why}",
                    call_id=call,
                    why=problem,
                )
                return None
            return False, f"the call was another node's, and the table of the fleet cannot be asked: {problem}"
        if claimed or node == self._node:
            return None
        if node is None:
            return False, "another node begins to open it" if ours else "another node has the call"
        if opened is None:
            return False, f"node {node} has begun to open it, and has not said whether it did"
        return bool(opened), f"node {node}: {answer}"

    def answered(self, call_id: UUID, visit: str, *, opened: bool, detail: str) -> None:
        """Tell the other nodes what the gate answered; nobody waits for that."""
        work = Deferred.fromCoroutine(self._tell([opened, detail, str(call_id), visit, self._node]))
        work.addErrback(lambda failure: self._log.failure("the answer of a gate is not in the table", failure))

    async def _tell(self, values: list[object]) -> None:
        try:
            await self._database.ask(AUTHORISED, values, CLAIM_SECONDS)
        except SourceUnavailable as problem:
            self._log.warn("the answer of a gate is not in the table of the fleet: {why}", why=problem)
