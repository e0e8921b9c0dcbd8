"""An ARI in memory whose channels are followed: its events, and what it answers when it is asked for a channel."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred

from audiosocket.asterisk.ari.channels import ARIChannels
from audiosocket.outbound.http_client import Answer, RequestFailed

DOOR = "1795376508.1"
NOT_FOUND = Answer(404, b'{"message":"Channel not found"}')


class ARIFixture:
    """``up`` is whether events arrive; questions wait for `answers`."""

    def __init__(self) -> None:
        self.up = True
        self.asked: list[str] = []
        self._waiting: list[Deferred[Answer]] = []
        self.channels = ARIChannels(self._ask, lambda: self.up)
        self.news: list[UUID | None] = []
        self.ends = 0
        self.channels.watch(self.news.append)
        self.channels.watch_ends(self._ended)

    async def _ask(self, method: str, path: str) -> Answer:
        assert method == "GET"
        self.asked.append(path)
        waiting: Deferred[Answer] = Deferred()
        self._waiting.append(waiting)
        return await waiting

    def _ended(self) -> None:
        self.ends += 1

    def answers(self, reply: Answer | RequestFailed) -> None:
        """Answer the question that has waited longest."""
        waiting = self._waiting.pop(0)
        if isinstance(reply, Answer):
            waiting.callback(reply)
        else:
            waiting.errback(reply)


def event(kind: str, channel: str = DOOR, exten: str = "s") -> dict[str, Any]:
    """Return an event about a channel, as Asterisk 22 sends it."""
    return {
        "type": kind,
        "channel": {
            "id": channel,
            "name": "PJSIP/door-00000001",
            "state": "Up",
            "caller": {"name": "Porta Norte", "number": "5511"},
            "dialplan": {"context": "gate", "exten": exten, "priority": 1},
        },
    }


def runs(application: str, data: str, channel: str = DOOR, exten: str = "s") -> dict[str, Any]:
    """Return the event of a channel that runs an application of the dialplan."""
    return {
        **event("ChannelDialplan", channel, exten),
        "dialplan_app": application,
        "dialplan_app_data": data,
    }
