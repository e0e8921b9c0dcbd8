"""Connections become legs of calls, see docs/calls.md; apps that fail; restarts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from audiosocket.apps.bridge import Bridge
from audiosocket.calls.call import Call
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.protocol.connection import AudioSocketProtocol
from audiosocket.errors import UnknownCall
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.interfaces import App, AppContext, Leg
from audiosocket.media.pcm import slin_to_alaw, slin_to_ulaw, tone
from audiosocket.server.app_instances import AppInstances
from audiosocket.wire import audio_frame, digit_frame, uuid_frame
from tests.support.in_memory import (
    CALL,
    FRAME,
    OTHER_CALL,
    OTHER_EXTENSION,
    Echo,
    InMemoryServer,
    RecordingApp,
    RememberingApp,
    refused,
)
from tests.support.journal import InMemoryJournal
from tests.support.logged_failures import LoggedFailures


def call_of(server: InMemoryServer, call_id: UUID = CALL) -> Call:
    call = server.registry.get(call_id)
    assert call is not None
    return call


def outcome(server: InMemoryServer, call_id: UUID = CALL) -> str | None:
    return call_of(server, call_id).outcome


# joining


def test_the_port_determines_extension_and_role(log: list[str]) -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    server.join(extension=OTHER_EXTENSION)
    connection = server.join(role=Role.RESIDENT, extension=OTHER_EXTENSION)
    first, second = (event.leg for event in app.events)
    assert (first.extension, first.role) == (OTHER_EXTENSION, Role.VISITOR)
    assert (second.extension, second.role) == (OTHER_EXTENSION, Role.RESIDENT)
    assert connection.port == 9071
    assert f"visitor leg of {CALL} from 127.0.0.1:50123 on port 9070 belongs to extension 7 (7000)" in log, (
        "the association of call and extension is in the log"
    )


def test_visitor_and_resident_share_a_call_and_its_app() -> None:
    made: list[RecordingApp] = []

    def factory(_: AppContext) -> App:
        made.append(RecordingApp())
        return made[-1]

    server = InMemoryServer(factory)
    server.join()
    server.join(role=Role.RESIDENT)
    server.join(call_id=OTHER_CALL)
    assert [app.methods for app in made] == [["joined", "joined"], ["joined"]]
    assert [event.leg.role for event in made[0].events] == [Role.VISITOR, Role.RESIDENT]
    assert len(server.registry) == 2


def test_a_resident_without_a_call_is_refused_with_a_hangup_frame(log: list[str]) -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    connection = server.join(role=Role.RESIDENT)
    assert refused(connection)
    assert app.events == []
    assert server.registry.refused_total == 1
    [logged] = [text for text in log if text.startswith("refused")]
    assert logged == (
        f"refused the resident leg of {CALL} from 127.0.0.1:50123 on extension 0: "
        "no call with this UUID is waiting for a resident"
    )
    connection.hang_up()
    assert server.idle


def test_a_resident_on_another_extension_is_refused() -> None:
    server = InMemoryServer(RecordingApp())
    server.join()
    assert refused(server.join(role=Role.RESIDENT, extension=OTHER_EXTENSION))
    assert not refused(server.join(role=Role.RESIDENT))


def test_an_unexpected_resident_is_accepted_where_the_setting_allows_it() -> None:
    app = RecordingApp()
    server = InMemoryServer(app, accept_unexpected_resident=True)
    connection = server.join(role=Role.RESIDENT)
    server.run(100)
    assert app.methods == ["joined"]
    assert len(connection.audio()) == 6


def test_a_second_leg_is_refused_while_the_first_one_sends_audio() -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    first = server.join()
    server.run(3_000, first)
    second = server.join()
    assert refused(second)
    before = len(first.audio())
    server.run(1_000, first)
    assert len(first.audio()) == before + 50
    assert set(app.methods) == {"joined", "audio"}
    assert server.event_names() == ["call.started", "leg.joined", "leg.refused"]


def test_a_leg_without_audio_resumes_on_a_new_connection_and_nothing_else_changes(log: list[str]) -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    first = server.join()
    first.send(FRAME)
    app.events[0].leg.play(b"\x21\x43" * 8000 * 3)
    server.run(1_050)
    second = server.join()
    assert first.ended_by_server
    before = app.events[0].leg.heard_ms
    server.run(500, second)
    assert app.methods[:3] == ["joined", "audio", "resumed"]
    assert {event.leg for event in app.events} == {app.events[0].leg}
    assert app.events[0].leg.heard_ms == before + 500
    assert any(second.audio()[-1][2])
    first.send(FRAME)
    first.hang_up()
    assert outcome(server) is None
    [shown] = call_of(server).to_json(server.now)["legs"]
    assert shown["resumes"] == 1
    assert shown["frames_in"] == 26
    second.hang_up()
    assert outcome(server) == "caller_hangup"
    assert server.event_names() == ["call.started", "leg.joined", "leg.resumed", "leg.left", "call.ended"]
    assert server.idle


def test_a_leg_that_left_may_join_again_while_the_other_one_keeps_the_call() -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    first = server.join()
    server.join(role=Role.RESIDENT)
    first.reset()
    again = server.join()
    server.run(100)
    assert len(again.audio()) == 6
    assert app.methods == ["joined", "joined", "left", "joined"]
    assert server.event_names()[-1] == "leg.resumed"
    shown = call_of(server).to_json(server.now)
    assert {leg["role"]: leg["resumes"] for leg in shown["legs"]} == {"visitor": 1, "resident": 0}


def test_the_uuid_of_an_ended_call_is_answered_with_a_hangup_frame_for_60_s() -> None:
    server = InMemoryServer(RecordingApp())
    server.join().hang_up()
    for role in Role:
        assert refused(server.join(role=role))
    server.run(60_000, step=1_000)
    assert refused(server.join())
    server.run(2_500, step=100)
    assert not refused(server.join())
    assert server.registry.started_total == 2


def test_the_first_cause_is_the_outcome_of_leg_and_call() -> None:
    """The app decides, the operator hangs up, the connection is reset: leg and call have one outcome each."""
    app = RecordingApp(joined=lambda leg: leg.decide("gate_opened"))
    server = InMemoryServer(app)
    connection = server.join()
    server.switchboard.hang_up(CALL, Role.VISITOR, LegOutcome.ADMIN_HANGUP)
    connection.reset()
    server.switchboard.close()
    assert app.values("left") == ["admin_hangup"]
    shown = call_of(server).to_json(server.now, timeline=True)
    assert (shown["outcome"], shown["legs"][0]["outcome"]) == ("gate_opened", "admin_hangup")
    assert [entry["event"] for entry in shown["timeline"]] == [
        "call.started",
        "leg.joined",
        "leg.left",
        "call.ended",
    ]
    assert [(r["event"], r["outcome"]) for r in server.events[-2:]] == [
        ("leg.left", "admin_hangup"),
        ("call.ended", "gate_opened"),
    ]


def test_a_changed_row_does_not_change_calls_in_progress() -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    server.join()
    server.factory().extension = replace(DEFAULT_EXTENSION, number="1999")
    server.join(call_id=OTHER_CALL)
    assert [event.leg.extension.number for event in app.events] == ["1000", "1999"]


# hanging up


def test_hanging_up_one_leg_leaves_the_other_one() -> None:
    server = InMemoryServer(Echo())
    visitor, resident = server.join(), server.join(role=Role.RESIDENT)
    server.switchboard.hang_up(CALL, Role.RESIDENT, LegOutcome.ADMIN_HANGUP)
    assert resident.ended_by_server
    assert not visitor.ended_by_server
    with pytest.raises(UnknownCall, match=f"no live resident leg with call_id {CALL}"):
        server.switchboard.hang_up(CALL, Role.RESIDENT, LegOutcome.ADMIN_HANGUP)
    with pytest.raises(UnknownCall):
        server.switchboard.hang_up(OTHER_CALL, Role.VISITOR, LegOutcome.ADMIN_HANGUP)
    server.switchboard.end_call(CALL, LegOutcome.ADMIN_HANGUP)
    assert visitor.ended_by_server
    assert outcome(server) == "admin_hangup"


def test_close_ends_every_leg_and_refuses_new_connections() -> None:
    server = InMemoryServer(Echo())
    legs = [server.join(), server.join(role=Role.RESIDENT), server.join(call_id=OTHER_CALL)]
    waiting = server.connect()
    server.switchboard.close()
    assert all(connection.ended_by_server for connection in legs)
    assert outcome(server) == outcome(server, OTHER_CALL) == "shutdown"
    assert waiting.aborted
    assert refused(server.join(call_id=UUID(int=1)))
    server.run(2_100)
    assert server.idle
    assert server.admission.connections == set()


# audio under a wrong codec name


def test_a_dialplan_without_a_codec_is_logged_once_per_extension(log: list[str]) -> None:
    server = InMemoryServer(RecordingApp())
    payload = slin_to_ulaw(tone(8000, 440, 20))
    for n in range(3):
        connection = server.join(call_id=UUID(int=n + 1), extension=OTHER_EXTENSION)
        server.run(1_000, connection, frame=audio_frame(8000, payload))
        connection.hang_up()
    assert server.switchboard.codecs.latest == {7: "ulaw"}
    assert server.event_names().count("leg.codec") == 3
    [logged] = [text for text in log if "in frames for slin" in text]
    assert logged.startswith("extension 7 (7000): Asterisk sends ulaw in frames for slin; it is decoded")
    assert "c(slin)" in logged


def test_alternating_codecs_of_one_extension_are_logged_once_for_each_codec(log: list[str]) -> None:
    """Two gateways, one of u-law and one of A-law: not every call may write a log line."""
    server = InMemoryServer(RecordingApp())
    voice = tone(8000, 440, 20)
    laws = {"ulaw": slin_to_ulaw(voice), "alaw": slin_to_alaw(voice)}
    for n, law in enumerate(["ulaw", "alaw"] * 3):
        connection = server.join(call_id=UUID(int=n + 1), extension=OTHER_EXTENSION)
        server.run(1_000, connection, frame=audio_frame(8000, laws[law]))
        connection.hang_up()
        assert server.switchboard.codecs.latest == {7: law}, "the codec detected last"
    assert server.event_names().count("leg.codec") == 6
    logged = [text.partition(" in frames ")[0] for text in log if "in frames for slin" in text]
    assert logged == [f"extension 7 (7000): Asterisk sends {law}" for law in laws]


# apps that fail


class FailingApp(App):
    """Raises in the method and the call that the test has chosen."""

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
def test_an_app_that_raises_ends_only_its_own_call(where: str, logged_failures: LoggedFailures) -> None:
    made: list[int] = []

    def factory(_: AppContext) -> App:
        made.append(1)
        if where == "constructor" and len(made) == 2:
            raise ValueError(where)
        return FailingApp(where, CALL)

    server = InMemoryServer(factory, Echo())
    neighbour = server.join(call_id=OTHER_CALL)
    connection = server.join()
    resident = None if where in {"constructor", "joined"} else server.join(role=Role.RESIDENT)
    server.run(40, neighbour)
    if not connection.hangup_sent:
        connection.send(FRAME + digit_frame("1"))
    if where == "resumed":
        server.run(1_100, neighbour)
        server.join()
    if where == "left":
        connection.hang_up()
    server.run(1_000, neighbour)
    assert outcome(server) == ("caller_hangup" if where == "left" else "app_failed")
    assert connection.hangup_sent or where == "left"
    if resident is not None:
        assert resident.ended_by_server, "the whole call has ended"
    assert "app.failed" in server.event_names()
    assert outcome(server, OTHER_CALL) is None
    assert neighbour.pcm().count(FRAME[3:]) >= 50
    expected = 2 if where == "constructor" else 1 if where != "left" else 2
    assert len(logged_failures.flush()) == expected
    neighbour.hang_up()
    server.run(2_100)
    assert server.idle


@pytest.mark.parametrize("where", ["joined", "audio", "marked", "digit"])
def test_an_app_may_hang_up_in_any_of_its_methods(where: str) -> None:
    then: dict[str, Callable[[Leg], object]] = {where: lambda leg: leg.hang_up()}
    app = RecordingApp(**then)
    server = InMemoryServer(app)
    neighbour = server.join(call_id=OTHER_CALL, role=Role.VISITOR) if where != "joined" else None
    connection = server.connect()
    connection.send(uuid_frame(CALL) + (FRAME + digit_frame("1") if where != "joined" else b""))
    if where == "marked":
        app.events[-1].leg.mark("end")
        server.run(40)
    assert connection.ended_by_server
    assert outcome(server) == "server_hangup"
    assert [event.method for event in app.events if event.leg.call_id == CALL].count("left") == 1
    connection.send(FRAME)
    connection.hang_up()
    if neighbour is not None:
        before = len(neighbour.audio())
        server.run(100)
        assert len(neighbour.audio()) == before + 5
        neighbour.hang_up()
    assert server.idle


def test_a_second_app_is_not_called_for_a_leg_that_the_first_one_has_hung_up() -> None:
    first, second = RecordingApp(joined=lambda leg: leg.hang_up()), RecordingApp()
    server = InMemoryServer(first, second)
    connection = server.join()
    assert connection.ended_by_server
    assert (first.methods, second.methods) == (["joined", "left"], [])


def test_nothing_is_kept_of_an_ended_call() -> None:
    made: list[App] = []

    def factory(_: AppContext) -> App:
        made.append(RecordingApp())
        return made[-1]

    server = InMemoryServer(factory)
    for n in range(50):
        connection = server.join(call_id=UUID(int=n + 1))
        server.run(20, connection)
        connection.hang_up()
    assert len(made) == 50
    assert server.switchboard._apps._calls == {}
    assert len(server.legs) == 0
    assert not server.admission._waiting
    assert server.idle


# restarts


def test_a_leg_resumes_after_a_restart_with_the_state_that_its_app_remembered() -> None:
    pages = InMemoryJournal()
    before = InMemoryServer(RememberingApp(), journal=pages)
    connection = before.join(extension=OTHER_EXTENSION)
    connection.send(digit_frame("3"))
    connection.send(digit_frame("4"))
    app = RememberingApp()
    server = pages.restarted(app)
    assert (len(server.registry), server.switchboard.live_legs, server.idle) == (1, 0, True)
    connection = server.join(extension=replace(OTHER_EXTENSION, number="9999"))
    server.run(100, connection)
    assert app.methods[:3] == ["restored", "resumed", "audio"]
    assert app.values("restored") == [{"digit": "4"}]
    assert app.events[0].leg.extension == OTHER_EXTENSION
    assert len(connection.audio()) == 6
    assert server.event_names() == ["call.resumed", "leg.resumed"]
    call = call_of(server)
    assert [entry["event"] for entry in call.timeline] == [*before.event_names(), "call.resumed", "leg.resumed"]
    shown = call.to_json(server.now)
    assert (shown["state"], shown["legs"][0]["resumes"], shown["legs"][0]["state"]) == ("live", 1, "live")
    assert shown["legs"][0]["duration_seconds"] == pytest.approx(1.1, abs=0.01)
    connection.hang_up()
    assert (server.idle, outcome(server)) == (True, "caller_hangup")
    assert refused(pages.restarted(RememberingApp()).join()), "ended for the third process, too"


def test_an_app_without_restored_gets_joined_again() -> None:
    pages = InMemoryJournal()
    InMemoryServer(RecordingApp(), journal=pages).join()
    app = RecordingApp()
    pages.restarted(app).join()
    assert app.methods == ["joined", "resumed"]


def test_an_app_that_hangs_up_when_restored_does_not_get_resumed() -> None:
    pages = InMemoryJournal()
    InMemoryServer(RecordingApp(), journal=pages).join()
    app = RecordingApp(joined=lambda leg: leg.hang_up())
    connection = pages.restarted(app).join()
    assert app.methods == ["joined", "left"]
    assert connection.ended_by_server


def test_until_the_visitor_resumes_only_a_suspended_resident_may_join() -> None:
    for had_resident in (False, True):
        pages = InMemoryJournal()
        before = InMemoryServer(RecordingApp(), journal=pages)
        before.join()
        if had_resident:
            before.join(role=Role.RESIDENT)
        server = pages.restarted(RecordingApp())
        assert refused(server.join(role=Role.RESIDENT)) is not had_resident
        server.join()
        assert server.event_names().count("call.resumed") == 1
    pages = InMemoryJournal()
    InMemoryServer(RecordingApp(), journal=pages).join()
    server = pages.restarted(RecordingApp())
    server.join()
    assert not refused(server.join(role=Role.RESIDENT)), "the visitor has resumed: the usual rules apply"


def test_legs_that_do_not_resume_end_as_lost() -> None:
    pages = InMemoryJournal()
    before = InMemoryServer(RecordingApp(), journal=pages)
    before.join()
    before.join(call_id=OTHER_CALL)
    before.join(call_id=OTHER_CALL, role=Role.RESIDENT)
    server = pages.restarted(RecordingApp())
    server.join(call_id=OTHER_CALL)
    assert server.switchboard.expire() == 2
    assert outcome(server) == "lost"
    assert outcome(server, OTHER_CALL) is None
    assert server.switchboard.live_legs == 1
    assert refused(server.join())
    assert server.switchboard.expire() == 0


def test_a_visitor_that_leaves_ends_a_suspended_resident_too() -> None:
    pages = InMemoryJournal()
    before = InMemoryServer(RecordingApp(), journal=pages)
    before.join()
    before.join(role=Role.RESIDENT)
    server = pages.restarted(RecordingApp())
    server.join().hang_up()
    assert outcome(server) == "caller_hangup"
    assert refused(server.join(role=Role.RESIDENT))
    assert server.event_names().count("call.ended") == 1


def both_suspended() -> InMemoryJournal:
    """Return the journal of a process that was killed while a visitor and a resident were in a call."""
    pages = InMemoryJournal()
    before = InMemoryServer(RecordingApp(), journal=pages)
    before.join()
    before.join(role=Role.RESIDENT)
    return pages


@pytest.mark.parametrize("back", Role)
def test_the_apps_of_a_resumed_leg_are_notified_when_the_other_one_is_lost(back: Role) -> None:
    app = RecordingApp()
    server = both_suspended().restarted(app)
    connection = server.join(role=back)
    assert app.methods == ["joined", "resumed"]
    assert server.switchboard.expire() == 1
    assert (app.events[2].method, app.events[2].value, app.events[2].leg.role) == ("other_gone", "lost", back)
    assert connection.ended_by_server is (back is Role.RESIDENT), "the server hangs up a resident itself"


def test_the_bridge_waits_for_a_suspended_leg_until_it_is_lost() -> None:
    server = both_suspended().restarted(Bridge)
    visitor = server.join()
    server.run(30_000, visitor, step=20)
    assert not visitor.hangup_sent
    server.switchboard.expire()
    assert visitor.ended_by_server
    call = call_of(server)
    assert {role: leg.outcome for role, leg in call.legs.items()} == {
        Role.VISITOR: LegOutcome.SERVER_HANGUP,
        Role.RESIDENT: LegOutcome.LOST,
    }
    assert call.outcome == "server_hangup"


@pytest.mark.parametrize("back", Role)
def test_the_apps_of_a_resumed_leg_are_notified_when_the_suspended_one_is_hung_up(back: Role) -> None:
    app = RecordingApp()
    server = both_suspended().restarted(app)
    connection = server.join(role=back)
    other = Role.RESIDENT if back is Role.VISITOR else Role.VISITOR
    server.switchboard.hang_up(CALL, other, LegOutcome.ADMIN_HANGUP)
    assert app.values("other_gone") == ["admin_hangup"]
    assert not connection.hangup_sent, "the apps decide about that, as usual"


@pytest.mark.parametrize("first", Role)
def test_the_apps_of_a_leg_that_resumes_later_are_notified_that_the_other_one_has_left(first: Role) -> None:
    second = Role.RESIDENT if first is Role.VISITOR else Role.VISITOR
    app = RecordingApp()
    server = both_suspended().restarted(app)
    server.join(role=first).reset()
    server.join(role=second)
    assert app.methods == ["joined", "resumed", "left", "joined", "resumed", "other_gone"]
    assert (app.events[-1].value, app.events[-1].leg.role) == ("connection_lost", second)


def test_the_apps_of_a_leg_that_resumes_are_notified_of_a_leg_that_left_before_the_restart() -> None:
    pages = InMemoryJournal()
    before = InMemoryServer(RecordingApp(), journal=pages)
    before.join()
    before.join(role=Role.RESIDENT).reset()
    app = RecordingApp()
    server = pages.restarted(app)
    visitor = server.join()
    assert app.methods == ["joined", "resumed", "other_gone"]
    server.join(role=Role.RESIDENT).hang_up()
    visitor.hang_up()
    assert app.values("other_gone") == ["connection_lost"], "later ends are reported as usual"


def test_an_app_that_fails_ends_a_suspended_leg_too(logged_failures: LoggedFailures) -> None:
    for back in Role:
        server = both_suspended().restarted(FailingApp("audio", CALL))
        connection = server.join(role=back)
        connection.send(FRAME)
        assert connection.ended_by_server
        assert outcome(server) == "app_failed"
        for role in Role:
            assert refused(server.join(role=role))
        assert len(logged_failures.flush(ValueError)) == 1


@pytest.mark.parametrize("data", [uuid_frame(OTHER_CALL), b"\xff\x00\x01\x02"])
def test_a_protocol_error_of_the_visitor_ends_a_suspended_resident_too(data: bytes) -> None:
    server = both_suspended().restarted(RecordingApp())
    server.join().send(data)
    assert outcome(server) in {"protocol_error", "peer_error"}
    assert refused(server.join(role=Role.RESIDENT))


@pytest.mark.parametrize("how", ["expire", "hang_up"])
def test_nothing_is_kept_of_an_ended_call_after_a_restart_either(how: str) -> None:
    made: list[App] = []

    def factory(_: AppContext) -> App:
        made.append(RecordingApp())
        return made[-1]

    server = both_suspended().restarted(factory)
    server.join(role=Role.RESIDENT).hang_up()
    if how == "expire":
        server.switchboard.expire()
    else:
        server.switchboard.hang_up(CALL, Role.VISITOR, LegOutcome.ADMIN_HANGUP)
    assert len(server.registry) == 0
    server.run(61_000, step=1_000)
    server.join()
    assert len(made) == 2, "the UUID is now that of another call"


def test_a_suspended_call_can_be_hung_up() -> None:
    pages = InMemoryJournal()
    InMemoryServer(RecordingApp(), journal=pages).join()
    server = pages.restarted(RecordingApp())
    with pytest.raises(UnknownCall):
        server.switchboard.hang_up(CALL, Role.RESIDENT, LegOutcome.ADMIN_HANGUP)
    server.switchboard.hang_up(CALL, Role.VISITOR, LegOutcome.ADMIN_HANGUP)
    assert outcome(server) == "admin_hangup"
    assert refused(server.join())


def test_a_stop_interrupts_calls_and_nothing_that_apps_do_then_ends_them() -> None:
    pages = InMemoryJournal()

    def hang_up_all(leg: Leg) -> None:
        leg.decide("left_alone")
        for event in list(app.events):
            event.leg.hang_up()

    app = RecordingApp(left=hang_up_all)
    server = InMemoryServer(app, journal=pages)
    connections = [server.join(), server.join(role=Role.RESIDENT)]
    server.switchboard.close()
    assert all(connection.ended_by_server for connection in connections)
    assert "call.ended" not in server.event_names()
    assert server.event_names().count("call.interrupted") == 1
    after = pages.restarted(RecordingApp())
    call = after.registry.get(CALL)
    assert call is not None
    assert (call.outcome, [leg.suspended for leg in call.legs.values()]) == (None, [True, True])


def test_refuse_new_calls_allows_new_legs_of_live_calls() -> None:
    server = InMemoryServer(RecordingApp())
    server.join()
    server.switchboard.refuse_new_calls()
    assert refused(server.join(call_id=OTHER_CALL))
    assert not refused(server.join(role=Role.RESIDENT))


@pytest.mark.parametrize("state", [{1, 2}, "x" * 16_384, b"bytes"])
def test_a_state_that_cannot_be_stored_ends_its_own_call(logged_failures: LoggedFailures, state: object) -> None:
    app = RecordingApp(joined=lambda leg: leg.remember(app, state))
    server = InMemoryServer(app)
    server.join()
    assert outcome(server) == "app_failed"
    assert len(logged_failures.flush(TypeError, ValueError)) == 1


def test_an_app_cannot_remember_for_another_one(logged_failures: LoggedFailures) -> None:
    server = InMemoryServer(RecordingApp(joined=lambda leg: leg.remember(App(), 1)))
    server.join()
    assert outcome(server) == "app_failed"
    assert len(logged_failures.flush(ValueError)) == 1


@pytest.mark.parametrize("step", ["read_on_tick", "send_frames"])
def test_a_leg_whose_connection_raises_at_its_start_leaves_no_call(
    monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures, step: str
) -> None:
    def fails(*arguments: object) -> None:
        raise OSError(24, "Too many open files")

    server = InMemoryServer(RecordingApp())
    with monkeypatch.context() as patched:
        patched.setattr(AudioSocketProtocol, step, fails)
        connection = server.join()
    assert len(server.registry) == 0
    assert refused(connection)
    assert logged_failures.flush(OSError)
    connection.hang_up()
    assert server.idle


def test_a_leg_whose_apps_cannot_be_found_leaves_no_call(
    monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures
) -> None:
    def fails(*arguments: object) -> None:
        raise OSError(24, "Too many open files")

    server = InMemoryServer(RecordingApp())
    with monkeypatch.context() as patched:
        patched.setattr(AppInstances, "of", fails)
        connection = server.join()
        other = server.join(call_id=OTHER_CALL)
    assert len(server.registry) == 0
    assert refused(connection)
    assert refused(other)
    assert len(logged_failures.flush(OSError)) == 2
    connection.hang_up()
    other.hang_up()
    assert server.idle


def test_a_resident_who_cannot_be_set_up_leaves_the_visitor_alone(
    monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures
) -> None:
    def fails(*arguments: object) -> None:
        raise OSError(24, "Too many open files")

    server = InMemoryServer(RecordingApp())
    visitor = server.join()
    with monkeypatch.context() as patched:
        patched.setattr(AudioSocketProtocol, "read_on_tick", fails)
        resident = server.join(role=Role.RESIDENT)
    assert refused(resident)
    assert not refused(visitor)
    assert len(server.registry) == 1
    assert logged_failures.flush(OSError)
