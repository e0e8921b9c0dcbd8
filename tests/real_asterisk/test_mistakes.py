"""Mistakes in a dialplan, and what Asterisk and the server report, as in README.md."""

from __future__ import annotations

from typing import Any

import pytest

from tests.real_asterisk import sound, visit
from tests.real_asterisk.product import Serve, Server
from tests.real_asterisk.rig import Asterisk

pytestmark = [pytest.mark.asterisk, pytest.mark.deadline(30)]

DIALPLAN = """
[gate]
exten => uniqueid,1,Answer()
 same => n,AudioSocket(${{UNIQUEID}},{where})
exten => unanswered,1,AudioSocket(${{UUID()}},{where})
exten => codec,1,Answer()
 same => n,Dial(AudioSocket/{where}/${{UUID()}},,g)
[talks]
exten => s,1,Milliwatt()
"""


async def call(asterisk: Asterisk, server: Server, mistake: str, **more: Any) -> str:
    await asterisk.dialplan(DIALPLAN.format(where=f"{server.host}:{server.visitor_port}"))
    return await asterisk.originate(f"Local/{mistake}@gate/n", context="talks", extension="s", **more)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("uniqueid", "Failed to parse UUID"),
        ("unanswered", "Channel is not answered"),
    ],
)
async def test_a_call_that_never_reaches_the_server(
    asterisk: Asterisk, server: Server, mistake: str, said: str
) -> None:
    asterisk.expect(r"app_audiosocket\.c: ", r"res_audiosocket\.c: ")
    gone = asterisk.ami.wait_for(lambda event: event.get("Event") == "Hangup" and "@gate" in event["Channel"])
    await call(asterisk, server, mistake)
    await gone
    await asterisk.no_channels()
    assert await asterisk.logged(said)
    _, answer = await server.ask("GET", "/api/calls")
    assert answer["total"] == 0
    assert not [line for line in server.log() if " - ERROR - " in line]


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
async def test_g711_labelled_as_slin_is_reported_once_and_decoded(
    asterisk: Asterisk, serve: Serve, law: str
) -> None:
    server = await serve(app="record")
    for _ in range(2):
        await call(asterisk, server, "codec", codecs=law)
        (call_id,) = await server.arrived()
        (said,) = await server.events(call_id, "leg.codec", 1)
        assert said["codec"] == law
        begun = visit.leg(await server.call(call_id), "visitor")["frames_in"]
        await server.until_call(call_id, lambda call: visit.leg(call, "visitor")["frames_in"] > begun + 100)  # noqa: B023
        await server.hang_up(call_id)
        await server.left(call_id)
        rate, (heard, _) = sound.read_wav(await server.recording(call_id))
        assert (
            sound.strength(heard[-2 * rate :], rate, 1004) > 0.95
        )  # its last second; the first half is the probe
        await asterisk.no_channels()
    _, status = await server.ask("GET", "/api/status")
    assert status["mislabelled_codecs"] == {"1": law}
    (told,) = [line for line in server.log() if " - ERROR - " in line]
    assert f"Asterisk sends {law}" in told
    assert "c(slin)" in told
