"""One opening of the gate in this process: how it begins, how far it is, and who waits for its answer."""

from __future__ import annotations

from datetime import datetime, timezone

from twisted.internet.defer import Deferred

from audiosocket.gate.record import GateRecord
from audiosocket.interfaces import Authorisation, GateAnswer


class Opening:
    """The opening of ``record``.

    ``again``: a process before this one may have done a part of it; ``late``: that was so long ago that the
    rest is not done.
    """

    def __init__(self, record: GateRecord, *, again: bool, late: bool = False) -> None:
        self.record = record
        self.again = again
        self.late = late
        #: Whether the journal has all of it.
        self.saved = True
        self.work: Deferred[None] | None = None
        self._answer: GateAnswer | None = None
        self._waiting: list[Deferred[GateAnswer]] = []

    def answer(self) -> Deferred[GateAnswer]:
        """A Deferred of the caller's own."""
        waiting: Deferred[GateAnswer] = Deferred()
        if self._answer is not None:
            waiting.callback(self._answer)
        else:
            self._waiting.append(waiting)
        return waiting

    def finish(self, trouble: str = "") -> None:
        """Tell all who wait; only the first answer counts."""
        if self._answer is None:
            record = self.record
            self._answer = GateAnswer(record.opened and not trouble, trouble or record.reason)
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one.callback(self._answer)

    def cancel(self) -> None:
        """Stop here; the journal knows how far it came."""
        if self.work is not None:
            self.work.cancel()


def record_of(authorisation: Authorisation, now: float) -> GateRecord:
    """Return the record of an opening that nothing has been done for; ``now`` is Unix time."""
    extension = authorisation.extension
    at = datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="milliseconds")
    return GateRecord(
        call_id=str(authorisation.call_id),
        visit=authorisation.visit,
        at=at.replace("+00:00", "Z"),
        extension=extension.id,
        ramal=extension.number,
        condominium=extension.condominium_id,
        apartment=authorisation.apartment,
        block=authorisation.block,
        answered_by=authorisation.number,
        concierge=authorisation.concierge,
        key=authorisation.key,
        channel=authorisation.channel,
        port=extension.port,
        other_port=extension.return_port or 0,
    )
