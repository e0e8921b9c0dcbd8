"""Connections become legs of calls: contract section 8 as Asterisk sees it, and who is turned away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from audiosocket.apps.bridge import Bridge
from audiosocket.calls.journal_records import JournalRecord, encode
from audiosocket.calls.journal_replay import replay
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.errors import UnknownCall
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.interfaces import App, AppContext, AppFactory, Leg
from audiosocket.media.pcm import slin_to_alaw, slin_to_ulaw, tone
from audiosocket.wire import HANGUP_FRAME, audio_frame, digit_frame, uuid_frame
from tests.support.in_memory import (
    CALL,
    FRAME,
    OTHER_CALL,
    OTHER_EXTENSION,
    AsteriskConnection,
    Echo,
    InMemoryServer,
    RecordingApp,
)
from tests.support.logged_failures import LoggedFailures


def outcome(exchange: InMemoryServer, call_id: UUID = CALL) -> str | None:
    call = exchange.registry.get(call_id)
    assert call is not None
    return call.outcome


def refused(line: AsteriskConnection) -> bool:
    """Answered with the hangup frame and nothing else."""
    return [data for _, data in line.writes] == [HANGUP_FRAME] and line.ended_by_server


# rules 1 to 5


def test_the_port_says_which_extension_and_role(log: list[str]) -> None:
    app = RecordingApp()
    exchange = InMemoryServer(app)
    exchange.join(extension=OTHER_EXTENSION)
    line = exchange.join(role=Role.RESIDENT, extension=OTHER_EXTENSION)
    first, second = (told.leg for told in app.events)
    assert (first.extension, first.role) == (OTHER_EXTENSION, Role.VISITOR)
    assert (second.extension, second.role) == (OTHER_EXTENSION, Role.RESIDENT)
    assert line.port == 9071
    assert f"visitor leg of {CALL} from 127.0.0.1:50123 on port 9070 belongs to extension 7 (7000)" in log, (
        "the association of call and extension is in the log"
    )


def test_visitor_and_resident_share_a_call_and_its_app() -> None:
    made: list[RecordingApp] = []

    def factory(_: AppContext) -> App:
        made.append(RecordingApp())
        return made[-1]

    exchange = InMemoryServer(factory)
    exchange.join()
    exchange.join(role=Role.RESIDENT)
    exchange.join(call_id=OTHER_CALL)
    assert [app.methods for app in made] == [["joined", "joined"], ["joined"]]
    assert [told.leg.role for told in made[0].events] == [Role.VISITOR, Role.RESIDENT]
    assert len(exchange.registry) == 2


def test_a_resident_without_a_call_is_refused_with_a_hangup_frame(log: list[str]) -> None:
    app = RecordingApp()
    exchange = InMemoryServer(app)
    line = exchange.join(role=Role.RESIDENT)
    assert refused(line)
    assert app.events == []
    assert exchange.registry.refused_total == 1
    [said] = [text for text in log if text.startswith("refused")]
    assert said == (
        f"refused the resident leg of {CALL} from 127.0.0.1:50123 on extension 0: "
        "no call with this UUID is waiting for a resident"
    )
    line.hang_up()
    assert exchange.idle


def test_a_resident_on_another_extension_is_refused() -> None:
    exchange = InMemoryServer(RecordingApp())
    exchange.join()
    assert refused(exchange.join(role=Role.RESIDENT, extension=OTHER_EXTENSION))
    assert not refused(exchange.join(role=Role.RESIDENT))


def test_an_unexpected_resident_is_let_in_when_that_is_allowed() -> None:
    app = RecordingApp()
    exchange = InMemoryServer(app, accept_unexpected_resident=True)
    line = exchange.join(role=Role.RESIDENT)
    exchange.run(100)
    assert app.methods == ["joined"]
    assert len(line.audio()) == 6


def test_a_second_leg_is_refused_while_the_first_delivers() -> None:
    app = RecordingApp()
    exchange = InMemoryServer(app)
    first = exchange.join()
    exchange.run(3_000, first)
    second = exchange.join()
    assert refused(second)
    before = len(first.audio())
    exchange.run(1_000, first)
    assert len(first.audio()) == before + 50
    assert set(app.methods) == {"joined", "audio"}
    assert exchange.event_names() == ["call.started", "leg.joined", "leg.refused"]


def test_a_leg_that_went_quiet_is_taken_over_and_nothing_else_changes(log: list[str]) -> None:
    app = RecordingApp()
    exchange = InMemoryServer(app)
    first = exchange.join()
    first.send(FRAME)
    app.events[0].leg.play(b"\x21\x43" * 8000 * 3)
    exchange.run(1_050)
    second = exchange.join()
    assert first.ended_by_server
    before = app.events[0].leg.heard_ms
    exchange.run(500, second)
    assert app.methods[:3] == ["joined", "audio", "resumed"]
    assert {told.leg for told in app.events} == {app.events[0].leg}
    assert app.events[0].leg.heard_ms == before + 500
    assert any(second.audio()[-1][2])
    first.send(FRAME)
    first.hang_up()
    assert outcome(exchange) is None
    [shown] = exchange.registry.get(CALL).to_json(exchange.now)["legs"]  # type: ignore[union-attr]
    assert shown["resumes"] == 1
    assert shown["frames_in"] == 26
    second.hang_up()
    assert outcome(exchange) == "caller_hangup"
    assert exchange.event_names() == ["call.started", "leg.joined", "leg.resumed", "leg.left", "call.ended"]
    assert exchange.idle


def test_a_leg_that_left_comes_back_while_the_other_keeps_the_call() -> None:
    app = RecordingApp()
    exchange = InMemoryServer(app)
    first = exchange.join()
    exchange.join(role=Role.RESIDENT)
    first.reset()
    again = exchange.join()
    exchange.run(100)
    assert len(again.audio()) == 6
    assert app.methods == ["joined", "joined", "left", "joined"]
    assert exchange.event_names()[-1] == "leg.resumed"
    shown = exchange.registry.get(CALL).to_json(exchange.now)  # type: ignore[union-attr]
    assert {leg["role"]: leg["resumes"] for leg in shown["legs"]} == {"visitor": 1, "resident": 0}


def test_an_ended_uuid_is_answered_with_a_hangup_for_60_s_then_free_again() -> None:
    exchange = InMemoryServer(RecordingApp())
    exchange.join().hang_up()
    for role in Role:
        assert refused(exchange.join(role=role))
    exchange.run(60_000, step=1_000)
    assert refused(exchange.join())
    exchange.run(2_500, step=100)
    assert not refused(exchange.join())
    assert exchange.registry.started_total == 2


def test_the_first_cause_wins_on_leg_and_call() -> None:
    """The app decides, the administrator hangs up, the peer is reset: one outcome each."""
    app = RecordingApp(joined=lambda leg: leg.decide("gate_opened"))
    exchange = InMemoryServer(app)
    line = exchange.join()
    exchange.switchboard.hang_up(CALL, Role.VISITOR, LegOutcome.ADMIN_HANGUP)
    line.reset()
    exchange.switchboard.close()
    assert app.values("left") == ["admin_hangup"]
    shown = exchange.registry.get(CALL).to_json(exchange.now, timeline=True)  # type: ignore[union-attr]
    assert (shown["outcome"], shown["legs"][0]["outcome"]) == ("gate_opened", "admin_hangup")
    assert [entry["event"] for entry in shown["timeline"]] == [
        "call.started",
        "leg.joined",
        "leg.left",
        "call.ended",
    ]
    assert [(r["event"], r["outcome"]) for r in exchange.events[-2:]] == [
        ("leg.left", "admin_hangup"),
        ("call.ended", "gate_opened"),
    ]


def test_a_change_of_the_table_changes_no_call_in_progress() -> None:
    app = RecordingApp()
    exchange = InMemoryServer(app)
    exchange.join()
    exchange.factory().extension = replace(DEFAULT_EXTENSION, number="1999")
    exchange.join(call_id=OTHER_CALL)
    assert [told.leg.extension.number for told in app.events] == ["1000", "1999"]


# what somebody may ask


def test_hanging_up_one_leg_leaves_the_other() -> None:
    exchange = InMemoryServer(Echo())
    visitor, resident = exchange.join(), exchange.join(role=Role.RESIDENT)
    exchange.switchboard.hang_up(CALL, Role.RESIDENT, LegOutcome.ADMIN_HANGUP)
    assert resident.ended_by_server
    assert not visitor.ended_by_server
    with pytest.raises(UnknownCall, match=f"no live resident leg with call_id {CALL}"):
        exchange.switchboard.hang_up(CALL, Role.RESIDENT, LegOutcome.ADMIN_HANGUP)
    with pytest.raises(UnknownCall):
        exchange.switchboard.hang_up(OTHER_CALL, Role.VISITOR, LegOutcome.ADMIN_HANGUP)
    exchange.switchboard.end_call(CALL, LegOutcome.ADMIN_HANGUP)
    assert visitor.ended_by_server
    assert outcome(exchange) == "admin_hangup"


def test_closing_ends_every_leg_and_refuses_newcomers() -> None:
    exchange = InMemoryServer(Echo())
    legs = [exchange.join(), exchange.join(role=Role.RESIDENT), exchange.join(call_id=OTHER_CALL)]
    waiting = exchange.connect()
    exchange.switchboard.close()
    assert all(line.ended_by_server for line in legs)
    assert outcome(exchange) == outcome(exchange, OTHER_CALL) == "shutdown"
    assert waiting.aborted
    assert refused(exchange.join(call_id=UUID(int=1)))
    exchange.run(2_100)
    assert exchange.idle
    assert exchange.admission.connections == set()


# audio under a wrong codec name


def test_a_dialplan_without_a_codec_is_named_once_per_extension(log: list[str]) -> None:
    exchange = InMemoryServer(RecordingApp())
    payload = slin_to_ulaw(tone(8000, 440, 20))
    for n in range(3):
        line = exchange.join(call_id=UUID(int=n + 1), extension=OTHER_EXTENSION)
        exchange.run(1_000, line, frame=audio_frame(8000, payload))
        line.hang_up()
    assert exchange.switchboard.codecs == {7: "ulaw"}
    assert exchange.event_names().count("leg.codec") == 3
    [said] = [text for text in log if "under the name of slin" in text]
    assert said.startswith("extension 7 (7000): Asterisk sends ulaw under the name of slin; it is decoded")
    assert "c(slin)" in said


def test_callers_of_one_extension_with_codecs_in_turn_are_named_once_for_each_codec(log: list[str]) -> None:
    """Two gateways, one of u-law and one of A-law: the log must not say so with every call."""
    exchange = InMemoryServer(RecordingApp())
    voice = tone(8000, 440, 20)
    laws = {"ulaw": slin_to_ulaw(voice), "alaw": slin_to_alaw(voice)}
    for n, law in enumerate(["ulaw", "alaw"] * 3):
        line = exchange.join(call_id=UUID(int=n + 1), extension=OTHER_EXTENSION)
        exchange.run(1_000, line, frame=audio_frame(8000, laws[law]))
        line.hang_up()
        assert exchange.switchboard.codecs == {7: law}, "what it was last"
    assert exchange.event_names().count("leg.codec") == 6
    said = [text.partition(" under ")[0] for text in log if "under the name of slin" in text]
    assert said == [f"extension 7 (7000): Asterisk sends {law}" for law in laws]


# an app that fails


class Fails(App):
    """Raises where it is told to, in the call it is told to."""

    def __init__(self, where: str, call_id: UUID) -> None:
        super().__init__()
        self._where, self._call_id = where, call_id

    def _raise(self, where: str, leg: Leg) -> None:
        if where == self._where and leg.call_id == self._call_id:
            raise ValueError(where)

    def joined(self, leg: Leg) -> None:
        leg.mark("start")
        self._raise("joined", leg)

    def resumed(self, leg: Leg) -> None:
        self._raise("resumed", leg)

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        self._raise("audio", leg)

    def digit(self, leg: Leg, digit: str) -> None:
        self._raise("digit", leg)

    def marked(self, leg: Leg, name: str, heard_ms: int) -> None:
        self._raise("marked", leg)

    def left(self, leg: Leg, outcome: str) -> None:
        self._raise("left", leg)


@pytest.mark.parametrize("where", ["constructor", "joined", "resumed", "audio", "digit", "marked", "left"])
def test_an_app_that_raises_costs_its_own_call_only(where: str, logged_failures: LoggedFailures) -> None:
    made: list[int] = []

    def factory(_: AppContext) -> App:
        made.append(1)
        if where == "constructor" and len(made) == 2:
            raise ValueError(where)
        return Fails(where, CALL)

    exchange = InMemoryServer(factory, Echo())
    neighbour = exchange.join(call_id=OTHER_CALL)
    line = exchange.join()
    resident = None if where in {"constructor", "joined"} else exchange.join(role=Role.RESIDENT)
    exchange.run(40, neighbour)
    if not line.hangup_sent:
        line.send(FRAME + digit_frame("1"))
    if where == "resumed":
        exchange.run(1_100, neighbour)
        exchange.join()
    if where == "left":
        line.hang_up()
    exchange.run(1_000, neighbour)
    assert outcome(exchange) == ("caller_hangup" if where == "left" else "app_failed")
    assert line.hangup_sent or where == "left"
    if resident is not None:
        assert resident.ended_by_server, "the whole call is over"
    assert "app.failed" in exchange.event_names()
    assert outcome(exchange, OTHER_CALL) is None
    assert neighbour.pcm().count(FRAME[3:]) >= 50
    expected = 2 if where == "constructor" else 1 if where != "left" else 2
    assert len(logged_failures.flush()) == expected
    neighbour.hang_up()
    exchange.run(2_100)
    assert exchange.idle


@pytest.mark.parametrize("where", ["joined", "audio", "marked", "digit"])
def test_an_app_that_hangs_up_in_the_middle_ends_its_leg_as_asterisk_wants(where: str) -> None:
    then: dict[str, Callable[[Leg], object]] = {where: lambda leg: leg.hang_up()}
    app = RecordingApp(**then)
    exchange = InMemoryServer(app)
    neighbour = exchange.join(call_id=OTHER_CALL, role=Role.VISITOR) if where != "joined" else None
    line = exchange.connect()
    line.send(uuid_frame(CALL) + (FRAME + digit_frame("1") if where != "joined" else b""))
    if where == "marked":
        app.events[-1].leg.mark("end")
        exchange.run(40)
    assert line.ended_by_server
    assert outcome(exchange) == "server_hangup"
    assert [told.method for told in app.events if told.leg.call_id == CALL].count("left") == 1
    line.send(FRAME)
    line.hang_up()
    if neighbour is not None:
        before = len(neighbour.audio())
        exchange.run(100)
        assert len(neighbour.audio()) == before + 5
        neighbour.hang_up()
    assert exchange.idle


def test_two_apps_on_a_leg_fail_together() -> None:
    """The first hangs up when it is told of the leg: the second is told nothing of it."""
    first, second = RecordingApp(joined=lambda leg: leg.hang_up()), RecordingApp()
    exchange = InMemoryServer(first, second)
    line = exchange.join()
    assert line.ended_by_server
    assert (first.methods, second.methods) == (["joined", "left"], [])


def test_what_a_call_needed_is_given_up_with_it() -> None:
    made: list[App] = []

    def factory(_: AppContext) -> App:
        made.append(RecordingApp())
        return made[-1]

    exchange = InMemoryServer(factory)
    for n in range(50):
        line = exchange.join(call_id=UUID(int=n + 1))
        exchange.run(20, line)
        line.hang_up()
    assert len(made) == 50
    assert exchange.switchboard._apps._calls == {}
    assert len(exchange.legs) == 0
    assert not exchange.admission._waiting
    assert exchange.idle


# restarts


class Pages:
    """A journal in memory; what it says is read as by the next process, a second later."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def __enter__(self) -> object:
        return self

    def __exit__(self, *exception: object) -> None:
        """Every line is kept at once."""

    def write(self, record: JournalRecord) -> None:
        self.lines.append(encode(record, 1_000.0))

    def restarted(self, *apps: App | AppFactory, now: float = 1_001.0) -> InMemoryServer:
        """The next process, which has read this."""
        exchange = InMemoryServer(*apps, journal=self)
        exchange.switchboard.restore(replay(self.lines, now))
        return exchange


class Menu(RecordingApp):
    """Remembers the page it is on."""

    def digit(self, leg: Leg, digit: str) -> None:
        super().digit(leg, digit)
        leg.remember(self, {"page": digit})

    def restored(self, leg: Leg, state: Any) -> None:
        self._note("restored", leg, state)


def test_a_leg_that_comes_back_after_a_restart_goes_on_with_what_its_app_remembered() -> None:
    pages = Pages()
    before = InMemoryServer(Menu(), journal=pages)
    line = before.join(extension=OTHER_EXTENSION)
    line.send(digit_frame("3"))
    line.send(digit_frame("4"))
    app = Menu()
    exchange = pages.restarted(app)
    assert (len(exchange.registry), exchange.switchboard.live_legs, exchange.idle) == (1, 0, True)
    line = exchange.join(extension=replace(OTHER_EXTENSION, number="9999"))
    exchange.run(100, line)
    assert app.methods[:3] == ["restored", "resumed", "audio"]
    assert app.values("restored") == [{"page": "4"}]
    assert app.events[0].leg.extension == OTHER_EXTENSION
    assert len(line.audio()) == 6
    assert exchange.event_names() == ["call.resumed", "leg.resumed"]
    call = exchange.registry.get(CALL)
    assert call is not None
    assert [entry["event"] for entry in call.timeline] == [*before.event_names(), "call.resumed", "leg.resumed"]
    shown = call.to_json(exchange.now)
    assert (shown["state"], shown["legs"][0]["resumes"], shown["legs"][0]["state"]) == ("live", 1, "live")
    assert shown["legs"][0]["duration_seconds"] == pytest.approx(1.1, abs=0.01)
    line.hang_up()
    assert (exchange.idle, outcome(exchange)) == (True, "caller_hangup")
    assert refused(pages.restarted(Menu()).join()), "over for the third process, too"


def test_an_app_that_knows_nothing_of_restarts_is_joined_again() -> None:
    pages = Pages()
    InMemoryServer(RecordingApp(), journal=pages).join()
    app = RecordingApp()
    pages.restarted(app).join()
    assert app.methods == ["joined", "resumed"]


def test_an_app_that_hangs_up_when_restored_is_not_told_that_it_resumed() -> None:
    pages = Pages()
    InMemoryServer(RecordingApp(), journal=pages).join()
    app = RecordingApp(joined=lambda leg: leg.hang_up())
    line = pages.restarted(app).join()
    assert app.methods == ["joined", "left"]
    assert line.ended_by_server


def test_until_the_visitor_is_back_only_a_resident_that_was_cut_off_comes_in() -> None:
    for had_resident in (False, True):
        pages = Pages()
        before = InMemoryServer(RecordingApp(), journal=pages)
        before.join()
        if had_resident:
            before.join(role=Role.RESIDENT)
        exchange = pages.restarted(RecordingApp())
        assert refused(exchange.join(role=Role.RESIDENT)) is not had_resident
        exchange.join()
        assert exchange.event_names().count("call.resumed") == 1
    pages = Pages()
    InMemoryServer(RecordingApp(), journal=pages).join()
    exchange = pages.restarted(RecordingApp())
    exchange.join()
    assert not refused(exchange.join(role=Role.RESIDENT)), "the visitor is back: the rules are as ever"


def test_what_does_not_come_back_is_closed_as_lost() -> None:
    pages = Pages()
    before = InMemoryServer(RecordingApp(), journal=pages)
    before.join()
    before.join(call_id=OTHER_CALL)
    before.join(call_id=OTHER_CALL, role=Role.RESIDENT)
    exchange = pages.restarted(RecordingApp())
    exchange.join(call_id=OTHER_CALL)
    assert exchange.switchboard.expire() == 2
    assert outcome(exchange) == "lost"
    assert outcome(exchange, OTHER_CALL) is None
    assert exchange.switchboard.live_legs == 1
    assert refused(exchange.join())
    assert exchange.switchboard.expire() == 0


def test_a_visitor_that_leaves_takes_a_resident_along_that_has_not_come_back() -> None:
    pages = Pages()
    before = InMemoryServer(RecordingApp(), journal=pages)
    before.join()
    before.join(role=Role.RESIDENT)
    exchange = pages.restarted(RecordingApp())
    exchange.join().hang_up()
    assert outcome(exchange) == "caller_hangup"
    assert refused(exchange.join(role=Role.RESIDENT))
    assert exchange.event_names().count("call.ended") == 1


def both_cut_off() -> Pages:
    """The journal of a process that was killed while a visitor and a resident were in a call."""
    pages = Pages()
    before = InMemoryServer(RecordingApp(), journal=pages)
    before.join()
    before.join(role=Role.RESIDENT)
    return pages


@pytest.mark.parametrize("back", Role)
def test_who_is_back_is_told_when_the_other_is_lost(back: Role) -> None:
    app = RecordingApp()
    exchange = both_cut_off().restarted(app)
    line = exchange.join(role=back)
    assert app.methods == ["joined", "resumed"]
    assert exchange.switchboard.expire() == 1
    assert (app.events[2].method, app.events[2].value, app.events[2].leg.role) == ("other_gone", "lost", back)
    assert line.ended_by_server is (back is Role.RESIDENT), "the server itself sends a resident home"


def test_two_who_talked_over_a_bridge_wait_for_each_other_and_not_for_ever() -> None:
    exchange = both_cut_off().restarted(Bridge)
    visitor = exchange.join()
    exchange.run(30_000, visitor, step=20)
    assert not visitor.hangup_sent
    exchange.switchboard.expire()
    assert visitor.ended_by_server
    call = exchange.registry.get(CALL)
    assert call is not None
    assert {role: leg.outcome for role, leg in call.legs.items()} == {
        Role.VISITOR: LegOutcome.SERVER_HANGUP,
        Role.RESIDENT: LegOutcome.LOST,
    }
    assert call.outcome == "server_hangup"


@pytest.mark.parametrize("back", Role)
def test_who_is_back_is_told_when_somebody_hangs_the_other_up(back: Role) -> None:
    app = RecordingApp()
    exchange = both_cut_off().restarted(app)
    line = exchange.join(role=back)
    other = Role.RESIDENT if back is Role.VISITOR else Role.VISITOR
    exchange.switchboard.hang_up(CALL, other, LegOutcome.ADMIN_HANGUP)
    assert app.values("other_gone") == ["admin_hangup"]
    assert not line.hangup_sent, "as ever, that is for the apps to decide"


@pytest.mark.parametrize("first", Role)
def test_who_comes_back_later_is_told_that_the_other_has_left_meanwhile(first: Role) -> None:
    second = Role.RESIDENT if first is Role.VISITOR else Role.VISITOR
    app = RecordingApp()
    exchange = both_cut_off().restarted(app)
    exchange.join(role=first).reset()
    exchange.join(role=second)
    assert app.methods == ["joined", "resumed", "left", "joined", "resumed", "other_gone"]
    assert (app.events[-1].value, app.events[-1].leg.role) == ("connection_lost", second)


def test_who_comes_back_is_told_that_the_other_had_left_just_before_the_kill() -> None:
    pages = Pages()
    before = InMemoryServer(RecordingApp(), journal=pages)
    before.join()
    before.join(role=Role.RESIDENT).reset()
    app = RecordingApp()
    exchange = pages.restarted(app)
    visitor = exchange.join()
    assert app.methods == ["joined", "resumed", "other_gone"]
    exchange.join(role=Role.RESIDENT).hang_up()
    visitor.hang_up()
    assert app.values("other_gone") == ["connection_lost"], "what happens from here on, apps are told as ever"


def test_an_app_that_fails_ends_the_leg_that_has_not_come_back_too(logged_failures: LoggedFailures) -> None:
    for back in Role:
        exchange = both_cut_off().restarted(Fails("audio", CALL))
        line = exchange.join(role=back)
        line.send(FRAME)
        assert line.ended_by_server
        assert outcome(exchange) == "app_failed"
        for role in Role:
            assert refused(exchange.join(role=role))
        assert len(logged_failures.flush(ValueError)) == 1


@pytest.mark.parametrize("said", [uuid_frame(OTHER_CALL), b"\xff\x00\x01\x02"])
def test_a_visitor_who_is_sent_away_takes_a_resident_along_that_has_not_come_back(said: bytes) -> None:
    exchange = both_cut_off().restarted(RecordingApp())
    exchange.join().send(said)
    assert outcome(exchange) in {"protocol_error", "peer_error"}
    assert refused(exchange.join(role=Role.RESIDENT))


@pytest.mark.parametrize("how", ["expire", "hang_up"])
def test_what_a_call_needed_is_given_up_with_it_after_a_restart_too(how: str) -> None:
    made: list[App] = []

    def factory(_: AppContext) -> App:
        made.append(RecordingApp())
        return made[-1]

    exchange = both_cut_off().restarted(factory)
    exchange.join(role=Role.RESIDENT).hang_up()
    if how == "expire":
        exchange.switchboard.expire()
    else:
        exchange.switchboard.hang_up(CALL, Role.VISITOR, LegOutcome.ADMIN_HANGUP)
    assert len(exchange.registry) == 0
    exchange.run(61_000, step=1_000)
    exchange.join()
    assert len(made) == 2, "the UUID is that of another call now"


def test_a_call_that_sleeps_can_be_hung_up() -> None:
    pages = Pages()
    InMemoryServer(RecordingApp(), journal=pages).join()
    exchange = pages.restarted(RecordingApp())
    with pytest.raises(UnknownCall):
        exchange.switchboard.hang_up(CALL, Role.RESIDENT, LegOutcome.ADMIN_HANGUP)
    exchange.switchboard.hang_up(CALL, Role.VISITOR, LegOutcome.ADMIN_HANGUP)
    assert outcome(exchange) == "admin_hangup"
    assert refused(exchange.join())


def test_a_stop_interrupts_calls_and_whatever_apps_do_then_does_not_end_them() -> None:
    pages = Pages()

    def everybody_out(leg: Leg) -> None:
        leg.decide("left_alone")
        for told in list(app.events):
            told.leg.hang_up()

    app = RecordingApp(left=everybody_out)
    exchange = InMemoryServer(app, journal=pages)
    lines = [exchange.join(), exchange.join(role=Role.RESIDENT)]
    exchange.switchboard.close()
    assert all(line.ended_by_server for line in lines)
    assert "call.ended" not in exchange.event_names()
    assert exchange.event_names().count("call.interrupted") == 1
    after = pages.restarted(RecordingApp())
    call = after.registry.get(CALL)
    assert call is not None
    assert (call.outcome, [leg.suspended for leg in call.legs.values()]) == (None, [True, True])


def test_while_it_drains_only_calls_that_are_there_have_new_legs() -> None:
    exchange = InMemoryServer(RecordingApp())
    exchange.join()
    exchange.switchboard.refuse_new_calls()
    assert refused(exchange.join(call_id=OTHER_CALL))
    assert not refused(exchange.join(role=Role.RESIDENT))


@pytest.mark.parametrize("state", [{1, 2}, "x" * 16_384, b"bytes"])
def test_a_state_that_cannot_be_kept_costs_its_own_call(logged_failures: LoggedFailures, state: object) -> None:
    app = RecordingApp(joined=lambda leg: leg.remember(app, state))
    exchange = InMemoryServer(app)
    exchange.join()
    assert outcome(exchange) == "app_failed"
    assert len(logged_failures.flush(TypeError, ValueError)) == 1


def test_an_app_cannot_remember_for_another(logged_failures: LoggedFailures) -> None:
    exchange = InMemoryServer(RecordingApp(joined=lambda leg: leg.remember(App(), 1)))
    exchange.join()
    assert outcome(exchange) == "app_failed"
    assert len(logged_failures.flush(ValueError)) == 1
