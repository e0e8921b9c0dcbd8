"""A stock Pipecat bot, a Realtime server of others and the bots of ``examples/bots``, unmodified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from twisted.internet.threads import deferToThread

from audiosocket.client.caller import Caller
from audiosocket.media.pcm import silence, tone
from tests.e2e.conftest import running_bot
from tests.support.loopback_server import LOOPBACK, reactor
from tests.support.server_process import ServerProcess

HERE = Path(__file__).parent
BOTS = Path(__file__).parents[2] / "examples" / "bots"
SPEECH = tone(8000, 300, 600, -12) + silence(8000, 200) + tone(8000, 500, 400, -12)


def rules(server: ServerProcess, app: str, url: str, more: str = "") -> None:
    data = server.directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    table = f'[extension."1000".{app}]\nurl = "{url}"\nfallback = "silence"\nconnect_seconds = 60\n{more}'
    (data / "apps.toml").write_text(f'[extension."1000"]\nvisitor = "{app}"\n{table}')


def sound(pcm: bytes) -> int:
    """Bytes of samples that are not digital silence."""
    return 2 * int(np.count_nonzero(np.frombuffer(pcm, "<i2", len(pcm) // 2)))


async def figures(server: ServerProcess) -> dict[str, Any]:
    """What the API shows of the latest call's bot, and that no fallback took over."""
    (call, *_) = (await deferToThread(server.api, "/api/calls"))["calls"]
    timeline = (await deferToThread(server.api, f"/api/calls/{call['call_id']}"))["call"]["timeline"]
    assert not [entry for entry in timeline if entry["event"] == "app.replaced"], timeline
    found: dict[str, Any] = call["legs"][0]["app"]["bot"]
    return found


@pytest.mark.deadline(240)
async def test_stock_pipecat_says_back_what_it_hears(bot_python: Path, tmp_path: Path) -> None:
    script = BOTS / "pipecat_bot.py"
    arguments = ("--host", "127.0.0.1", "--port", "{port}", "-t", "twilio")
    with running_bot(bot_python, script, *arguments, directory=tmp_path) as port:
        server = ServerProcess(tmp_path / "server")
        rules(server, "twilio", f"ws://127.0.0.1:{port}/ws")
        with server:
            caller = Caller(reactor)
            await caller.dial(LOOPBACK, server.visitor)
            # Pipecat imports its transport for the first call: what is said meanwhile nobody hears.
            caller.say((SPEECH + silence(8000, 1000)) * 90)
            await caller.until_heard(lambda heard: sound(heard) > 0.8 * len(SPEECH) * 5 / 6)
            caller.hang_up()
            report = await caller.ended
            assert report.ok, report.broken
            assert (await figures(server))["first_audio_ms"] > 0


@pytest.mark.deadline(240)
async def test_the_bot_of_the_documentation(bot_python: Path, tmp_path: Path) -> None:
    with running_bot(bot_python, BOTS / "echo_bot.py", "{port}", directory=tmp_path) as port:
        server = ServerProcess(tmp_path / "server")
        rules(server, "twilio", f"ws://127.0.0.1:{port}/")
        with server:
            caller = Caller(reactor)
            await caller.dial(LOOPBACK, server.visitor)
            await caller.until_heard(lambda heard: sound(heard) > 4700)  # the beep
            caller.say(silence(8000, 500) + SPEECH + silence(8000, 3000))
            await caller.until_heard(lambda heard: sound(heard) > 4800 + 0.8 * len(SPEECH) * 5 / 6)
            caller.press("#")
            report = await caller.ended
            assert (report.ok, report.ended_by) == (True, "server")


@pytest.mark.deadline(240)
async def test_the_fake_realtime_server_greets_and_is_interrupted(bot_python: Path, tmp_path: Path) -> None:
    with running_bot(bot_python, BOTS / "fake_realtime.py", "{port}", directory=tmp_path) as port:
        server = ServerProcess(tmp_path / "server")
        rules(server, "openai_realtime", f"ws://127.0.0.1:{port}/v1/realtime", 'model = "any"\ngreeting = true\n')
        with server:
            caller = Caller(reactor)
            await caller.dial(LOOPBACK, server.visitor)
            await caller.until_heard(lambda heard: sound(heard) > 8000)
            caller.say(tone(8000, 300, 600, -12) + silence(8000, 1200))  # while the greeting lasts
            heard = len(caller.heard)
            await caller.until_heard(heard + 16 * 2500)
            caller.hang_up()
            assert (await caller.ended).ok
            assert (await figures(server))["clears"] >= 1
    assert "the caller heard" in (tmp_path / "bot.log").read_text()


@pytest.mark.deadline(240)
async def test_a_realtime_server_of_others_greets_is_interrupted_and_answers(
    realtime_python: Path, tmp_path: Path
) -> None:
    """With ``audio_format`` left at ``auto``, though it confirms G.711 that it does not have."""
    with running_bot(realtime_python, HERE / "realtime_server.py", "{port}", directory=tmp_path) as port:
        server = ServerProcess(tmp_path / "server")
        rules(server, "openai_realtime", f"ws://127.0.0.1:{port}/v1/realtime", 'model = "any"\ngreeting = true\n')
        with server:
            caller = Caller(reactor)
            await caller.dial(LOOPBACK, server.visitor)
            await caller.until_heard(lambda heard: sound(heard) > 8000)
            caller.say(tone(8000, 300, 600, -12) + silence(8000, 1500))  # while the greeting lasts
            before = len(caller.heard)
            await caller.until_heard(lambda heard: sound(heard[before:]) > 16_000)
            await caller.until_said()
            caller.hang_up()
            assert (await caller.ended).ok
            found = await figures(server)
            assert found["clears"] == 1
            assert found["responses"] == 1
