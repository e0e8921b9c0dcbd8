"""How an attempt that was not answered ended, from what AMI or ARI reported of its channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from audiosocket.returncalls.hangup_causes import UNINFORMATIVE, result_for_cause
from audiosocket.returncalls.originator import AttemptEnd

#: Causes after which a better one may follow: a dialplan's ``Congestion()`` gives 34 whatever was before.
_VAGUE = UNINFORMATIVE | {34}
#: ``Reason`` of AMI's failed OriginateResponse, an ``ast_control_frame_type``, where it means something.
_REASONS: Mapping[str, tuple[AttemptEnd, str]] = {
    "3": (AttemptEnd.NO_ANSWER, "nobody answered"),
    "5": (AttemptEnd.BUSY, "busy"),
    "8": (AttemptEnd.FAILED, "congestion"),
}
_DIAL_STATUSES: Mapping[str, tuple[AttemptEnd, str]] = {
    "BUSY": (AttemptEnd.BUSY, "busy"),
    "CONGESTION": (AttemptEnd.FAILED, "congestion"),
    "CHANUNAVAIL": (AttemptEnd.FAILED, "the telephone cannot be reached"),
}


@dataclass
class AttemptResultBuilder:
    """Collects what is known so far; the events of Asterisk have no certain order.

    ``cause`` is the hangup cause of the attempt's own channel, None before its end. ``dial_status`` and ``reason``
    are what Asterisk reports of how dialling it ended.
    """

    rang: bool = False
    cause: int | None = None
    dial_status: str = ""
    reason: str = ""
    _linked_cause: int = 0

    def linked(self, cause: int) -> bool:
        """Note the cause of a channel that belongs to this one, such as one that a ``Local/`` channel dialled.

        Returns whether that cause means something.
        """
        if cause in _VAGUE:
            return False
        self._linked_cause = cause
        return True

    @property
    def vague(self) -> bool:
        """Whether a better cause may follow that of the attempt's own channel."""
        return self.cause in _VAGUE and not self._linked_cause

    def end(self, ring_seconds: float) -> tuple[AttemptEnd, str]:
        """Return the end, and its reason as text; ``ring_seconds`` is how long it was allowed to ring."""
        cause = self._linked_cause if self.cause in _VAGUE and self._linked_cause else self.cause
        found = None if cause is None else result_for_cause(cause)
        found = found or _DIAL_STATUSES.get(self.dial_status) or _REASONS.get(self.reason)
        if found is None and self.cause is None:
            found = AttemptEnd.FAILED, "Asterisk does not know this telephone, or cannot reach it"
        if found is None and self.cause == 0 and not self.rang:
            found = (
                AttemptEnd.FAILED,
                "it never rang: the dialplan does not have the number, or rings no telephone",
            )
        end, reason = found or (AttemptEnd.REFUSED, "the call was ended before it was answered")
        if end is AttemptEnd.NO_ANSWER and self.rang:
            reason = f"rang for up to {ring_seconds:g} s, {reason}"
        return end, reason
