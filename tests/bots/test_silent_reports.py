"""What a leg reports to a bot and a dialect has no message for: nothing is sent."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from audiosocket.bots.asterisk_ws import AsteriskMedia, MediaStart
from audiosocket.bots.events import Dialect, Message
from audiosocket.bots.openai_realtime import RealtimeConfig, RealtimeConversation
from audiosocket.bots.twilio import TwilioStream, stream_ids

REPORTS: dict[str, Callable[[Dialect], list[Message]]] = {
    "mark_played": lambda dialect: dialect.mark_played("a"),
    "truncated": lambda dialect: dialect.truncated("item", 100),
    "drained": lambda dialect: dialect.drained(),
    "status": lambda dialect: dialect.status(20, False),
    "pressure": lambda dialect: dialect.pressure(60_000),
    "result": lambda dialect: dialect.result("1", "", {}),
    "closing": lambda dialect: dialect.closing(),
}


def asterisk() -> Dialect:
    return AsteriskMedia(MediaStart("the-uuid", "AudioSocket/door", "1.2", 8000, {}))


def openai() -> Dialect:
    return RealtimeConversation(RealtimeConfig())


def twilio() -> Dialect:
    return TwilioStream(stream_ids(UUID(int=7), "gate", resident=False), {})


@pytest.mark.parametrize(
    ("make", "silent"),
    [
        (asterisk, ["truncated", "result", "closing"]),
        (openai, ["mark_played", "drained", "status", "pressure", "closing"]),
        (twilio, ["truncated", "drained", "status", "pressure"]),
    ],
)
def test_a_report_without_a_message_sends_nothing(make: Callable[[], Dialect], silent: list[str]) -> None:
    dialect = make()
    dialect.opening()
    assert [name for name in silent if REPORTS[name](dialect) != []] == []
    assert all(REPORTS[name](dialect) for name in REPORTS if name not in silent)
