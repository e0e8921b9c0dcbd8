"""The sender of the client with a limit on what may wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from audiosocket.client.sender import FRAME_SECONDS, Sender


def samples(first: int, count: int) -> bytes:
    return b"".join((first + i).to_bytes(2, "little") for i in range(count))


def sent(sender: Sender, frames: int) -> bytes:
    sender.start(0.0)
    return b"".join(message[3:] for message in sender.due(frames * FRAME_SECONDS))


def test_audio_beyond_the_limit_is_cut_and_its_latest_part_is_kept() -> None:
    sender = Sender(8000, quiet=True, queue_limit_ms=(160, 60))
    sender.say(samples(0, 1280))
    assert not sender.idle
    sender.say(samples(1280, 1))  # 160 ms and a sample
    assert sent(sender, 20).rstrip(b"\0") == samples(1281 - 480, 480).rstrip(b"\0")


def test_without_a_limit_nothing_is_cut() -> None:
    sender = Sender(8000, quiet=True)
    sender.say(samples(0, 12_800))
    assert sent(sender, 80) == samples(0, 12_800)


@given(st.lists(st.integers(1, 900), max_size=30), st.sampled_from([8000, 16_000, 44_100]))
def test_what_waits_is_never_more_than_the_limit_and_begins_at_a_sample(pieces: list[int], rate: int) -> None:
    sender = Sender(rate, quiet=True, queue_limit_ms=(160, 60))
    total = 0
    for count in pieces:
        sender.say(samples(total % 30_000, count))
        total += count
    heard = sent(sender, 50)
    assert len(heard) <= (160 * rate // 1000 * 2) + 2 * rate // 50
    assert len(heard) % 2 == 0
