"""The app echo: a caller receives exactly what it sent."""

from __future__ import annotations

from twisted.internet.task import Clock

from audiosocket.apps.echo import Echo
from tests.support.fake_leg import FakeLeg, app_context


def echo(clock: Clock) -> FakeLeg:
    leg = FakeLeg(clock, Echo(app_context(clock)))
    leg.join()
    return leg


def frame(number: int) -> bytes:
    return number.to_bytes(2, "little") * 160


def test_returns_every_frame_as_it_came() -> None:
    leg = echo(Clock())
    leg.run(2000, frame)
    assert leg.sent_pcm("passed") == b"".join(map(frame, range(100)))


def test_returns_a_frame_in_the_same_turn() -> None:
    clock = Clock()
    leg = echo(clock)
    leg.run(1000, frame)
    assert [round(now) for now, sent in leg.sent if sent.source == "passed"] == list(range(20, 1001, 20))


def test_returns_odd_lengths_and_other_rates_untouched() -> None:
    clock = Clock()
    leg = echo(clock)
    for pcm, rate in ((b"x" * 321, 8000), (b"y" * 1764, 44_100), (b"z", 192_000)):
        leg.receive(pcm, rate)
        clock.advance(0.02)
    assert [(sent.pcm, sent.rate) for _, sent in leg.sent if sent.source == "passed"] == [
        (b"x" * 321, 8000),
        (b"y" * 1764, 44_100),
        (b"z", 192_000),
    ]


def test_a_silent_caller_receives_silence() -> None:
    leg = echo(Clock())
    leg.run(200, frame)
    leg.run(400)
    assert leg.sources()[-15:] == ["silence"] * 15


def test_returns_nothing_while_another_app_plays() -> None:
    leg = echo(Clock())
    leg.play(b"\1\1" * 1600)
    leg.run(400, frame)
    assert leg.sources().count("spoken") == 10
    assert leg.sent_pcm("spoken") == b"\1\1" * 1600
    assert leg.sources()[-5:] == ["passed"] * 5
