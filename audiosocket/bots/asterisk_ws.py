"""The JSON dialect of Asterisk's ``chan_websocket``, Asterisk's side: binary audio, text control.

Source: docs.asterisk.org, Configuration/Channel-Drivers/WebSocket. Audio is signed linear; commands are
case-sensitive. ``FLUSH_MEDIA`` returns no marks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audiosocket.bots.events import (
    AudioFormat,
    BotEvent,
    Clear,
    DrainRequested,
    HangUp,
    Ignored,
    MarkRequested,
    Message,
    Pause,
    Ready,
    Speech,
    StatusRequested,
)
from audiosocket.bots.json_text import dump, read_object, text_of

PTIME_MS = 20
#: Of Asterisk's queue of 1,000 frames: it asks the bot to stop above the first and to go on below the second.
XOFF_FRAMES, XON_FRAMES = 900, 800
#: Signed linear by sample rate, in Asterisk's names.
FORMATS = {8000: "slin", 16000: "slin16"}
_MARK, _BUFFERED = "mark:", "buffered:"


@dataclass(frozen=True)
class MediaStart:
    """What the first message says of the call. ``rate`` is 8000 or 16000 Hz."""

    connection_id: str
    channel: str
    channel_id: str
    rate: int
    variables: Mapping[str, str]


class AsteriskMedia:
    """One connection."""

    has_flow_control = True

    def __init__(self, start: MediaStart) -> None:
        self._start = start
        self._format = AudioFormat("slin", start.rate)
        self._stopped = False
        self._buffering = False

    def opening(self) -> list[Message]:
        start = self._start
        return [
            dump(
                {
                    "event": "MEDIA_START",
                    "connection_id": start.connection_id,
                    "channel": start.channel,
                    "channel_id": start.channel_id,
                    "format": FORMATS[start.rate],
                    "optimal_frame_size": start.rate * PTIME_MS * 2 // 1000,
                    "ptime": PTIME_MS,
                    "channel_variables": dict(start.variables),
                }
            )
        ]

    def ready(self) -> Ready | None:
        return Ready(self._format)

    def audio(self, payload: bytes) -> Message:
        return payload

    def digit(self, digit: str) -> list[Message]:
        return [self._event("DTMF_END", digit=digit)]

    def mark_played(self, name: str) -> list[Message]:
        if name.startswith(_BUFFERED):
            return [self._correlated("MEDIA_BUFFERING_COMPLETED", name.removeprefix(_BUFFERED))]
        return [self._correlated("MEDIA_MARK_PROCESSED", name.removeprefix(_MARK))]

    def drained(self) -> list[Message]:
        return [self._event("QUEUE_DRAINED")]

    def status(self, queued_ms: int, paused: bool) -> list[Message]:
        frames = queued_ms // PTIME_MS
        return [
            self._event(
                "STATUS",
                queue_length=frames,
                xon_level=XON_FRAMES,
                xoff_level=XOFF_FRAMES,
                queue_full=self._stopped,
                bulk_media=self._buffering,
                media_paused=paused,
            )
        ]

    def pressure(self, queued_ms: int) -> list[Message]:
        frames = queued_ms // PTIME_MS
        if not self._stopped and frames > XOFF_FRAMES:
            self._stopped = True
            return [self._event("MEDIA_XOFF")]
        if self._stopped and frames < XON_FRAMES:
            self._stopped = False
            return [self._event("MEDIA_XON")]
        return []

    def truncated(self, item: str, heard_ms: int) -> list[Message]:
        return []

    def result(self, command_id: str, error: str, values: Mapping[str, Any]) -> list[Message]:
        return []

    def closing(self) -> list[Message]:
        return []

    def _event(self, event: str, **fields: Any) -> str:
        return dump({"event": event, "channel_id": self._start.channel_id, **fields})

    def _correlated(self, event: str, correlation_id: str) -> str:
        return self._event(event, **({"correlation_id": correlation_id} if correlation_id else {}))

    def receive(self, message: Message) -> list[BotEvent]:
        if isinstance(message, bytes):
            return [Speech(message, self._format)]
        found = read_object(message)
        if found is None:
            return [Ignored("a text that is no JSON object")]
        return self._obey(text_of(found, "command"), text_of(found, "correlation_id"))

    def _obey(self, command: str, correlation_id: str) -> list[BotEvent]:
        if command == "MARK_MEDIA":
            return [MarkRequested(_MARK + correlation_id)]
        if command == "START_MEDIA_BUFFERING":
            self._buffering = True
            return []
        if command == "STOP_MEDIA_BUFFERING":
            self._buffering = False
            return [MarkRequested(_BUFFERED + correlation_id)]
        if command == "FLUSH_MEDIA":
            self._buffering = False
            return [Clear(marks_returned=False), Pause(False)]
        if command in _SIMPLE:
            return [_SIMPLE[command]]
        if command in {"ANSWER", "SET_MEDIA_DIRECTION"}:
            return []
        return [Ignored("an unknown command")]


_SIMPLE: Mapping[str, BotEvent] = {
    "HANGUP": HangUp(),
    "PAUSE_MEDIA": Pause(True),
    "CONTINUE_MEDIA": Pause(False),
    "GET_STATUS": StatusRequested(),
    "REPORT_QUEUE_DRAINED": DrainRequested(),
}
