"""The telephone in a real browser, whose microphone plays a tone: what the extension hears and answers."""

from __future__ import annotations

import math
import re
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import Console, browser
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TONE_HZ = 1000
SETUP_MS = 15_000
#: Tells an analyser of everything that goes to the loudspeaker.
TAP = """
const connect = AudioNode.prototype.connect
AudioNode.prototype.connect = function (to, ...rest) {
    if (to === this.context.destination) {
        window.tap = this.context.createAnalyser()
        window.tap.fftSize = 8192
        connect.call(this, window.tap)
    }
    return connect.call(this, to, ...rest)
}
"""
#: The loudest frequency at the loudspeaker in Hz, and how loud it is in dB.
LOUDEST = """() => {
    if (!window.tap) return [0, -200]
    const levels = new Float32Array(tap.frequencyBinCount)
    tap.getFloatFrequencyData(levels)
    const most = levels.reduce((best, level, i) => (level > levels[best] ? i : best), 0)
    return [most * tap.context.sampleRate / tap.fftSize, Math.max(-200, levels[most])]
}"""


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WAV file with a tone, which the browser plays again and again as its microphone."""
    path = tmp_path_factory.mktemp("microphone") / "tone.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(48_000)
        out.writeframes(
            b"".join(
                int(12_000 * math.sin(2 * math.pi * TONE_HZ * i / 48_000)).to_bytes(2, "little", signed=True)
                for i in range(96_000)
            )
        )
    return path


@pytest.fixture(scope="module")
def chromium(microphone: Path) -> Iterator[Browser]:
    options = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={microphone}")
    with browser(*options) as started:
        yield started


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page in English that may use the microphone; in the end no script may have complained."""
    context = chromium.new_context(locale="en-GB", permissions=["microphone"])
    context.add_init_script(TAP)
    page = context.new_page()
    console = Console(page)
    yield page
    context.close()
    refused = re.compile(
        "WebSocket connection to .* failed|status of 404|Failed to load resource: net::ERR"
    )  # the browser's own lines
    assert [error for error in console.errors if not refused.search(error)] == []


def call(page: Page, server: ServerProcess, number: str = "1000") -> None:
    page.goto(f"http://127.0.0.1:{server.api_port}/?plain-microphone")
    page.locator("#extensions tbody th", has_text=number).wait_for()
    page.locator("#phone-number").fill(number)
    page.locator("#phone-call").click()
    page.locator("#phone-state", has_text="In a call").wait_for(timeout=SETUP_MS)


def loudest_after(page: Page, enough: float, pauses: int = 50) -> tuple[float, float]:
    """The loudest frequency at the loudspeaker and its level, once it is at least ``enough`` dB or time is up."""
    heard, level = 0.0, -200.0
    for _ in range(pauses):
        heard, level = page.evaluate(LOUDEST)
        if level >= enough and abs(heard - TONE_HZ) < 20:
            break
        page.wait_for_timeout(100)
    return heard, level


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_is_said_is_heard_by_the_extension_and_answered_audibly(
    page: Page, tmp_path: Path, workers: str
) -> None:
    with ServerProcess(tmp_path / "server", {"VISITOR_APP": "echo", "WORKERS": workers}) as server:
        call(page, server)
        heard, level = loudest_after(page, -40)
        assert abs(heard - TONE_HZ) < 20
        assert level >= -40
        for key in "42#":
            page.get_by_role("button", name=f"Key {key}", exact=True).click()
        (live,) = [each for each in server.api("/api/calls")["calls"] if each["state"] == "live"]
        (leg,) = live["legs"]
        assert leg["rate"] == 16_000
        page.locator("#phone-hang-up").click()
        page.locator("#phone-note", has_text="You have hung up.").wait_for()
        ended = until_ended(page, server, live["call_id"])
        assert ended["outcome"] == "caller_hangup"
        assert [e["digit"] for e in ended["timeline"] if e["event"] == "leg.digit"] == ["4", "2", "#"]


def until_ended(page: Page, server: ServerProcess, call_id: str) -> dict[str, Any]:
    for _ in range(100):
        found = server.api(f"/api/calls/{call_id}")["call"]
        if found["state"] == "ended":
            return dict(found)
        page.wait_for_timeout(100)
    raise AssertionError(found)


def test_an_extension_that_says_nothing_is_not_heard(page: Page, tmp_path: Path) -> None:
    """The check of the test above: without an answer there is no tone at the loudspeaker."""
    with ServerProcess(tmp_path / "server", {"VISITOR_APP": "silence"}) as server:
        call(page, server)
        assert loudest_after(page, -40, pauses=20)[1] < -90
        (live,) = [each for each in server.api("/api/calls")["calls"] if each["state"] == "live"]
        page.context.close()  # the tab is closed: the call ends
        for _ in range(100):
            if server.api(f"/api/calls/{live['call_id']}")["call"]["state"] == "ended":
                return
        raise AssertionError(server.log())


def test_it_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "server", {"PHONE": "false"}) as server:
        page.goto(f"http://127.0.0.1:{server.api_port}/")
        page.locator("#phone-number").fill("1000")
        page.locator("#phone-call").click()
        page.locator("#phone-note", has_text="PHONE=false").wait_for(timeout=SETUP_MS)
