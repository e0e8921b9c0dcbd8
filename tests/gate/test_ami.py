"""Keys through AMI: played once on the visitor's channel, and never again once begun."""

from __future__ import annotations

from uuid import UUID

from twisted.internet.defer import Deferred, succeed

from audiosocket.asterisk.ami.channels import ChannelTracker
from audiosocket.asterisk.ami.telephony import AMITelephony
from audiosocket.gate.ami import NOT_REPEATED, GateKeys
from audiosocket.gate.record import GateRecord, WayAnswer
from tests.support.fake_ami import AMIFixture

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
DOOR = "PJSIP/door-00000001"


def record(**values: object) -> GateRecord:
    known = GateRecord(str(CALL), "v", "2026-01-31T10:15:23.456Z", 1, "1000", 7, "101", "", "1003030", False, "1")
    known.port, known.other_port, known.channel = 8080, 8081, DOOR
    for name, value in values.items():
        setattr(known, name, value)
    return known


class Played:
    """An Asterisk in memory, and one opening by keys."""

    def __init__(self, *, up: bool = True) -> None:
        self.ami = AMIFixture()
        self.channels = ChannelTracker(self.ami.ami)
        self.begun: list[int] = []
        self.results: list[WayAnswer] = []
        self.ami.asterisk.replies["PlayDTMF"] = lambda connection, action: connection.answer(action)
        if up:
            self.ami.start()

    def open(self, known: GateRecord, keys: str = "*9") -> None:
        way = GateKeys(self.ami.ami, self.channels, AMITelephony(self.ami.ami, self.ami.clock), keys)
        Deferred.fromCoroutine(way.open(known, self._begin)).addCallback(self.results.append)
        self.ami.flush()

    def _begin(self) -> Deferred[None]:
        self.begun.append(len(self.played))
        return succeed(None)

    @property
    def played(self) -> list[tuple[str, str]]:
        actions = self.ami.asterisk.actions_named("PlayDTMF")
        return [(action["Channel"], action["Digit"]) for action in actions]


def test_each_key_is_played_on_the_visitors_channel() -> None:
    here = Played()
    here.open(record())
    assert here.played == [(DOOR, "*")]
    assert here.begun == [0], "noted before the first key"
    here.ami.run(1)
    assert here.played == [(DOOR, "*"), (DOOR, "9")]
    assert here.results == [WayAnswer(True, "2 keys were played")]


def test_keys_that_were_begun_are_not_repeated() -> None:
    here = Played()
    here.open(record(keys_begun=True))
    assert here.played == []
    assert here.results == [WayAnswer(False, NOT_REPEATED)]


def test_asterisk_is_away() -> None:
    here = Played(up=False)
    here.open(record())
    here.ami.run(4)
    (result,) = here.results
    assert not result.ok
    assert "is not available" in result.detail
    assert here.begun == []


def test_asterisk_refuses_a_key() -> None:
    here = Played()
    here.ami.asterisk.replies["PlayDTMF"] = lambda connection, action: connection.error(action, "No such channel")
    here.open(record())
    (result,) = here.results
    assert result == WayAnswer(False, "0 of 2 keys were played: No such channel")


def test_asterisk_is_lost_between_two_keys() -> None:
    here = Played()
    here.open(record())
    here.ami.lose_connection()
    here.ami.run(1)
    (result,) = here.results
    assert not result.ok
    assert result.detail.startswith("1 of 2 keys were played")


def test_a_channel_that_nobody_has_told_is_looked_for() -> None:
    here = Played()
    here.open(record(channel=""))
    here.ami.run(3)
    assert here.results == [WayAnswer(False, "AMI does not know the visitor's channel")]
    assert here.begun == []
