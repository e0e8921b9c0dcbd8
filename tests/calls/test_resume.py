"""Legs that resume after a restart, with the real journal file between one process and the next."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred

from audiosocket.calls.call import Call
from audiosocket.calls.journal import FILE_NAME, CallJournal
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.extensions.model import DEFAULT_EXTENSION, Extension, Role
from audiosocket.interfaces import Leg
from audiosocket.wire import HANGUP_FRAME, digit_frame
from tests.support.in_memory import (
    CALL,
    OTHER_CALL,
    OTHER_EXTENSION,
    START,
    AsteriskConnection,
    InMemoryServer,
    RememberingApp,
    refused,
)

#: The time of day at which the first process begins, in seconds since the epoch.
EPOCH = 1_790_000_000.0


class DataDirectory:
    """One data directory and a time of day; processes live and die here."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        self.app = RememberingApp()
        self._began = EPOCH
        self._exchange: InMemoryServer | None = None
        self._journal: CallJournal | None = None

    @property
    def wall(self) -> float:
        return self._began + (self._exchange.now - START if self._exchange is not None else 0)

    def start(self, after: float = 0.0) -> InMemoryServer:
        """The process dies, if there is one; ``after`` so many seconds there is the next."""
        self.kill()
        self._began += after
        self.app = RememberingApp()
        self._journal = journal = CallJournal(self.path, _at_once, wall=lambda: self.wall)
        self._exchange = server = InMemoryServer(self.app, journal=journal)
        server.switchboard.restore(journal.open())
        return server

    def kill(self) -> None:
        self._began, self._exchange = self.wall, None
        if self._journal is not None:
            self._journal.close()
            self._journal = None


def _at_once(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
    return maybeDeferred(work, *args, **kwargs)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[DataDirectory]:
    made = DataDirectory(tmp_path)
    yield made
    made.kill()


def the_call(server: InMemoryServer) -> Call:
    call = server.registry.get(CALL)
    assert call is not None
    return call


def resident(server: InMemoryServer, extension: Extension = DEFAULT_EXTENSION) -> AsteriskConnection:
    return server.join(role=Role.RESIDENT, extension=extension)


@pytest.mark.parametrize("restarts", [1, 2, 5])
def test_a_call_is_the_same_after_any_number_of_restarts_in_a_row(directory: DataDirectory, restarts: int) -> None:
    first = directory.start()
    line = first.join(extension=OTHER_EXTENSION)
    resident(first, OTHER_EXTENSION)
    first.run(1_000, line)
    line.send(digit_frame("3"))
    directory.app.events[0].leg.decide("gate_opened")
    for _ in range(restarts):
        server = directory.start(after=2.0)
        assert (len(server.registry), the_call(server).suspended) == (1, True)
    server.join(extension=OTHER_EXTENSION)
    resident(server, OTHER_EXTENSION)
    call = the_call(server)
    assert (call.extension, call.outcome) == (OTHER_EXTENSION, "gate_opened")
    assert directory.app.values("restored") == [{"digit": "3"}, None]
    assert {role: (leg.outcome, leg.resumes) for role, leg in call.legs.items()} == {
        Role.VISITOR: (None, 1),
        Role.RESIDENT: (None, 1),
    }
    assert [entry["event"] for entry in call.timeline] == [
        *first.event_names(),
        "call.resumed",
        "leg.resumed",
        "leg.resumed",
    ]
    assert call.to_json(server.now)["duration_seconds"] == pytest.approx(1 + 2 * restarts, abs=0.01)


def test_a_leg_that_resumed_between_two_restarts_and_one_that_did_not(directory: DataDirectory) -> None:
    first = directory.start()
    first.join()
    resident(first)
    second = directory.start(after=1)
    second.join()
    third = directory.start(after=1)
    assert [leg.suspended for leg in the_call(third).legs.values()] == [True, True]
    resident(third)
    third.join()
    assert {role: leg.resumes for role, leg in the_call(third).legs.items()} == {Role.VISITOR: 2, Role.RESIDENT: 1}
    assert third.event_names().count("call.resumed") == 1


def test_a_uuid_that_ended_just_before_the_kill_is_refused_for_60_s(directory: DataDirectory) -> None:
    directory.start().join().hang_up()
    for after in (0.3, 5.0, 50.0):
        server = directory.start(after=after)
        for role in Role:
            assert refused(server.join(role=role))
    assert not refused(directory.start(after=5.0).join())


def test_the_hangup_frame_is_sent_after_the_journal_was_written(directory: DataDirectory) -> None:
    """Killed between the two, it would resume a call that is over for its caller."""
    server = directory.start()
    kept_at_goodbye: list[str] = []

    class Watching(AsteriskConnection):
        def write(self, data: bytes) -> None:
            if data == HANGUP_FRAME:
                kept_at_goodbye.append(directory.path.read_text())
            super().write(data)

    line = server.connect()
    line.__class__ = Watching
    line.send(b"\x01\x00\x10" + CALL.bytes)
    server.switchboard.hang_up(CALL, Role.VISITOR, LegOutcome.ADMIN_HANGUP)
    assert line.ended_by_server
    (text,) = kept_at_goodbye
    assert '"kind":"ended"' in text


def test_a_changed_row_does_not_change_a_call_that_resumes(directory: DataDirectory) -> None:
    first = directory.start()
    first.join()
    resident(first)
    changed = replace(DEFAULT_EXTENSION, number="1999", return_number="2999", port=9100, return_port=9101)
    server = directory.start(after=1)
    assert not refused(server.join(extension=changed))
    assert not refused(resident(server, changed))
    assert the_call(server).extension == DEFAULT_EXTENSION
    assert {told.leg.extension for told in directory.app.events} == {DEFAULT_EXTENSION}


def test_a_visitor_resumes_on_its_port_whichever_row_has_it_now(directory: DataDirectory) -> None:
    """Written anew, a row has another id; Asterisk dials the port it always dialled."""
    directory.start().join()
    server = directory.start(after=1)
    assert not refused(server.join(extension=replace(DEFAULT_EXTENSION, id=99)))
    assert the_call(server).extension == DEFAULT_EXTENSION


def test_a_visitor_of_another_extension_never_gets_the_call(directory: DataDirectory) -> None:
    directory.start().join()
    server = directory.start(after=1)
    stranger = server.join(extension=OTHER_EXTENSION)
    assert refused(stranger)
    assert not refused(server.join())
    server.run(1_100)
    assert refused(server.join(extension=OTHER_EXTENSION)), "nor when the leg has gone quiet"
    assert the_call(server).timeline[-1]["reason"] == "the call belongs to extension 0, not 7"


def test_a_resident_that_resumes_first_waits_for_the_visitor(directory: DataDirectory) -> None:
    first = directory.start()
    first.join()
    resident(first)
    server = directory.start(after=1)
    line = resident(server)
    assert not refused(line)
    assert refused(resident(server)), "once"
    assert refused(resident(directory.start(after=1), OTHER_EXTENSION))
    server = directory.start(after=1)
    assert not refused(resident(server))
    server.join()
    assert server.event_names() == ["call.resumed", "leg.resumed", "leg.resumed"]


def test_killed_within_any_write_the_uuid_resumes_begins_or_has_ended(directory: DataDirectory) -> None:
    """SIGKILL can cut a write short; the whole lines count, and no leg of a live call is refused."""
    first = directory.start()
    line = first.join()
    opened = len(directory.path.read_bytes())
    resident(first)
    line.send(digit_frame("3"))
    resident_in = len(directory.path.read_bytes())
    line.hang_up()
    directory.kill()
    whole = directory.path.read_bytes()
    ended_at = whole.index(b'"leg.left"')
    seen = set()
    for at in range(0, len(whole) + 1):
        directory.path.write_bytes(whole[:at])
        server = directory.start(after=1)
        line = server.join()
        begun = server.event_names()[:1] == ["call.started"]
        resumed = server.event_names()[:1] == ["call.resumed"]
        assert begun + resumed + refused(line) == 1
        if begun:
            assert at < opened
        elif at >= opened and at < ended_at:
            assert resumed
        if resident_in <= at < ended_at:
            assert not refused(resident(server))
        seen.add((begun, resumed))
        directory.kill()
        assert all(json.loads(line) for line in directory.path.read_bytes().splitlines()), "cleaned up"
    assert seen >= {(True, False), (False, True)}


def test_a_leg_that_joined_again_is_as_old_after_a_restart_as_before(directory: DataDirectory) -> None:
    first = directory.start()
    first.join()
    line = resident(first)
    first.run(60_000, step=1_000)
    line.reset()
    resident(first)
    before = the_call(first).legs[Role.RESIDENT].to_json(first.now, began=0.0)
    server = directory.start()
    resident(server)
    after = the_call(server).legs[Role.RESIDENT].to_json(server.now, began=0.0)
    assert (before["duration_seconds"], before["resumes"]) == (0.0, 1)
    assert (after["duration_seconds"], after["resumes"]) == (pytest.approx(0.0, abs=0.002), 2)


OLDER = {
    "wall": EPOCH,
    "kind": "snapshot",
    "call": str(CALL),
    "extension": DEFAULT_EXTENSION.to_json(),
    "started": EPOCH - 5,
    "started_at": "2026-09-21T14:13:15.000Z",
    "outcome": None,
    "legs": {
        "visitor": {
            "peer": "127.0.0.1:1",
            "port": 8080,
            "joined": 0.0,
            "resumes": 0,
            "ending": None,
            "ended": None,
        }
    },
    "timeline": [{"at_seconds": 0.0, "event": "call.started"}],
    "states": [["visitor", "app0", {"digit": "7"}]],
}


def test_a_journal_of_a_version_without_return_calls_resumes(directory: DataDirectory) -> None:
    directory.path.write_text(json.dumps(OLDER) + "\n")
    server = directory.start(after=1)
    server.join()
    assert directory.app.values("restored") == [{"digit": "7"}]
    assert the_call(server).to_json(server.now)["return"] is None


def test_lines_of_a_newer_version_do_not_affect_the_others(directory: DataDirectory) -> None:
    newer = [
        {**OLDER, "weather": "rain"},
        {"wall": EPOCH, "kind": "mood", "call": str(CALL), "mood": "good"},
        {"wall": EPOCH, "kind": "event", "call": str(CALL), "entry": {"at_seconds": 1.0, "event": "leg.sang"}},
        {**OLDER, "call": str(OTHER_CALL), "legs": {"porter": {}}},
        {"wall": 10**400, "kind": "ended", "call": str(OTHER_CALL)},
        {"wall": EPOCH, "kind": "return", "call": str(CALL), "number": float("inf"), "attempts": []},
    ]
    directory.path.write_text("".join(json.dumps(line) + "\n" for line in newer))
    server = directory.start(after=1)
    server.join()
    assert the_call(server).timeline[1]["event"] == "leg.sang"
    assert server.registry.get(OTHER_CALL) is None


def test_an_app_that_hangs_up_in_restored_ends_the_call(directory: DataDirectory) -> None:
    directory.start().join()
    server = directory.start(after=1)

    def hang_up(leg: Leg) -> None:
        leg.hang_up()

    directory.app._then["restored"] = hang_up
    assert server.join().ended_by_server
    assert refused(server.join())
    assert refused(directory.start(after=1).join())
