"""Test an app without a telephone: a leg double with a clock moved by hand, and real calls over loopback.

Not imported by the server.
"""

from audiosocket.testing.leg_double import LegDouble, ManualThread, app_context, leg_for

__all__ = ["LegDouble", "ManualThread", "app_context", "leg_for"]
