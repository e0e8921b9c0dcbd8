"""The names of everything that happens to a call, and the log that writes them down.

Diagnostics go to ``twisted.logger``; these events go to whoever runs the gate: the call's timeline in
the API, and every sink given to the `EventLog`. A sink that fails costs its own copy only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.logger import Logger

Record = Mapping[str, Any]
Sink = Callable[[Record], None]

#: Event name to what it means. Code that emits a name not in here fails; the documentation lists these.
EVENTS: Mapping[str, str] = {
    "call.started": "the first leg of a UUID was accepted; the call keeps its extension from here on",
    "call.ended": "no leg is left; carries the call's outcome and every attempt to reach a resident",
    "call.interrupted": "the server stopped while the call went on; it resumes when its UUID comes back",
    "call.resumed": "after a restart of the server the first leg of the call came back",
    "leg.joined": "a leg was accepted (role, peer, port)",
    "leg.resumed": "a new connection took over a leg whose old one had gone quiet, left, or been cut by a restart",
    "leg.refused": "a connection for this call was turned away with a hangup frame (reason)",
    "leg.left": "a leg is over; carries its outcome and how many legs remain",
    "leg.digit": "the caller pressed a key",
    "leg.rate": "the caller's frames changed their sample rate",
    "leg.codec": "the caller's audio is not the slin it is labelled as (codec: ulaw, alaw or unknown)",
    "return.started": "a return call to a resident begins (numbers: how many may be tried)",
    "return.attempt": "one number of a return call has ended (number masked, end, reason, seconds)",
    "return.ended": "the return call is over (state: connected, failed or cancelled; reason)",
    "app.replaced": "an app gave its leg up and others took its place (app, to, reason)",
    "bridge.started": "an app or a command connected the two legs of the call",
    "bridge.ended": "the two legs of the call were separated",
    "app.failed": "an app raised; its call is ended",
    "app.note": "something an app wanted in the timeline",
    "recording.started": "a recording was opened (file)",
    "recording.ended": "a recording was closed (file, seconds)",
    "recording.failed": "a recording could not be written any more (reason)",
}


class EventLog:
    """Hands each event to all sinks."""

    _log = Logger()

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self._sinks = list(sinks)

    def emit(self, name: str, identity: Record, fields: Record) -> dict[str, Any]:
        """Give every sink its own copy; ``identity`` wins over fields a peer or an app chose.

        Raises KeyError for a name that is not in `EVENTS`.
        """
        EVENTS[name]
        record = {**fields, **identity, "event": name}
        for sink in self._sinks:
            try:
                sink(dict(record))
            except Exception:  # noqa: BLE001 - a sink that fails costs its own copy only
                self._log.failure("event sink {sink} failed", sink=sink)
        return record
