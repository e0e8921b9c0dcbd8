"""With RETURN_CONFIRM a key is asked for before a leg counts as the resident's: a mailbox is none."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from audiosocket.calls.journal import CallJournal
from audiosocket.extensions.model import Role
from audiosocket.server.confirmation import KEY_SECONDS, make_confirmation
from audiosocket.settings import Settings
from audiosocket.testing.leg_double import ManualThread
from audiosocket.wire import digit_frame
from tests.support.fake_leg import app_context
from tests.support.in_memory import CALL, AsteriskConnection, RecordingApp
from tests.support.porteiro_server import Sounds
from tests.support.return_calls import ANSWERED, ReturnCallFixture


class Confirmed(ReturnCallFixture):
    """A visitor in a call of an app that knows nothing of keys; who answers must press one."""

    def __init__(self, app: Any = None, **options: Any) -> None:
        self.app = app or RecordingApp()
        super().__init__(self.app, confirm=True, confirmation=self._make, **options)

    def _make(self, *arguments: Any) -> Any:
        context = app_context(self.server.time, sounds=Sounds())
        assert context.settings == Settings.parse({})
        return partial(make_confirmation, context, self.server.time.seconds)(*arguments)

    def answer(self, *numbers: str) -> AsteriskConnection:
        """Ring these; who is rung now answers, and the leg arrives."""
        self.place(*numbers)
        return self.come()

    def come(self) -> AsteriskConnection:
        self.end_attempt(ANSWERED)
        leg = self.join_resident()
        self.run(0.2, self.visitor, leg)
        return leg

    def roles(self) -> list[Role]:
        return [event.leg.role for event in self.app.events if event.method == "joined"]


def test_a_key_connects() -> None:
    here = Confirmed()
    leg = here.answer("101", "102")
    assert (here.shown["state"], here.roles()) == ("answered", [Role.VISITOR])
    leg.send(digit_frame("5"))
    here.run(0.1, here.visitor, leg)
    assert (here.shown["state"], here.tried) == ("connected", [("101", "answered")])
    assert here.roles() == [Role.VISITOR, Role.RESIDENT]
    assert here.originator.rung == ["101"]


def test_a_mailbox_presses_none_and_the_next_number_is_rung() -> None:
    here = Confirmed()
    mailbox = here.answer("101", "102")
    since = here.server.now
    while not mailbox.ended_by_server:
        here.run(0.5, here.visitor, mailbox)
    assert 2 * KEY_SECONDS < here.server.now - since < 2 * KEY_SECONDS + 6
    assert any(mailbox.pcm(since)), "it was asked"
    assert here.tried == [("101", "no_answer")]
    assert here.roles() == [Role.VISITOR]
    again = here.join_resident()
    assert again.ended_by_server, "its dialplan presents the UUID again, and nobody is waited for"
    here.run(3, here.visitor)
    assert here.originator.rung == ["101", "102"]
    leg = here.come()
    leg.send(digit_frame("1"))
    here.run(0.1, here.visitor, leg)
    assert (here.shown["state"], here.tried) == ("connected", [("101", "no_answer"), ("102", "answered")])


def test_it_is_asked_twice() -> None:
    here = Confirmed()
    leg = here.answer("101")
    here.run(KEY_SECONDS + 3, here.visitor, leg)
    assert not leg.ended_by_server
    leg.send(digit_frame("1"))
    here.run(0.1, here.visitor, leg)
    assert here.shown["state"] == "connected"


def test_the_last_number_that_presses_no_key_is_the_end() -> None:
    here = Confirmed()
    leg = here.answer("101")
    here.run(2 * KEY_SECONDS + 6, here.visitor, leg)
    assert (here.shown["state"], here.tried) == ("failed", [("101", "no_answer")])
    assert "no key was pressed" in here.shown["reason"]
    here.run(30, here.visitor)
    assert here.originator.rung == ["101"]


def test_who_hangs_up_without_a_key_is_no_resident() -> None:
    here = Confirmed()
    leg = here.answer("101", "102")
    leg.hang_up()
    here.run(3, here.visitor)
    assert here.originator.rung == ["101", "102"]
    assert here.tried[0] == ("101", "no_answer")


def test_the_visitor_leaves_meanwhile() -> None:
    here = Confirmed()
    leg = here.answer("101", "102")
    here.visitor.hang_up()
    here.run(0.1, leg)
    leg.send(digit_frame("1"))
    here.run(0.1, leg)
    assert leg.ended_by_server
    assert here.roles() == [Role.VISITOR]


def test_without_a_return_call_nobody_is_asked() -> None:
    here = Confirmed(backend=False)
    leg = here.join_resident()
    here.run(0.1, here.visitor, leg)
    assert here.roles() == [Role.VISITOR, Role.RESIDENT]


@pytest.mark.parametrize("pressed", [False, True])
def test_a_restart_asks_anew(tmp_path: Any, pressed: bool) -> None:
    path = tmp_path / "calls.journal"
    before = CallJournal(path, ManualThread())
    before.open()
    here = Confirmed(journal=before)
    leg = here.answer("101")
    before.close()
    after = CallJournal(path, ManualThread())
    there = Confirmed.__new__(Confirmed)
    there.app = RecordingApp()
    super(ReturnCallFixture, there).__init__(there.app, confirm=True, confirmation=there._make, journal=after)
    there.server.switchboard.restore(after.open())
    visitor = there.join_visitor()
    resident = there.join_resident()
    there.run(0.2, visitor, resident)
    assert there.roles() == [Role.VISITOR]
    if pressed:
        resident.send(digit_frame("1"))
        there.run(0.1, visitor, resident)
        assert there.shown["state"] == "connected"
        assert there.roles() == [Role.VISITOR, Role.RESIDENT]
    else:
        there.run(2 * KEY_SECONDS + 6, visitor, resident)
        assert resident.ended_by_server
        assert there.shown["state"] == "failed"
    assert leg is not None
    assert there.server.registry.get(CALL) is not None
