"""How the operator page looks: widths, themes, languages, with a screen reader, and its pictures."""

from __future__ import annotations

import math
import os
import socket
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.support.browser import (
    SETUP_MS,
    Console,
    axe_core,
    open_page,
    phone_call,
    problem,
    rows,
    serious,
    until_answering,
)
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("width", [375, 1280, 2560])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_widths_themes_and_languages(chromium: Browser, server: ServerProcess, width: int, theme: str) -> None:
    """The page never scrolls sideways, and its theme and language are those that the browser wants."""
    locale = "pt-BR" if theme == "dark" else "en-US"
    context = chromium.new_context(
        locale=locale, viewport={"width": width, "height": 900}, color_scheme=cast("Any", theme)
    )
    page = context.new_page()
    console = Console(page)
    page.goto(f"http://127.0.0.1:{server.api_port}/")
    page.locator("#extensions tbody th", has_text="1000").wait_for()
    assert page.evaluate("() => document.documentElement.scrollWidth") == width
    assert page.evaluate("() => document.documentElement.lang") == ("pt-BR" if theme == "dark" else "en")
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(14, 19, 24)" if theme == "dark" else "rgb(238, 241, 244)")
    page.locator("#theme").click()
    page.locator("#language").click()
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") != background
    assert page.evaluate("() => document.documentElement.lang") == ("en" if theme == "dark" else "pt-BR")
    context.close()
    assert console.errors == []


def test_axe_finds_nothing_serious(page: Page, server: ServerProcess) -> None:
    """In both themes and languages, with a call open, and in a question."""
    source = axe_core()
    with phone_call(server.visitor):
        open_page(page, server)
        page.locator("#calls tbody button.link").wait_for(timeout=SETUP_MS)
        page.evaluate(source)
        found = serious(page)
        page.locator("#theme").click()
        page.locator("#language").click()
        found += serious(page)
        page.locator("#calls tbody button.link").click()
        page.locator("#one-call svg").wait_for()
        found += serious(page)
        page.keyboard.press("Escape")
        page.locator('#extensions [data-act="change"]').click()
        found += serious(page)
    assert found == []


def write_bursts(path: Path, seconds: int) -> None:
    """Write a WAV of tones of half a second and longer, with pauses, as somebody speaks."""
    rate = 8000
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        for second in range(seconds):
            loud = 9_000 if second % 3 else 0
            tone = (
                round(loud * math.sin(2 * math.pi * (300 + 40 * (second % 5)) * i / rate)) for i in range(rate)
            )
            out.writeframes(b"".join(value.to_bytes(2, "little", signed=True) for value in tone))


def test_pictures(page: Page, tmp_path: Path) -> None:
    """The pictures of README and docs; PAGE_PICTURES is the directory to write them to."""
    directory = Path(os.environ.get("PAGE_PICTURES") or tmp_path)
    some = rows(4)
    call_id = "7c1e04d2-5d0e-4b4e-9a57-0c1a53b8a3f1"
    settings = {"VISITOR_APP": "echo", "RESIDENT_APP": "echo", "ACCEPT_UNEXPECTED_RESIDENT": "true"}
    with socket.socket() as other:
        other.bind(("0.0.0.0", some[3]["porta_ia"]))
        other.listen()
        with ServerProcess(tmp_path / "server", settings, rows=some, wait=False) as server:
            until_answering(page, server)
            bursts = tmp_path / "bursts.wav"
            write_bursts(bursts, 40)
            speech = ("--play", str(bursts))
            visitor = ("--uuid", call_id, "--press", "102#@2", *speech)
            with phone_call(some[0]["porta_ia"], *visitor), phone_call(some[1]["porta_ia"], *speech):
                page.wait_for_timeout(4000)
                with phone_call(some[0]["porta_retorno"], "--uuid", call_id, "--press", "5@1", *speech):
                    page.wait_for_timeout(4000)
                    open_page(page, server)
                    problem(page, "portAlternative").wait_for()
                    page.wait_for_timeout(500)
                    page.set_viewport_size({"width": 1240, "height": 900})
                    page.wait_for_timeout(1500)
                    page.screenshot(path=directory / "page.png")
                page.goto(f"http://127.0.0.1:{server.api_port}/#/calls/{call_id}")
                page.reload()
                page.locator("#one-call svg rect.leg.resident").wait_for()
                page.locator("#one-call").screenshot(path=directory / "call.png")
    for name in ("page.png", "call.png"):
        assert 10_000 < (directory / name).stat().st_size < 300_000
