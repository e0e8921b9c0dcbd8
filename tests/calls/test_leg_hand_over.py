"""Apps that hand a leg over, and hooks that are coroutines."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from audiosocket.calls.leg_apps import REPLACED
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.extensions.model import Role
from audiosocket.interfaces import App
from audiosocket.interfaces import Leg as LegForApps
from audiosocket.wire import Audio, Digit, HungUp
from tests.support.in_memory import Echo, RecordingApp
from tests.support.logged_failures import LoggedFailures
from tests.support.one_leg import VOICE, LegFixture

# apps that take over


def test_an_app_that_hands_over_is_replaced_in_its_place() -> None:
    bot, recorder, fallback = RecordingApp(), RecordingApp(), RecordingApp()
    fixture = LegFixture(bot, recorder).start()
    fixture.known["porteiro"] = fallback
    fixture.leg.play(VOICE * 50)
    fixture.leg.hand_over(bot, "porteiro", "no connection")
    fixture.leg.message_received(Digit("1"))
    fixture.leg.end(LegOutcome.CALLER_HANGUP)
    assert bot.methods == ["joined"]
    assert fallback.methods == ["joined", "digit", "left"]
    assert recorder.methods == ["joined", "digit", "left"]
    assert fixture.leg.queued_ms == 0
    (event,) = [event for event in fixture.events if event["event"] == "app.replaced"]
    assert (event["app"], event["to"], event["reason"]) == ("app0", "porteiro", "no connection")
    assert fixture.call.states == {(Role.VISITOR, REPLACED): {"apps": "porteiro+app1"}}


def test_an_app_that_hands_over_while_it_joins_is_replaced() -> None:
    fallback, recorder = RecordingApp(), RecordingApp()
    bot = RecordingApp(joined=lambda leg: leg.hand_over(bot, "porteiro", "refused"))
    fixture = LegFixture(bot, recorder)
    fixture.known["porteiro"] = fallback
    fixture.start()
    fixture.leg.message_received(Digit("1"))
    assert fallback.methods == ["joined", "digit"]
    assert recorder.methods == ["joined", "digit"]


def test_a_leg_handed_back_to_an_app_that_gave_it_up_ends() -> None:
    first, second = RecordingApp(), RecordingApp()
    fixture = LegFixture(first).start()
    fixture.known.update(first=first, second=second)
    fixture.leg.hand_over(first, "second", "one")
    fixture.leg.hand_over(second, "first", "two")
    assert fixture.over == [LegOutcome.SERVER_HANGUP]


def test_the_audio_of_a_replaced_app_goes_to_the_next_one_only() -> None:
    bot, fallback = Echo(), RecordingApp()
    fixture = LegFixture(bot).start()
    fixture.known["porteiro"] = fallback
    fixture.leg.hand_over(bot, "porteiro", "x")
    fixture.leg.message_received(Audio(8000, VOICE))
    assert fallback.methods == ["joined", "audio"]
    assert VOICE not in [pcm for _, pcm in fixture.connection.sent]


# coroutines


def test_a_hook_that_is_a_coroutine_runs_and_its_failure_ends_the_call(logged_failures: LoggedFailures) -> None:
    class Slow(App):
        async def joined(self, leg: LegForApps) -> None:
            await waiting
            leg.play(VOICE)

        async def digit(self, leg: LegForApps, digit: str) -> None:
            raise ZeroDivisionError

    waiting: Deferred[None] = Deferred()
    fixture = LegFixture(Slow()).start()
    fixture.leg.message_received(Digit("1"))
    assert fixture.failed == 0, "the digit waits behind joined"
    assert fixture.leg.queued_ms == 0
    waiting.callback(None)
    assert fixture.failed == 1
    assert fixture.over == [LegOutcome.APP_FAILED]
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_a_hook_that_returns_a_deferred_ends_the_call_when_that_fails(logged_failures: LoggedFailures) -> None:
    class OlderStyle(App):
        @inlineCallbacks
        def joined(self, leg: LegForApps) -> Any:
            yield waiting
            raise ZeroDivisionError

    waiting: Deferred[None] = Deferred()
    fixture = LegFixture(OlderStyle()).start()
    assert fixture.failed == 0
    waiting.callback(None)
    assert fixture.failed == 1
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_a_hook_that_never_ends_does_not_keep_the_leg() -> None:
    seen: list[str] = []

    class Stuck(App):
        async def joined(self, leg: LegForApps) -> None:
            await Deferred()

        async def left(self, leg: LegForApps, outcome: str) -> None:
            seen.append(outcome)

    fixture = LegFixture(Stuck()).start()
    fixture.leg.message_received(HungUp())
    assert fixture.over == [LegOutcome.CALLER_HANGUP]
    assert seen == ["caller_hangup"]
    assert fixture.failed == 0
