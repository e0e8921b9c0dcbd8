"""The log lines of the events of calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from audiosocket.runtime.logs import FrequentLogger
from audiosocket.runtime.rate_limit import RateLimit

#: Events that are not logged, as the switchboard's own line has peer and port, too. Nor is the event of the last
#: leg that leaves, as ``call.ended`` follows: log lines are half of the cost of setting up a call.
LOGGED_ELSEWHERE = frozenset({"call.started", "leg.joined"})
#: Recordings that fail are logged so often in a second: a full disk or no descriptors end all of them at once.
FAILED_PER_SECOND = 2
_IDENTITY = frozenset({"event", "call_id", "extension", "number"})


class EventLines:
    """Logs each event of a call; a sink of `calls.events.EventLog`.

    ``recordings`` is the directory of recordings, ``seconds`` a steady clock, in seconds.
    """

    def __init__(self, recordings: Path, seconds: Callable[[], float]) -> None:
        self._log = FrequentLogger(f"{__name__}.{type(self).__name__}", self)
        self._recordings = str(recordings)
        self._failed = RateLimit(FAILED_PER_SECOND, 1.0, seconds)

    def __call__(self, record: Mapping[str, Any]) -> None:
        event = record["event"]
        if event in LOGGED_ELSEWHERE or record.get("remaining") == 0:
            return
        if event == "recording.failed":
            self._recording_failed(record)
            return
        details = {key: value for key, value in record.items() if key not in _IDENTITY}
        self._log.info(
            "{event} call {call_id} extension {extension} ({number}) {log_details}",
            log_details=" ".join([f"{key}={value}" for key, value in details.items()]),  # not shown in JSON
            details=details,
            event=event,
            call_id=record["call_id"],
            extension=record["extension"],
            number=record["number"],
        )

    def _recording_failed(self, record: Mapping[str, Any]) -> None:
        if not self._failed.allow():
            return
        before = self._failed.take_suppressed()
        self._log.error(
            "RECORD_DIR: the recording of {call_id} ({role}, extension {extension}) in {directory} ends here "
            "({reason}); the call goes on{more}",
            call_id=record["call_id"],
            role=record.get("role"),
            extension=record["extension"],
            directory=self._recordings,
            reason=record.get("reason"),
            more=f" (and {before:,} more since the last line)" if before else "",
        )
