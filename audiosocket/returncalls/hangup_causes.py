"""Hangup causes and what they mean for an attempt (ITU-T Q.850, Asterisk's ``causes.h``)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from audiosocket.returncalls.originator import AttemptEnd

#: Causes without information: why the channel ended has to be known from another event.
UNINFORMATIVE = frozenset({0, 16, 31, 127})

#: Cause to the end of the attempt, and its reason. SIP: 486 is 17, 480 and a ring time-out 19, 603 21, 404 1.
ENDS: Mapping[int, tuple[AttemptEnd, str]] = MappingProxyType(
    {
        1: (AttemptEnd.FAILED, "no such number"),
        2: (AttemptEnd.FAILED, "no route to the number"),
        3: (AttemptEnd.FAILED, "no route to the number"),
        17: (AttemptEnd.BUSY, "busy"),
        18: (AttemptEnd.NO_ANSWER, "the telephone did not respond"),
        19: (AttemptEnd.NO_ANSWER, "nobody answered"),
        20: (AttemptEnd.FAILED, "the telephone is not registered"),
        21: (AttemptEnd.REFUSED, "the call was rejected"),
        22: (AttemptEnd.FAILED, "the number has changed"),
        26: (AttemptEnd.NO_ANSWER, "answered elsewhere"),
        27: (AttemptEnd.FAILED, "the telephone cannot be reached"),
        28: (AttemptEnd.FAILED, "no such number"),
        29: (AttemptEnd.REFUSED, "the call was rejected"),
        34: (AttemptEnd.FAILED, "no line free"),
        38: (AttemptEnd.FAILED, "the network is out of order"),
        41: (AttemptEnd.FAILED, "temporary failure of the network"),
        42: (AttemptEnd.FAILED, "congestion"),
        44: (AttemptEnd.FAILED, "no line free"),
        50: (AttemptEnd.REFUSED, "not subscribed"),
        52: (AttemptEnd.REFUSED, "outgoing calls are barred"),
        54: (AttemptEnd.REFUSED, "incoming calls are barred"),
        57: (AttemptEnd.REFUSED, "not allowed"),
        58: (AttemptEnd.FAILED, "no codec in common, or the line is not available"),
        88: (AttemptEnd.FAILED, "no codec in common"),
        102: (AttemptEnd.NO_ANSWER, "the telephone did not respond"),
    }
)


def result_for_cause(cause: int) -> tuple[AttemptEnd, str] | None:
    """Return how an unanswered call with this cause ended; None for a cause without information."""
    if cause in UNINFORMATIVE:
        return None
    return ENDS.get(cause, (AttemptEnd.FAILED, f"hangup cause {cause}"))
