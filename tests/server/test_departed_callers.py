"""Callers who hung up while no server was running, as AMI or ARI shows it after the restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from twisted.internet.task import Clock

from audiosocket.calls.journal_replay import replay
from audiosocket.extensions.model import Role
from audiosocket.outbound.http_client import Answer
from audiosocket.server.caller_identification import CallerIdentification
from audiosocket.wire import uuid_frame
from tests.support.ami_channels import DOOR, RESIDENT, RETURN_PORT, VISITOR_PORT, ChannelFixture
from tests.support.ari_channels import NOT_FOUND, ARIFixture, event, runs
from tests.support.in_memory import CALL, AsteriskConnection, InMemoryServer, RecordingApp
from tests.support.journal import InMemoryJournal

IN_APP = f"{CALL},127.0.0.1:{VISITOR_PORT}"
#: A channel between two attempts of the dialplan to reach a server.
WAITING = ("Wait", "0.5")


class Restart:
    """A call whose visitor, and resident if asked for, were identified; then the process was killed."""

    def __init__(self) -> None:
        self.journal = InMemoryJournal()
        self.legs: list[AsteriskConnection] = []

    def before(self, *roles: Role) -> None:
        ami = ChannelFixture()
        ami.start()
        callers = CallerIdentification(ami.channels, ami.clock)
        server = InMemoryServer(
            RecordingApp(), time=ami.clock, callers=callers, journal=self.journal, accept_unexpected_resident=True
        )
        ami.calls()
        ami.runs("AudioSocket", IN_APP)
        if Role.RESIDENT in roles:
            ami.calls(RESIDENT, "1001")
            ami.runs("AudioSocket", f"{CALL},127.0.0.1:{RETURN_PORT}", RESIDENT)
        for role in roles:
            self.legs.append(server.join(role=role))
        ami.flush()
        self.ami = ChannelFixture()

    def after(self) -> InMemoryServer:
        """Return the next process, which has read the journal and has no connection to AMI yet."""
        server = InMemoryServer(
            RecordingApp(),
            time=self.ami.clock,
            journal=self.journal,
            callers=CallerIdentification(self.ami.channels, self.ami.clock),
            accept_unexpected_resident=True,
        )
        server.switchboard.restore(replay(self.journal.lines, 1_001.0))
        return server


@pytest.fixture
def restart() -> Iterator[Restart]:
    restart = Restart()
    yield restart
    restart.ami.finish()


def outcomes(server: InMemoryServer) -> dict[str, str | None]:
    call = server.registry.get(CALL)
    assert call is not None
    return {role.value: leg.outcome and leg.outcome.value for role, leg in call.legs.items()}


def test_a_visitor_whose_channel_is_gone_ends_with_the_first_list_of_channels(restart: Restart) -> None:
    restart.before(Role.VISITOR, Role.RESIDENT)
    server = restart.after()
    resident = server.join(role=Role.RESIDENT)
    assert outcomes(server) == {"visitor": None, "resident": None}
    restart.ami.listed(RESIDENT, "AudioSocket", f"{CALL},127.0.0.1:{RETURN_PORT}")
    restart.ami.start()
    assert outcomes(server) == {"visitor": "caller_hangup", "resident": "server_hangup"}
    assert resident.ended_by_server
    assert "call.ended" in server.event_names()
    resident.hang_up()
    server.run(2_100)


def test_a_channel_that_waits_for_the_server_is_not_gone_until_it_hangs_up(restart: Restart) -> None:
    restart.before(Role.VISITOR)
    server = restart.after()
    restart.ami.listed(DOOR, *WAITING)
    restart.ami.start()
    assert outcomes(server) == {"visitor": None}
    restart.ami.event("Hangup", **DOOR)
    assert outcomes(server) == {"visitor": "caller_hangup"}


def test_a_visitor_who_is_back_is_not_ended_by_a_later_hangup_event(restart: Restart) -> None:
    restart.before(Role.VISITOR)
    server = restart.after()
    restart.ami.listed(DOOR, *WAITING)
    restart.ami.start()
    visitor = server.join()
    restart.ami.event("Hangup", **DOOR)
    assert outcomes(server) == {"visitor": None}
    visitor.hang_up()
    server.run(2_100)


def test_a_resident_whose_channel_is_gone_is_reported_to_the_visitor(restart: Restart) -> None:
    restart.before(Role.VISITOR, Role.RESIDENT)
    server = restart.after()
    restart.ami.listed(DOOR, "AudioSocket", IN_APP)
    visitor = server.join()
    restart.ami.start()
    assert outcomes(server) == {"visitor": None, "resident": "caller_hangup"}
    visitor.hang_up()
    server.run(2_100)


def refuses_lists(restart: Restart) -> None:
    restart.ami.asterisk.replies["CoreShowChannels"] = lambda ami, action: ami.error(action, "Permission denied")


def has_another_channel(restart: Restart) -> None:
    """A transfer has put another telephone, with its own channel, into the call."""
    other = {"Channel": "PJSIP/desk-00000009", "Uniqueid": "1795376600.9"}
    restart.ami.listed(other, "AudioSocket", IN_APP)


@pytest.mark.parametrize("case", [refuses_lists, has_another_channel])
def test_a_leg_waits_for_its_caller_where_it_is_not_certain_that_it_is_gone(
    restart: Restart, case: Callable[[Restart], None]
) -> None:
    restart.before(Role.VISITOR)
    server = restart.after()
    case(restart)
    restart.ami.start()
    assert outcomes(server) == {"visitor": None}


# without AMI


class ARIRestart:
    """The same with ARI only."""

    def __init__(self) -> None:
        self.journal = InMemoryJournal()
        self.time = Clock()
        ari = ARIFixture()
        before = InMemoryServer(
            RecordingApp(),
            time=self.time,
            callers=CallerIdentification(ari.channels, self.time),
            journal=self.journal,
        )
        ari.channels.received(runs("TryExec", f"AudioSocket({IN_APP})"))
        before.join()
        self.ari = ARIFixture()
        self.ari.up = False

    def after(self) -> InMemoryServer:
        """Return the next process, to which ARI sends no events yet."""
        server = InMemoryServer(
            RecordingApp(),
            time=self.time,
            journal=self.journal,
            callers=CallerIdentification(self.ari.channels, self.time),
        )
        server.switchboard.restore(replay(self.journal.lines, 1_001.0))
        return server

    def connected(self) -> None:
        self.ari.up = True
        self.ari.channels.connected()


def test_with_ari_alone_a_visitor_whose_channel_is_gone_ends_with_the_answer() -> None:
    restart = ARIRestart()
    server = restart.after()
    assert restart.ari.asked == []
    restart.connected()
    assert outcomes(server) == {"visitor": None}
    restart.ari.answers(NOT_FOUND)
    assert outcomes(server) == {"visitor": "caller_hangup"}
    assert "call.ended" in server.event_names()


def test_with_ari_alone_a_channel_that_waits_for_the_server_is_not_gone_until_it_hangs_up() -> None:
    restart = ARIRestart()
    server = restart.after()
    restart.connected()
    restart.ari.answers(Answer(200, b"{}"))
    assert outcomes(server) == {"visitor": None}
    restart.ari.channels.received(event("ChannelDestroyed"))
    assert outcomes(server) == {"visitor": "caller_hangup"}


def test_with_ari_alone_several_visitors_that_are_gone_all_end() -> None:
    """One answer may end a call while the next leg is looked at."""
    ari, time = ARIFixture(), Clock()
    callers = CallerIdentification(ari.channels, time)
    server = InMemoryServer(RecordingApp(), time=time, callers=callers, proxies="198.51.100.1/32")
    calls = [UUID(int=number) for number in (1, 2, 3)]
    for call_id in calls:
        ari.channels.received(runs("AudioSocket", f"{call_id},127.0.0.1:{VISITOR_PORT}", f"{call_id.int}"))
        line = server.connect(host="198.51.100.1")
        line.send(b"PROXY TCP4 10.0.0.7 10.0.0.31 40123 8101\r\n" + uuid_frame(call_id))
        line.hang_up()
    ari.channels.connected()
    for _ in calls:
        ari.answers(NOT_FOUND)
    assert [call.outcome for call_id in calls if (call := server.registry.get(call_id))] == ["caller_hangup"] * 3
