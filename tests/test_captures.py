"""Streams recorded from a real Asterisk: cut in any way, they are the same call.

What they must give is read here by a few lines that share nothing with the parser.
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
#: Name to the messages behind the UUID: how many, of which kind, of how many bytes (captures/README.md).
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
Heard = list[tuple[int, bytes]]


@cache
def stream(name: str) -> bytes:
    return (CAPTURES / f"{name}.bin").read_bytes()


@cache
def truth(name: str) -> tuple[UUID, tuple[tuple[int, bytes], ...]]:
    """The UUID, and kind and payload of each message behind it."""
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
    call_id, messages = truth(name)
    events: list[Event] = [Identified(call_id)]
    for kind, payload in messages:
        events.append(Digit(payload.decode()) if kind == 3 else Audio(RATES[kind], payload))
    return events


def expected_story(name: str) -> list[tuple[str, object]]:
    """What an app must be told."""
    told: list[tuple[str, object]] = [("joined", None)]
    for kind, payload in truth(name)[1]:
        told.append(("digit", payload.decode()) if kind == 3 else ("audio", (payload, RATES[kind])))
    return [*told, ("left", "caller_hangup")]


def in_rhythm(name: str, sure: int) -> Heard:
    """Kind and samples of the audio an app is told when a stream comes at its own pace.

    Only then can u-law under the label of slin be told from slin: the first ``sure`` frames go by before that.
    """
    voice = [each for each in truth(name)[1] if each[0] != 3]
    if name != "chan-ulaw-labelled-slin-2s":
        return voice
    return voice[:sure] + [(kind, ulaw_to_slin(payload)) for kind, payload in voice[sure:]]


def a_call(chunks: list[bytes]) -> list[tuple[str, object]]:
    """What an app is told when ``chunks`` come through the real protocol, switchboard and leg."""
    app = RecordingApp()
    exchange = InMemoryServer(app)
    line = exchange.connect()
    for chunk in chunks:
        line.send(chunk)
    line.hang_up()
    assert exchange.idle
    assert exchange.event_names()[0] == "call.started"
    assert exchange.event_names()[-1] == "call.ended"
    return [(told.method, told.value) for told in app.events]


def test_the_streams_are_what_their_readme_says() -> None:
    for name, (count, kind, size) in EXPECTED.items():
        messages = truth(name)[1]
        assert [(each[0], len(each[1])) for each in messages] == [(kind, size)] * count, name
        if kind == 3:
            assert b"".join(payload for _, payload in messages) == b"0123456789*#ABCD"
    assert {path.stem for path in CAPTURES.glob("*.bin")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_whole_and_byte_by_byte_are_the_same_call(name: str) -> None:
    data = stream(name)
    singly = [data[at : at + 1] for at in range(len(data))]
    assert parsed([data]) == expected_events(name)
    assert parsed(singly) == expected_events(name)
    assert a_call([data]) == expected_story(name)
    assert a_call(singly) == expected_story(name)


def test_every_split_of_the_digits_is_the_same_call() -> None:
    """One cut everywhere through everything, two cuts everywhere through the parser."""
    name = "app-digits"
    data = stream(name)
    for cut in range(len(data) + 1):
        assert a_call(pieces(data, [cut])) == expected_story(name), cut
    events = expected_events(name)
    for cuts in itertools.combinations(range(len(data)), 2):
        assert parsed(pieces(data, list(cuts))) == events, cuts


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - {"app-digits"}))
def test_every_split_of_the_first_frames_gives_the_same_events(name: str) -> None:
    """The UUID and two frames, cut once at every byte."""
    data = stream(name)[: 19 + 2 * (3 + EXPECTED[name][2])]
    events = expected_events(name)[:3]
    for cut in range(len(data) + 1):
        assert parsed(pieces(data, [cut])) == events, cut


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_pieces_are_the_same_call(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(EXPECTED)))
    whole = stream(name)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=30))
    assert parsed(pieces(whole, cuts)) == expected_events(name)
    assert a_call(pieces(whole, cuts)) == expected_story(name)


@pytest.mark.parametrize("most", [7, 342, 4_000])
def test_pieces_of_random_sizes_are_the_same_call(most: int) -> None:
    """The same pieces in every run: the seed is the size. 342 is UUID and first frame in one segment."""
    sizes = random.Random(most)
    for name in EXPECTED:
        data, chunks, at = stream(name), [], 0
        while at < len(data):
            size = sizes.randint(1, most)
            chunks.append(data[at : at + size])
            at += size
        assert a_call(chunks) == expected_story(name), name


def test_calls_interleaved_in_any_order_stay_apart() -> None:
    """All streams at once, a random piece of a random one at a time."""
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
            lines[name].hang_up()
    for name in EXPECTED:
        call_id = truth(name)[0]
        told = [(each.method, each.value) for each in app.events if each.leg.call_id == call_id]
        assert told == expected_story(name), name
    assert exchange.idle


@pytest.mark.parametrize("name", TIMED)
def test_in_its_own_rhythm_the_caller_gets_its_own_voice_and_silence_around_it(name: str) -> None:
    """As recorded: read by read at its time, with an app that sends everything back."""
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
    sure = sum(len(payload) == 160 for payload, _ in app.values("audio"))
    assert sure < 50, "a second"
    voice = in_rhythm(name, sure)
    assert app.values("audio") == [(payload, RATES[kind]) for kind, payload in voice]
    assert app.methods == [what for what, _ in expected_story(name)]
    sent = [(kind, payload) for _, kind, payload in line.audio()]
    assert [each for each in sent if any(each[1])] == [each for each in voice if any(each[1])]
    seconds = sum(len(payload) / 2 / RATES[kind] for kind, payload in sent)
    assert seconds == pytest.approx(exchange.now - line.writes[0][0], abs=0.1)
