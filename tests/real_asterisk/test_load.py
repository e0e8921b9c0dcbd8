"""Many callers at once: no call is lost or mixed up, and every frame is returned. For more calls see load.py."""

from __future__ import annotations

import pytest
from twisted.internet import defer

from tests.real_asterisk import sound, visit
from tests.real_asterisk.handset import Handset, PickUp
from tests.real_asterisk.product import Server
from tests.real_asterisk.rig import Asterisk

pytestmark = [pytest.mark.asterisk, pytest.mark.deadline(90)]

CALLS = 20
MS = 15_000


async def test_many_calls_at_once_lose_no_frame(asterisk: Asterisk, server: Server, pick_up: PickUp) -> None:
    await visit.load(asterisk, server)
    callers = [(await pick_up(context="audiosocket-visitor", extension="1000"))[0] for _ in range(CALLS)]
    calls = await server.arrived(CALLS)
    said = [sound.numbered_noise(8000, MS, seed) for seed in range(CALLS)]
    for caller, noise in zip(callers, said, strict=True):
        caller.play(noise)

    async def hear(caller: Handset, noise: bytes) -> bool:
        """Return whether the echo is complete; a stall of this machine delays frames, but loses none."""
        enough = len(noise) * 11 // 10
        await caller.listen(lambda heard: len(heard) > enough and heard.endswith(bytes(3200)), MS / 1000 + 20)
        return b"".join(sound.without_silence(bytes(caller.heard), 8000)) == noise

    whole = await defer.gatherResults(
        [defer.ensureDeferred(hear(*one)) for one in zip(callers, said, strict=True)], consumeErrors=True
    )
    assert whole == [True] * CALLS
    assert sorted(await server.calls()) == sorted(calls)
    for caller in callers:
        caller.hang_up()
    await visit.nothing_left(asterisk, server)
