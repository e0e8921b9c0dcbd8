"""How an attempt that was not answered ended, from what Asterisk told of its channel through AMI or ARI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from audiosocket.returncalls.hangup_causes import UNINFORMATIVE, result_for_cause
from audiosocket.returncalls.originator import AttemptEnd

#: Causes after which one waits for a better one: a dialplan's ``Congestion()`` gives 34 whatever went before.
_VAGUE = UNINFORMATIVE | {34}
#: ``Reason`` of AMI's failed OriginateResponse, an ``ast_control_frame_type``, where it says something.
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
    """What is known so far; the events of Asterisk have no certain order.

    ``cause`` is the hangup cause of the attempt's own channel, None before its end. ``dial_status`` and ``reason``
    are Asterisk's words of how dialling it ended.
    """

    rang: bool = False
    cause: int | None = None
    dial_status: str = ""
    reason: str = ""
    _linked_cause: int = 0

    def linked(self, cause: int) -> bool:
        """A channel ended that belongs to ours, such as one that a ``Local/`` channel's dialplan dialled.

        True when its cause says more than nothing.
        """
        if cause in _VAGUE:
            return False
        self._linked_cause = cause
        return True

    @property
    def vague(self) -> bool:
        """Whether a better cause may still follow that of the attempt's own channel."""
        return self.cause in _VAGUE and not self._linked_cause

    def end(self, ring_seconds: float) -> tuple[AttemptEnd, str]:
        """The end, and why for people; ``ring_seconds`` is how long it might ring."""
        cause = self._linked_cause if self.cause in _VAGUE and self._linked_cause else self.cause
        told = None if cause is None else result_for_cause(cause)
        told = told or _DIAL_STATUSES.get(self.dial_status) or _REASONS.get(self.reason)
        if told is None and self.cause is None:
            told = AttemptEnd.FAILED, "Asterisk knows no such telephone, or cannot reach it"
        if told is None and self.cause == 0 and not self.rang:
            told = AttemptEnd.FAILED, "it never rang: the number is not in the dialplan, or rings nobody there"
        end, reason = told or (AttemptEnd.REFUSED, "the call was ended before it was answered")
        if end is AttemptEnd.NO_ANSWER and self.rang:
            reason = f"rang for up to {ring_seconds:g} s, {reason}"
        return end, reason
