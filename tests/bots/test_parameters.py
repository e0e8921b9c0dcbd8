"""The tables of the bot apps: what they may say, and that no error shows a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.bots.openai_realtime import PCM
from audiosocket.bots.parameters import (
    DEFAULT_FALLBACK,
    parse_asterisk_ws,
    parse_openai_realtime,
    parse_twilio,
)
from audiosocket.bots.url_template import PLACES, check_url, fill_url
from audiosocket.errors import InvalidParameter

Parse = Callable[[Mapping[str, Any], Path], Any]
URL = "wss://bot.example/door/{condominio}?leg={role}"


def refused(parse: Parse, directory: Path = Path(), **given: Any) -> InvalidParameter:
    with pytest.raises(InvalidParameter) as caught:
        parse(given, directory)
    return caught.value


def test_the_defaults_are_those_of_the_documentation() -> None:
    bot = parse_twilio({"url": URL}, Path()).bot
    assert (bot.connect_seconds, bot.retry_seconds, bot.fallback) == (3.0, 2.5, DEFAULT_FALLBACK)
    assert parse_asterisk_ws({"url": URL}, Path()).subprotocol == "media"


@pytest.mark.parametrize(
    ("parse", "given", "parameter"),
    [
        (parse_twilio, {}, "url"),
        (parse_twilio, {"url": 5}, "url"),
        (parse_twilio, {"url": URL, "colour": "red"}, "colour"),
        (parse_twilio, {"url": URL, "headers": {"A B": "x"}}, "headers"),
        (parse_twilio, {"url": URL, "headers": {"A": "x\ny"}}, "headers"),
        (parse_twilio, {"url": URL, "headers": "x"}, "headers"),
        (parse_twilio, {"url": URL, "connect_seconds": -1}, "connect_seconds"),
        (parse_twilio, {"url": URL, "connect_seconds": True}, "connect_seconds"),
        (parse_twilio, {"url": URL, "retry_seconds": float("nan")}, "retry_seconds"),
        (parse_twilio, {"url": URL, "ca_file": "none.pem"}, "ca_file"),
        (parse_twilio, {"url": URL, "parameters": {"a": []}}, "parameters"),
        (parse_asterisk_ws, {"url": URL, "subprotocol": "a b"}, "subprotocol"),
        (parse_openai_realtime, {}, "model"),
        (parse_openai_realtime, {"model": "m", "audio_format": "mp3"}, "audio_format"),
        (parse_openai_realtime, {"model": "m", "tools": ["open_gate"]}, "tools"),
        (parse_openai_realtime, {"model": "m", "tools": "note"}, "tools"),
        (parse_openai_realtime, {"model": "m", "greeting": 5}, "greeting"),
        (parse_openai_realtime, {"model": "m", "api_key": "a\r\nb"}, "api_key"),
        (parse_openai_realtime, {"model": "m", "instructions_file": "none.md"}, "instructions_file"),
        (parse_openai_realtime, {"model": "m", "turn_detection": "x"}, "turn_detection"),
    ],
)
def test_a_wrong_table_is_refused_by_the_name_of_the_parameter(
    parse: Parse, given: dict[str, Any], parameter: str
) -> None:
    assert refused(parse, **given).parameter == parameter


@pytest.mark.parametrize(
    "url",
    [
        "http://bot.example/",
        "bot.example",
        "",
        "wss://{condominio}.example/",
        "wss://bot.example:{ramal}/",
        "{role}://bot.example/",
        "wss://user:hush@bot.example/",
        "wss://bot.example/#x",
        "wss://bot.example/{color}",
        "wss://bot.example/{",
        "wss://bot example/",
        "wss:///path",
        "wss://bot.example:99999/",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_not_shown(url: str) -> None:
    error = refused(parse_twilio, url=url)
    assert error.parameter == "url"
    assert "hush" not in str(error)


@given(st.dictionaries(st.sampled_from(PLACES), st.text(max_size=20)))
def test_what_a_call_fills_in_leaves_neither_host_nor_its_part_of_the_path(values: dict[str, str]) -> None:
    template = check_url("wss://bot.example/a/{ramal}/{condominio}?leg={role}&x={retorno}&id={call_id}")
    clean = {place: values.get(place, "1").encode("utf-8", "replace").decode() for place in PLACES}
    url = fill_url(template, clean)
    assert url.startswith("wss://bot.example/a/")
    assert url.isascii()
    path, _, query = url.removeprefix("wss://bot.example").partition("?")
    assert path.count("/") == 3
    assert not {".", ".."} & set(path.split("/"))
    assert query.count("&") == 2
    assert query.count("=") == 3


def test_instructions_come_from_a_file_beside_the_rules(tmp_path: Path) -> None:
    (tmp_path / "door.md").write_text("Seja breve.", encoding="utf-8")
    found = parse_openai_realtime({"model": "m", "instructions_file": "door.md"}, tmp_path)
    assert found.config.instructions == "Seja breve."
    assert found.files == (tmp_path / "door.md",)
    both = {"model": "m", "instructions": "x", "instructions_file": "door.md"}
    assert refused(parse_openai_realtime, tmp_path, **both).parameter == "instructions"
    (tmp_path / "door.md").write_bytes(b"\xff")
    assert "UTF-8" in str(refused(parse_openai_realtime, tmp_path, model="m", instructions_file="door.md"))


def test_tools_are_offered_with_their_arguments() -> None:
    config = parse_openai_realtime({"model": "m", "tools": ["transfer", "hang_up"]}, Path()).config
    assert [tool["name"] for tool in config.tools] == ["hang_up", "transfer"]
    assert config.tools[1]["parameters"]["required"] == ["extension"]


def test_the_audio_format() -> None:
    assert parse_openai_realtime({"model": "m"}, Path()).config.format is None
    assert parse_openai_realtime({"model": "m", "audio_format": "pcm"}, Path()).config.format == PCM


def test_secrets_are_not_in_a_repr() -> None:
    given = {"url": URL, "headers": {"A": "hush"}, "signature_token": "hush", "parameters": {"t": "hush"}}
    assert "hush" not in repr(parse_twilio(given, Path()))
    assert "hush" not in repr(parse_openai_realtime({"model": "m", "api_key": "hush"}, Path()))
