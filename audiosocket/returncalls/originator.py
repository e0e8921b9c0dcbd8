"""The words of placing a return call: what is asked for, how one attempt ends, who can place it.

A return call rings a resident through Asterisk; on answer Asterisk sends the resident's channel to the
call's own return extension, whose dialplan opens AudioSocket to the return port with the same UUID.
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
    NO_ANSWER = "no_answer"  #: rang until the time was over
    REFUSED = "refused"  #: the number, or Asterisk, turned the call down
    FAILED = "failed"  #: it could not be placed: backend away, wrong secret, wrong number, timeout
    CANCELLED = "cancelled"  #: we stopped it, because the visitor left or somebody asked


@dataclass(frozen=True)
class ReturnRequest:
    """One attempt. ``number`` is the resident's, ``exten`` the return extension to land on.

    ``ring_seconds`` is how long it may ring. ``caller_id`` is a template, see `templates`; ``row`` has what the
    call's extension puts in such places: ``ramal`` and ``condominio``. ``variables`` are channel variables for
    the dialplan; the call id is always among them as ``AUDIOSOCKET_CALL_ID``. ``attempt_id`` names the attempt,
    also for the process after this one, which can `Originator.stop` it.
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
        """What templates of settings put in their places for this attempt."""
        return {**self.row, "number": self.number, "retorno": self.exten}


@dataclass(frozen=True)
class AttemptResult:
    """The end of one attempt, with a reason for people (never a secret).

    ``unavailable`` goes with ``FAILED``: who places calls was not there, so another number would end the same.
    """

    end: AttemptEnd
    reason: str = ""
    unavailable: bool = False


#: Why there are no return calls where no setting chooses who places them.
NOT_CONFIGURED = "return calls are not configured; set AMI_HOST, ARI_URL or WEBHOOK_URL and what belongs to it"


class Originator(Protocol):
    """A way to place return calls: AMI, ARI or a webhook."""

    def place(self, request: ReturnRequest) -> Deferred[AttemptResult]:
        """Ring the resident; always fires with a result within ring time plus 5 s, never with a failure.

        A backend that is down is looked at anew first, but not more often than it can bear. Cancelling the
        Deferred stops the ringing and fires with ``CANCELLED``.
        """

    def stop(self, request: ReturnRequest) -> None:
        """Stop by its ``attempt_id`` what rings or has answered, though nobody here follows it.

        A process before this one placed it, or its result has been told. Nothing is there any more: no matter.
        """

    @property
    def state(self) -> tuple[str, str]:
        """("up"|"connecting"|"failing"|"down", reason), for the API."""
