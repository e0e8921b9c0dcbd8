"""The names of the events of a call, and the log that receives them.

Diagnostics go to ``twisted.logger``; events go to the call's timeline in the API, and to every sink of the
`EventLog`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.logger import Logger

Record = Mapping[str, Any]
Sink = Callable[[Record], None]

#: Event name to its meaning. Emitting any other name raises; ``docs/events.md`` lists these.
EVENTS: Mapping[str, str] = {
    "call.started": "the first leg of a UUID was accepted; the call keeps its extension from here on",
    "call.ended": "the last leg has ended; with the call's outcome and every attempt to reach a resident",
    "call.omitted": "events of the call that came too often were counted and not noted (events: how many of each)",
    "call.interrupted": "the server stopped during the call; it resumes when its UUID is presented again",
    "call.resumed": "after a restart of the server the first leg of the call resumed",
    "call.adopted": "the call of another node goes on here (node: which had it)",
    "leg.joined": "a leg was accepted (role, peer, port)",
    "leg.suspended": "its connection through a proxy was closed (reason); it may come back for 5 s",
    "leg.resumed": "a new connection took over a leg whose old one was silent, had ended or was suspended",
    "leg.refused": "a connection for this call was answered with a hangup frame (reason)",
    "leg.left": "a leg has ended; with its outcome and the number of legs that remain",
    "leg.digit": "the caller pressed a key",
    "leg.rate": "the caller's frames changed their sample rate",
    "leg.codec": "the caller's audio is not the slin it is labelled as (codec: ulaw, alaw or unknown)",
    "return.started": "a return call to a resident begins (numbers: how many may be tried)",
    "return.attempt": "one number of a return call has ended (number masked, end, reason, seconds)",
    "return.ended": "the return call is over (state: connected, failed or cancelled; reason)",
    "gate.opening": "a resident has authorised; the gate is about to be opened (ways)",
    "gate.opened": "the gate confirmed (answers)",
    "gate.failed": "the gate did not confirm, or could not be reached (reason)",
    "app.replaced": "an app handed its leg over to others (app, to, reason)",
    "bridge.started": "an app or a command connected the two legs of the call",
    "bridge.ended": "the two legs of the call were separated",
    "bot.connected": "a bot takes a leg's audio (connect_ms, attempts)",
    "bot.command": "a bot asked for something to be done with its call (command, ok, reason)",
    "bot.ended": "a bot did not go on and no app is named to take its place (reason)",
    "app.failed": "an app raised; its call is ended",
    "app.note": "a note of an app",
    "recording.started": "a recording was opened (file)",
    "recording.ended": "a recording was closed (file, seconds)",
    "recording.failed": "a recording could not be written (reason)",
}


class EventLog:
    """Passes each event on to all sinks."""

    _log = Logger()

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self._sinks = list(sinks)

    def emit(self, name: str, identity: Record, fields: Record) -> dict[str, Any]:
        """Give every sink a copy of the event, and return it; a sink that raises costs its own copy only.

        ``identity`` wins over ``fields``, which a peer or an app may have chosen. Raises KeyError for a name that
        is not in `EVENTS`.
        """
        EVENTS[name]
        record = {**fields, **identity, "event": name}
        for sink in self._sinks:
            try:
                sink(dict(record))
            except Exception:  # noqa: BLE001 - a sink that fails costs its own copy only
                self._log.failure("event sink {sink} failed", sink=sink)
        return record
