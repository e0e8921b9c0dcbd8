"""The bridge app: two people hear each other, with little delay, until either leaves."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from audiosocket.apps.bridge import RECONNECT_SECONDS, RING_RATE, WAIT_MS, Bridge
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.extensions.model import Role
from audiosocket.prompts.player import ring_back
from audiosocket.settings import Settings
from audiosocket.wire import RATES
from tests.support.fake_leg import FakeLeg, app_context


class Conversation:
    """One call: a visitor, and a resident who joins when the test lets it."""

    def __init__(self, *, both: bool = True) -> None:
        self.clock = Clock()
        self.app = Bridge(app_context(self.clock))
        self.visitor, self.resident = self.leg(Role.VISITOR), self.leg(Role.RESIDENT)
        self.visitor.join()
        if both:
            self.resident.join()

    def leg(self, role: Role) -> FakeLeg:
        return FakeLeg(self.clock, self.app, role=role)

    def turn(self, visitor: bytes = b"", resident: bytes = b"", rate: int = 8000) -> None:
        """Let 20 ms pass, in which each side sends a frame."""
        self.clock.advance(0.02)
        for leg, pcm in ((self.visitor, visitor), (self.resident, resident)):
            if pcm and leg.outcome is None:
                leg.receive(pcm, rate)
        for leg in (self.visitor, self.resident):
            leg.stall(0)


def frame(number: int) -> bytes:
    return number.to_bytes(2, "little") * 160


def test_each_hears_the_other_and_not_itself() -> None:
    call = Conversation()
    for turn in range(100):
        call.turn(visitor=frame(1000 + turn), resident=frame(2000 + turn))
    assert call.resident.sent_pcm("passed") == b"".join(frame(1000 + turn) for turn in range(100))
    assert call.visitor.sent_pcm("passed") == b"".join(frame(2000 + turn) for turn in range(100))


def test_a_frame_is_passed_on_in_the_same_turn() -> None:
    call = Conversation()
    for turn in range(50):
        call.turn(visitor=frame(turn))
    assert [round(now) for now, sent in call.resident.sent if sent.source == "passed"] == list(range(20, 1001, 20))


@pytest.mark.parametrize("rate", RATES.values())
def test_a_frame_keeps_its_rate_whatever_that_of_the_other_leg_is(rate: int) -> None:
    call = Conversation()
    pcm = b"\1\2" * (rate // 50)
    call.turn(resident=frame(1))
    call.turn(visitor=pcm, rate=rate)
    passed = [(sent.pcm, sent.rate) for _, sent in call.resident.sent if sent.source == "passed"]
    assert passed == [(pcm, rate)]


def test_a_visitor_alone_receives_silence_and_nothing_is_queued() -> None:
    call = Conversation(both=False)
    for turn in range(100):
        call.turn(visitor=frame(1 + turn))
    assert set(call.visitor.sources()) == {"silence"}
    call.resident.join()
    call.turn(visitor=frame(777))
    assert call.resident.sent_pcm("passed") == frame(777)


def test_a_resident_without_a_visitor_hears_that_it_rings_until_the_visitor_is_there() -> None:
    clock = Clock()
    alone = Bridge(app_context(clock))
    visitor, resident = (FakeLeg(clock, alone, role=role) for role in (Role.VISITOR, Role.RESIDENT))
    resident.join()
    for _ in range(500):
        clock.advance(0.02)
        resident.stall(0)
    heard = resident.sent_pcm("spoken")
    ring = ring_back(RING_RATE)
    assert heard[:320] == ring[:320]
    assert len(heard) > 2 * len(ring), "it rings again"
    visitor.join()
    assert resident.queued_ms == 0
    clock.advance(0.02)
    visitor.receive(frame(777), 8000)
    resident.stall(0)
    assert resident.sent_pcm("passed") == frame(777)
    for _ in range(300):
        clock.advance(0.02)
        resident.stall(0)
    assert resident.sent_pcm("spoken") == heard


@pytest.mark.parametrize(("lump", "lost"), [(5, 0), (9, 0), (14, 1), (50, 37), (500, 487)])
def test_a_burst_of_frames_does_not_delay_the_rest_of_the_conversation(lump: int, lost: int) -> None:
    """Frames that come at once (a stall of the network) may wait 200 ms and no longer; the oldest go."""
    call = Conversation()
    for _ in range(20):
        call.turn(visitor=frame(1))
    for number in range(lump):
        call.visitor.receive(frame(5000 + number))
    for turn in range(50):
        call.turn(visitor=frame(10_000 + turn))
    last = int.from_bytes(call.resident.sent_pcm("passed")[-2:], "little") - 10_000
    assert (49 - last) * 20 <= WAIT_MS
    # of the lump 4 leave at once and 10 may wait; the leg stays 100 ms ahead, so no more of these make room
    assert call.resident.dropped == lost


@pytest.mark.parametrize("first", Role)
@pytest.mark.parametrize(
    "how",
    [
        LegOutcome.CALLER_HANGUP,
        LegOutcome.SERVER_HANGUP,
        LegOutcome.ADMIN_HANGUP,
        LegOutcome.TOO_LONG,
        LegOutcome.IDLE,
    ],
)
def test_when_either_side_hangs_up_the_other_is_hung_up_at_once(first: Role, how: LegOutcome) -> None:
    call = Conversation()
    leaving, staying = call.visitor, call.resident
    if first is Role.RESIDENT:
        leaving, staying = staying, leaving
    leaving.end(how.value)
    assert staying.outcome == LegOutcome.SERVER_HANGUP.value
    assert call.clock.getDelayedCalls() == []


@pytest.mark.parametrize("how", [LegOutcome.CONNECTION_LOST, LegOutcome.SLOW_READER, LegOutcome.PEER_ERROR])
def test_a_leg_whose_connection_broke_resumes(how: LegOutcome) -> None:
    call = Conversation()
    call.turn(visitor=frame(1), resident=frame(1))
    call.visitor.end(how.value)
    call.clock.advance(RECONNECT_SECONDS - 0.1)
    call.resident.receive(frame(2))
    assert call.resident.outcome is None
    call.visitor = call.leg(Role.VISITOR)
    call.visitor.join()
    call.clock.advance(RECONNECT_SECONDS)
    call.turn(visitor=frame(3), resident=frame(4))
    assert call.visitor.sent_pcm("passed") == frame(4)
    assert call.resident.sent_pcm("passed") == frame(1) + frame(3)
    assert call.clock.getDelayedCalls() == []


def test_a_leg_that_does_not_resume_ends_the_other() -> None:
    call = Conversation()
    call.resident.end(LegOutcome.CONNECTION_LOST.value)
    call.clock.advance(RECONNECT_SECONDS - 0.1)
    assert call.visitor.outcome is None
    call.clock.advance(0.2)
    assert call.visitor.outcome == LegOutcome.SERVER_HANGUP.value
    assert call.clock.getDelayedCalls() == []


def test_no_timer_is_left_when_the_other_side_leaves_too() -> None:
    call = Conversation()
    call.visitor.end(LegOutcome.CONNECTION_LOST.value)
    call.resident.end()
    assert call.clock.getDelayedCalls() == []


def test_a_leg_resumed_over_a_new_connection_is_still_bridged() -> None:
    call = Conversation()
    call.turn(visitor=frame(1))
    call.visitor.resume()
    call.resident.resume()
    call.turn(visitor=frame(2), resident=frame(3))
    assert call.resident.sent_pcm("passed") == frame(1) + frame(2)
    assert call.visitor.sent_pcm("passed") == frame(3)


class Restarted(Conversation):
    """One of two who talked is back after a restart of the server."""

    def __init__(self) -> None:
        super().__init__(both=False)
        self.visitor = self.leg(Role.VISITOR)
        self.visitor.resume_after_restart()


@pytest.mark.parametrize("how", [LegOutcome.LOST, LegOutcome.CALLER_HANGUP, LegOutcome.ADMIN_HANGUP])
def test_after_a_restart_a_side_whose_other_side_is_gone_is_hung_up(how: LegOutcome) -> None:
    call = Restarted()
    call.visitor.end_other_leg(how.value)
    assert call.visitor.outcome == LegOutcome.SERVER_HANGUP.value
    assert call.clock.getDelayedCalls() == []


def test_after_a_restart_a_leg_waits_for_one_whose_connection_had_just_broken() -> None:
    for comes_back in (True, False):
        call = Restarted()
        call.visitor.end_other_leg(LegOutcome.CONNECTION_LOST.value)
        call.clock.advance(RECONNECT_SECONDS - 0.1)
        assert call.visitor.outcome is None
        if comes_back:
            call.resident.join()
        call.clock.advance(0.2)
        assert (call.visitor.outcome is None) is comes_back
        assert call.clock.getDelayedCalls() == []


@pytest.mark.parametrize("how", [LegOutcome.SHUTDOWN, LegOutcome.APP_FAILED])
def test_outcomes_that_end_the_call_are_left_to_the_server(how: LegOutcome) -> None:
    """Otherwise the outcome of the second leg would be that an app hung up."""
    call = Conversation()
    call.visitor.end(how.value)
    assert call.resident.outcome is None
    assert call.clock.getDelayedCalls() == []


def test_a_visitor_that_leaves_alone_ends_no_other_leg() -> None:
    call = Conversation(both=False)
    call.visitor.end(LegOutcome.CONNECTION_LOST.value)
    assert call.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("visitor", "resident", "wrong"),
    [
        ("bridge", "bridge", ""),
        ("play + bridge", "record+bridge", ""),
        ("bridge", "echo", "RESIDENT_APP"),
        ("bridges", "bridge", "VISITOR_APP"),
    ],
)
def test_a_bridge_in_one_of_the_settings_only_is_reported_at_the_start(
    visitor: str, resident: str, wrong: str
) -> None:
    found = Bridge.check(Settings.parse({"VISITOR_APP": visitor, "RESIDENT_APP": resident}))
    assert [sentence.split()[0] for sentence in found] == [wrong] * bool(wrong)
