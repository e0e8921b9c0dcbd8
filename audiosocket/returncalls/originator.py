"""The interface of a backend that places return calls: its request, its result.

A return call rings a resident through Asterisk. When it is answered, Asterisk sends the channel to the return
extension of the call, whose dialplan connects to the return port with the same UUID.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol
from uuid import UUID

from twisted.internet.defer import Deferred


class AttemptEnd(str, Enum):
    """How one attempt to reach a resident ended."""

    ANSWERED = "answered"  #: the resident answered and was sent to the return extension
    BUSY = "busy"
    NO_ANSWER = "no_answer"  #: rang for the whole ring time
    REFUSED = "refused"  #: the call was rejected by the telephone or by Asterisk
    FAILED = "failed"  #: it could not be placed: backend not available, wrong secret, wrong number, timeout
    CANCELLED = "cancelled"  #: stopped by this server: the visitor left, or on request


@dataclass(frozen=True)
class ReturnRequest:
    """The request for one attempt. ``number`` is the resident's, ``exten`` the return extension to continue at.

    ``ring_seconds`` is how long it may ring. ``caller_id`` is a template, see `templates`; ``row`` has the values
    of the call's extension, ``ramal`` and ``condominio``. ``variables`` are channel variables for the dialplan;
    the call id is always one of them, as ``AUDIOSOCKET_CALL_ID``. ``attempt_id`` identifies the attempt, also for
    the next process, which can `Originator.stop` it.
    """

    call_id: UUID
    number: str
    exten: str
    ring_seconds: float
    caller_id: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    attempt_id: str = field(default="", compare=False)
    row: Mapping[str, str] = field(default_factory=dict)

    @property
    def places(self) -> dict[str, str]:
        """The values of templates for this attempt."""
        return {**self.row, "number": self.number, "retorno": self.exten}


@dataclass(frozen=True)
class AttemptResult:
    """The end of one attempt, with its reason as text (without secrets).

    ``unavailable`` goes with ``FAILED``: the backend is not available, so another number would fail, too.
    """

    end: AttemptEnd
    reason: str = ""
    unavailable: bool = False


#: Why there are no return calls where no setting chooses a backend.
NOT_CONFIGURED = "return calls are not configured; set AMI_HOST, ARI_URL or WEBHOOK_URL and what goes with it"


class Originator(Protocol):
    """A way to place return calls: AMI, ARI or a webhook."""

    def place(self, request: ReturnRequest) -> Deferred[AttemptResult]:
        """Ring the resident; the Deferred fires with a result within ring time plus 5 s, never with a failure.

        A backend that is down is tried again first, but not too often. Cancelling the Deferred stops the ringing
        and fires it with ``CANCELLED``.
        """

    def stop(self, request: ReturnRequest) -> None:
        """Hang up the channel of ``attempt_id``, ringing or answered, which is not followed here.

        The previous process placed it, or its result is known already. Does nothing when it is gone.
        """

    @property
    def state(self) -> tuple[str, str]:
        """("up"|"connecting"|"failing"|"down", reason), for the API."""
