"""Which telephones in browsers ring for which attempt of a return call, with ``RETURN_BACKEND=browser``.

Attempts come as the events ``phone.ringing`` and ``phone.stopped``, of this process or of its workers; how one
ended here is reported as by the program of a webhook. A telephone rings for one attempt at a time; one that begins
to wait while an attempt rings, rings, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from admin.uncancelled import maybe_await
from audiosocket.control_interface import Control
from audiosocket.errors import AudioSocketError
from audiosocket.json_shapes import CallJSON
from audiosocket.runtime.event_feed import EventFeed, FeedEntry

RINGING, STOPPED = "phone.ringing", "phone.stopped"
#: Seconds after the ring time in which the end of an attempt must have come; its worker may have died.
GRACE_SECONDS = 5.0
#: Why a telephone stops ringing when another one has answered.
ELSEWHERE = "answered elsewhere"


@dataclass(frozen=True)
class Ring:
    """One attempt that rings. ``number`` is the resident's, ``extension`` and ``caller`` are the visitor's."""

    attempt_id: str
    call_id: UUID
    number: str
    extension: str
    extension_id: int
    caller: str
    seconds: float


class Telephone(Protocol):
    """A telephone that waits: `resident_phone.ResidentPhone`. An empty ``number`` rings for every one."""

    number: str

    def ring(self, ring: Ring) -> None:
        """Ring."""

    def stop(self, reason: str) -> None:
        """Stop ringing and wait again."""


class ResidentPhones:
    """All telephones that wait, and all attempts that ring."""

    _log = Logger()

    def __init__(self, control: Control, feed: EventFeed, clock: IReactorTime) -> None:
        self._control = control
        self._clock = clock
        #: Each telephone, and the id of the attempt that it rings for.
        self._phones: dict[Telephone, str] = {}
        #: Attempts by their ids, the oldest first.
        self._rings: dict[str, Ring] = {}
        self._rejected: set[tuple[str, Telephone]] = set()
        #: What ends an attempt whose end does not come; attempts that are looked up are in here, too.
        self._timers: dict[str, IDelayedCall] = {}
        feed.follow(self._happened, frozenset({RINGING, STOPPED}))

    # for telephones

    def add(self, phone: Telephone) -> None:
        """Let a telephone wait; it may ring at once."""
        self._phones[phone] = ""
        self._offer()

    def discard(self, phone: Telephone) -> None:
        """Forget a telephone; what it rang for rings on elsewhere, or until its time is over."""
        self._phones.pop(phone, None)
        self._rejected = {pair for pair in self._rejected if pair[1] is not phone}

    def answer(self, phone: Telephone) -> Ring | None:
        """Return what a telephone rings for, which stops everywhere; None when it rings no more."""
        ring = self._rings.get(self._phones.get(phone, ""))
        if ring is None:
            return None
        self.discard(phone)
        self._stop(ring.attempt_id, ELSEWHERE)
        return ring

    def reject(self, phone: Telephone) -> None:
        """Let a telephone not ring any more; the attempt is refused when no other one rings for it."""
        attempt_id = self._phones.get(phone, "")
        if not attempt_id:
            return
        self._phones[phone] = ""
        self._rejected.add((attempt_id, phone))
        phone.stop("refused")
        if attempt_id not in self._phones.values():
            self.report(attempt_id, "refused", "declined on the operator page")
        self._offer()

    def report(self, attempt_id: str, end: str, reason: str) -> None:
        """Report how an attempt ended, in the background; nothing happens when it has ended already."""
        Deferred.fromCoroutine(self._report(attempt_id, end, reason)).addErrback(self._failed)

    async def _report(self, attempt_id: str, end: str, reason: str) -> None:
        await maybe_await(self._control.calls.attempt_ended(attempt_id, end, reason))

    # from the server

    def _happened(self, entry: FeedEntry) -> None:
        record = entry.fields
        if record["event"] == RINGING:
            attempt_id, seconds = str(record["attempt_id"]), float(record["ring_seconds"])
            limit = seconds + GRACE_SECONDS
            self._timers[attempt_id] = self._clock.callLater(limit, self._stop, attempt_id, "no_answer")
            looking = Deferred.fromCoroutine(self._begin(attempt_id, UUID(str(record["call_id"])), seconds))
            looking.addErrback(self._failed)
        elif record["event"] == STOPPED:
            self._stop(str(record["attempt_id"]), str(record["end"]))

    async def _begin(self, attempt_id: str, call_id: UUID, seconds: float) -> None:
        """Look up who is calling whom, and ring."""
        call = await maybe_await(self._control.calls.get(call_id))
        if attempt_id in self._timers:
            self._rings[attempt_id] = _ring(attempt_id, call_id, seconds, call)
            self._offer()

    def _stop(self, attempt_id: str, reason: str) -> None:
        timer = self._timers.pop(attempt_id, None)
        if timer is not None and timer.active():
            timer.cancel()
        self._rings.pop(attempt_id, None)
        self._rejected = {pair for pair in self._rejected if pair[0] != attempt_id}
        for phone in [phone for phone, rings_for in self._phones.items() if rings_for == attempt_id]:
            self._phones[phone] = ""
            phone.stop(reason)
        self._offer()

    def _offer(self) -> None:
        """Let each free telephone ring for the oldest attempt that is for it."""
        for phone in [phone for phone, rings_for in self._phones.items() if not rings_for]:
            for attempt_id, ring in self._rings.items():
                if phone.number in ("", ring.number) and (attempt_id, phone) not in self._rejected:
                    self._phones[phone] = attempt_id
                    phone.ring(ring)
                    break

    def _failed(self, failure: Failure) -> None:
        """Log what is unexpected; a call or an attempt that is over is not."""
        if not failure.check(AudioSocketError):
            self._log.failure("an attempt on the operator page failed", failure)


def _ring(attempt_id: str, call_id: UUID, seconds: float, call: CallJSON) -> Ring:
    returns: Any = call["return"]
    caller = call["caller"]
    return Ring(
        attempt_id,
        call_id,
        str(returns["attempts"][-1]["number"]) if returns and returns["attempts"] else "",
        call["extension"]["ramal_ia"],
        call["extension"]["id"],
        caller["number"] if caller else "",
        seconds,
    )
