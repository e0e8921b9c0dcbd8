"""Test an app without a telephone: a leg double with a clock moved by hand, and real calls over loopback.

Not imported by the server.
"""

from audiosocket.testing.leg_double import LegDouble, ManualThread, app_context, leg_for
from audiosocket.testing.loopback import LoopbackCalls, loopback_call, loopback_calls

__all__ = [
    "LegDouble",
    "LoopbackCalls",
    "ManualThread",
    "app_context",
    "leg_for",
    "loopback_call",
    "loopback_calls",
]
