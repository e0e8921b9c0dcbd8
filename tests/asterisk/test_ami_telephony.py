"""A caller's channel through AMI: redirected, and digits played on it with their pauses."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from audiosocket.asterisk.ami.telephony import AMITelephony
from audiosocket.errors import TelephonyUnavailable
from tests.support.fake_ami import AMIFixture

DOOR = "PJSIP/door-00000001"


@pytest.fixture
def asterisk() -> AMIFixture:
    fixture = AMIFixture()
    for name in ("PlayDTMF", "Redirect"):
        fixture.asterisk.replies[name] = lambda connection, action: connection.answer(action)
    fixture.start()
    return fixture


def told(work: Deferred[None]) -> list[object]:
    """What came of it: None, or why not."""
    found: list[object] = []
    work.addErrback(lambda failure: str(failure.trap(TelephonyUnavailable) and failure.value))
    work.addCallback(found.append)
    return found


def test_a_channel_is_redirected(asterisk: AMIFixture) -> None:
    done = told(AMITelephony(asterisk.ami, asterisk.clock).redirect(DOOR, "desk", "0"))
    asterisk.flush()
    (action,) = asterisk.asterisk.actions_named("Redirect")
    assert (action["Channel"], action["Context"], action["Exten"], action["Priority"]) == (DOOR, "desk", "0", "1")
    assert done == [None]


def test_digits_have_a_pause_between_them(asterisk: AMIFixture) -> None:
    done = told(AMITelephony(asterisk.ami, asterisk.clock).play_digits(DOOR, "12w3"))

    def played_within(seconds: float) -> list[str]:
        asterisk.run(seconds)
        return [action["Digit"] for action in asterisk.asterisk.actions_named("PlayDTMF")]

    assert played_within(0.2) == ["1"]
    assert played_within(0.3) == ["1", "2"]
    assert played_within(0.7) == ["1", "2"], "0.4 s, and 0.5 s for the w"
    assert done == []
    assert played_within(0.4) == ["1", "2", "3"]
    assert done == [None]


def test_what_was_played_is_told_where_it_stops(asterisk: AMIFixture) -> None:
    telephony = AMITelephony(asterisk.ami, asterisk.clock)
    done = told(telephony.play_digits(DOOR, "12w3"))
    asterisk.run(0.2)
    asterisk.lose_connection()
    asterisk.run(0.3)
    (problem,) = done
    assert str(problem).startswith("1 of 3 keys were played: the connection was lost")
    asterisk.asterisk.replies["Redirect"] = lambda connection, action: connection.error(action, "No such channel")
    asterisk.run(10)
    redirected = told(telephony.redirect(DOOR, "desk", "0"))
    asterisk.flush()
    assert redirected == ["Redirect: No such channel"]
