"""Channels of a fake Asterisk: a visitor's, a resident's, and the events that announce them."""

from __future__ import annotations

from uuid import UUID

from audiosocket.asterisk.ami.channels import ChannelTracker
from audiosocket.asterisk.channel_names import CHANNEL_ID_PREFIX
from audiosocket.interfaces import CallerInfo
from tests.support.fake_ami import AMIFixture

VISITOR_PORT, RETURN_PORT = 8080, 8081
DOOR = {"Channel": "PJSIP/door-00000001", "Uniqueid": "1795376508.1", "Linkedid": "1795376508.1"}
DOOR_INFO = CallerInfo("PJSIP/door-00000001", "1795376508.1", "5511", "Porta Norte", "1000")
RESIDENT = {"Channel": "PJSIP/2001-00000002", "Uniqueid": f"{CHANNEL_ID_PREFIX}7"}


class ChannelFixture(AMIFixture):
    """A fake Asterisk whose channels are tracked."""

    def __init__(self, **limits: int) -> None:
        super().__init__()
        self.channels = ChannelTracker(self.ami, **limits)
        self.news: list[UUID | None] = []
        self.channels.watch(self.news.append)

    def new(self, channel: dict[str, str] = DOOR, exten: str = "1000") -> None:
        self.event(
            "Newchannel", **channel, CallerIDNum="<unknown>", CallerIDName="<unknown>", Exten=exten, Context="gate"
        )

    def calls(self, channel: dict[str, str] = DOOR, exten: str = "1000") -> None:
        """Announce a new channel and its caller, as Asterisk does."""
        self.new(channel, exten)
        self.event("NewCallerid", **channel, CallerIDNum="5511", CallerIDName="Porta Norte", Exten=exten)

    def runs(self, application: str, data: str, channel: dict[str, str] = DOOR) -> None:
        self.event(
            "Newexten",
            **channel,
            CallerIDNum="5511",
            CallerIDName="Porta Norte",
            Exten="s",
            Application=application,
            AppData=data,
        )

    def listed(self, channel: dict[str, str], application: str, data: str, **more: str) -> None:
        """Add a channel that is only in the listing, without events."""
        self.asterisk.channels[channel["Uniqueid"]] = {
            **channel,
            "CallerIDNum": "5511",
            "CallerIDName": "Porta Norte",
            "Exten": "s",
            "Application": application,
            "ApplicationData": data,
            "BridgeId": "",
            **more,
        }

    def finish(self) -> None:
        self.channels.close()
        super().finish()
