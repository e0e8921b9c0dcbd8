"""The leg double of ``audiosocket.testing``, under the name that our own tests use."""

from __future__ import annotations

from audiosocket.testing.leg_double import CALL, ManualThread, app_context, as_leg
from audiosocket.testing.leg_double import LegDouble as FakeLeg

__all__ = ["CALL", "FakeLeg", "ManualThread", "app_context", "as_leg"]
