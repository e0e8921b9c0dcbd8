"""Streams recorded from a real Asterisk: split in any way, they are the same call.

The expected messages are read here by a few lines that share no code with the parser.
"""

from __future__ import annotations

import itertools
import json
import random
from functools import cache
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosocket.media.pcm import ulaw_to_slin
from audiosocket.wire import RATES, Audio, Digit, Event, Identified, Parser
from tests.support.in_memory import AsteriskConnection, Echo, InMemoryServer, RecordingApp

CAPTURES = Path(__file__).parent / "captures"
#: Name to the messages after the UUID: number, kind and payload bytes of each (captures/README.md).
EXPECTED = {
    "app-digits": (16, 0x03, 1),
    "app-tone-3s": (148, 0x10, 320),
    "sip-app-speech-pt": (300, 0x10, 320),
    "chan-slin16-tone-2s": (99, 0x12, 640),
    "chan-slin48-4-frames": (4, 0x16, 1920),
    "chan-slin192-3-frames": (3, 0x18, 7680),
    "chan-ulaw-labelled-slin-2s": (99, 0x10, 160),
}
TIMED = sorted(path.name.partition(".")[0] for path in CAPTURES.glob("*.reads.json"))
#: Kind and payload.
Messages = list[tuple[int, bytes]]


@cache
def stream(name: str) -> bytes:
    return (CAPTURES / f"{name}.bin").read_bytes()


@cache
def messages_of(name: str) -> tuple[UUID, tuple[tuple[int, bytes], ...]]:
    """Return the UUID, and kind and payload of each message after it."""
    data = stream(name)
    messages, at = [], 0
    while at < len(data):
        end = at + 3 + data[at + 1] * 256 + data[at + 2]
        assert end <= len(data)
        messages.append((data[at], data[at + 3 : end]))
        at = end
    return UUID(bytes=messages[0][1]), tuple(messages[1:])


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def parsed(chunks: list[bytes]) -> list[Event]:
    parser = Parser()
    return [event for chunk in chunks for event in parser.receive(chunk)]


def expected_events(name: str) -> list[Event]:
    call_id, messages = messages_of(name)
    events: list[Event] = [Identified(call_id)]
    for kind, payload in messages:
        events.append(Digit(payload.decode()) if kind == 3 else Audio(RATES[kind], payload))
    return events


def expected_calls(name: str) -> list[tuple[str, object]]:
    """Return the calls that an app must get: method and value."""
    calls: list[tuple[str, object]] = [("joined", None)]
    for kind, payload in messages_of(name)[1]:
        calls.append(("digit", payload.decode()) if kind == 3 else ("audio", (payload, RATES[kind])))
    return [*calls, ("left", "caller_hangup")]


def audio_at_its_pace(name: str, undetected: int) -> Messages:
    """Return kind and samples of the audio that an app gets when a stream arrives at its recorded pace.

    Only then u-law that is labelled as slin can be detected, after ``undetected`` frames.
    """
    voice = [each for each in messages_of(name)[1] if each[0] != 3]
    if name != "chan-ulaw-labelled-slin-2s":
        return voice
    return voice[:undetected] + [(kind, ulaw_to_slin(payload)) for kind, payload in voice[undetected:]]


def run_call(chunks: list[bytes]) -> list[tuple[str, object]]:
    """Send ``chunks`` through protocol, switchboard and leg; return the calls that an app gets."""
    app = RecordingApp()
    exchange = InMemoryServer(app)
    line = exchange.connect()
    for chunk in chunks:
        line.send(chunk)
    exchange.run(500)  # a FIN is not read before all that waits has been handled
    line.hang_up()
    assert exchange.idle
    assert exchange.event_names()[0] == "call.started"
    assert exchange.event_names()[-1] == "call.ended"
    return [(each.method, each.value) for each in app.events]


def test_the_streams_are_as_their_readme_describes() -> None:
    for name, (count, kind, size) in EXPECTED.items():
        messages = messages_of(name)[1]
        assert [(each[0], len(each[1])) for each in messages] == [(kind, size)] * count, name
        if kind == 3:
            assert b"".join(payload for _, payload in messages) == b"0123456789*#ABCD"
    assert {path.stem for path in CAPTURES.glob("*.bin")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_stream_is_the_same_call_whole_and_byte_by_byte(name: str) -> None:
    data = stream(name)
    singly = [data[at : at + 1] for at in range(len(data))]
    assert parsed([data]) == expected_events(name)
    assert parsed(singly) == expected_events(name)
    assert run_call([data]) == expected_calls(name)
    assert run_call(singly) == expected_calls(name)


def test_every_split_of_the_digits_is_the_same_call() -> None:
    """Every single cut for a whole call, every pair of cuts for the parser."""
    name = "app-digits"
    data = stream(name)
    for cut in range(len(data) + 1):
        assert run_call(pieces(data, [cut])) == expected_calls(name), cut
    events = expected_events(name)
    for cuts in itertools.combinations(range(len(data)), 2):
        assert parsed(pieces(data, list(cuts))) == events, cuts


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - {"app-digits"}))
def test_every_split_of_the_first_frames_gives_the_same_events(name: str) -> None:
    """The UUID and two frames, split once at every byte."""
    data = stream(name)[: 19 + 2 * (3 + EXPECTED[name][2])]
    events = expected_events(name)[:3]
    for cut in range(len(data) + 1):
        assert parsed(pieces(data, [cut])) == events, cut


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_split_is_the_same_call(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(EXPECTED)))
    whole = stream(name)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=30))
    assert parsed(pieces(whole, cuts)) == expected_events(name)
    assert run_call(pieces(whole, cuts)) == expected_calls(name)


@pytest.mark.parametrize("limit", [7, 342, 4_000])
def test_pieces_of_random_sizes_are_the_same_call(limit: int) -> None:
    """The same pieces in every run: the seed is the size. 342 is UUID and first frame in one segment."""
    sizes = random.Random(limit)
    for name in EXPECTED:
        data, chunks, at = stream(name), [], 0
        while at < len(data):
            size = sizes.randint(1, limit)
            chunks.append(data[at : at + size])
            at += size
        assert run_call(chunks) == expected_calls(name), name


def test_interleaved_calls_do_not_mix() -> None:
    """All streams at once, one random piece of a random stream at a time."""
    order = random.Random(20)
    app = RecordingApp()
    exchange = InMemoryServer(app)
    rest = {name: stream(name) for name in EXPECTED}
    lines: dict[str, AsteriskConnection] = {name: exchange.connect() for name in EXPECTED}
    while rest:
        name = order.choice(sorted(rest))
        size = order.randint(1, 2_000)
        lines[name].send(rest[name][:size])
        rest[name] = rest[name][size:]
        if not rest[name]:
            del rest[name]
            exchange.run(500)
            lines[name].hang_up()
    for name in EXPECTED:
        call_id = messages_of(name)[0]
        calls = [(each.method, each.value) for each in app.events if each.leg.call_id == call_id]
        assert calls == expected_calls(name), name
    assert exchange.idle


@pytest.mark.parametrize("name", TIMED)
def test_at_its_recorded_pace_a_stream_is_echoed_with_silence_around_it(name: str) -> None:
    """Each read at its recorded time, with an app that echoes."""
    reads = json.loads((CAPTURES / f"{name}.reads.json").read_text())
    data = stream(name)
    assert sum(size for _, size in reads) == len(data)
    app = RecordingApp()
    exchange = InMemoryServer(app, Echo())
    line = exchange.connect()
    start, at = exchange.now, 0
    for ms, size in reads:
        while exchange.now < start + ms / 1000:
            exchange.time.advance(min(0.005, start + ms / 1000 - exchange.now + 1e-9))
        line.send(data[at : at + size])
        at += size
    exchange.run(200)
    line.hang_up()
    undetected = sum(len(payload) == 160 for payload, _ in app.values("audio"))
    assert undetected < 50, "detection takes less than a second"
    voice = audio_at_its_pace(name, undetected)
    assert app.values("audio") == [(payload, RATES[kind]) for kind, payload in voice]
    assert app.methods == [what for what, _ in expected_calls(name)]
    sent = [(kind, payload) for _, kind, payload in line.audio()]
    assert [each for each in sent if any(each[1])] == [each for each in voice if any(each[1])]
    seconds = sum(len(payload) / 2 / RATES[kind] for kind, payload in sent)
    assert seconds == pytest.approx(exchange.now - line.writes[0][0], abs=0.1)
