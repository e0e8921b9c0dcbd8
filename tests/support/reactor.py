"""The global reactor, typed as `Any`: Twisted declares it as a module, without the interfaces it provides."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as _reactor

reactor: Any = _reactor
