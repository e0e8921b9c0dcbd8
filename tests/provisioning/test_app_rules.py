"""``apps.toml``: what it may say, which entry wins, and what is said about a file that is wrong."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.errors import InvalidAppRules, InvalidParameter, UnknownApp
from audiosocket.extensions.model import Extension, Role
from audiosocket.interfaces import App, AppContext, AppFactory, CallPolicy
from audiosocket.provisioning.app_rules import AppRules, Chain, choose, parse
from audiosocket.provisioning.toml_lines import line_of


class Plain(App):
    """An app without parameters."""


class Bot(App):
    """An app that needs a URL."""

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)

    @staticmethod
    def parse_parameters(given: Mapping[str, Any], directory: Path) -> Mapping[str, Any]:
        for name in given:
            if name not in {"url", "headers", "fallback", "api_key"}:
                raise InvalidParameter(f"unknown parameter {name!r}", name)
        if "url" not in given:
            raise InvalidParameter("url is missing")
        return dict(given)


KNOWN: dict[str, AppFactory] = {"plain": Plain, "record": Plain, "bot": Bot, "bot2": Bot}


def load(spec: str) -> Sequence[tuple[str, AppFactory]]:
    found = []
    for name in spec.split("+"):
        if name not in KNOWN:
            raise UnknownApp(f"{name!r} is no app")
        found.append((name, KNOWN[name]))
    return found


DEFAULTS = {role: Chain("plain", tuple(load("plain")), f"{role.name}_APP") for role in Role}


def read(text: str, **values: str) -> AppRules:
    return parse(text, values, load, Path())


def extension(number: str = "1001", condominium: int = 15) -> Extension:
    return Extension(1, number, "r", "127.0.0.1", 9000, None, condominium)


def refused(text: str, **values: str) -> InvalidAppRules:
    with pytest.raises(InvalidAppRules) as caught:
        read(text, **values)
    return caught.value


EXAMPLE = """
[condominium.15]
visitor = "bot"
resident = "plain"
record = true
retention_days = 7

[condominium.15.bot]
url = "wss://bot.example/door/{condominio}?leg={role}&token=abc"
headers = { Authorization = "Bearer ${BOT_TOKEN}" }

[extension."1001"]
visitor = "bot2+record"
retention_days = 3
[extension."1001".bot2]
url = "wss://other.example/"
api_key = "literal"
"""


def test_the_most_specific_entry_wins() -> None:
    rules = read(EXAMPLE, BOT_TOKEN="t0p")
    mine = choose(rules, DEFAULTS, extension())
    neighbour = choose(rules, DEFAULTS, extension("1002"))
    stranger = choose(rules, DEFAULTS, extension("1003", 16))
    assert mine.chains[Role.VISITOR].names == ("bot2", "record")
    assert mine.chains[Role.VISITOR].origin == "extension 1001"
    assert mine.chains[Role.RESIDENT].origin == "condominium 15"
    assert neighbour.chains[Role.VISITOR].names == ("bot",)
    assert stranger.chains == DEFAULTS
    assert stranger.policy == CallPolicy()


def test_options_are_taken_one_by_one_and_tables_whole() -> None:
    rules = read(EXAMPLE, BOT_TOKEN="t0p")
    mine = choose(rules, DEFAULTS, extension())
    assert mine.policy == CallPolicy(record=True, retention_days=3)
    assert mine.parameters_of("bot2", Bot) == {"url": "wss://other.example/", "api_key": "literal"}
    assert mine.parameters_of("bot", Bot)["headers"] == {"Authorization": "Bearer t0p"}
    assert mine.parameters_of("plain", Plain) is None


def test_lists_of_numbers() -> None:
    rules = read('[condominium.15]\nbot_may_dial = ["_3XX"]\nbot_may_transfer_to = []\n')
    mine = choose(rules, DEFAULTS, extension())
    assert mine.policy == CallPolicy(bot_may_dial=("_3XX",))
    assert json.loads(json.dumps(mine.to_json()))["options"]["bot_may_dial"] == ["_3XX"]


def test_what_is_shown_has_no_secret() -> None:
    shown = str(choose(read(EXAMPLE, BOT_TOKEN="t0p"), DEFAULTS, extension()).to_json())
    for secret in ("t0p", "literal", "abc"):
        assert secret not in shown
    assert "wss://bot.example/door/{condominio}?leg={role}&token=***" in shown


def test_a_placeholder_in_a_url_is_masked_too() -> None:
    text = '[extension."1001"]\nvisitor = "bot"\n[extension."1001".bot]\nurl = "wss://b.example/${KEY}"\n'
    shown = choose(read(text, KEY="s3cret"), DEFAULTS, extension()).to_json()
    assert shown["parameters"]["bot"]["values"] == {"url": "wss://b.example/***"}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('[extension."1001"]\nvisitor = \n', 2, "not TOML"),
        ('\n[ramal."1001"]\nvisitor = "plain"\n', 2, "ramal"),
        ('[extension."1001"]\nvisitor = "nothing"\n', 2, "'nothing' is no app"),
        ('[extension."1001"]\nvisitor = "plain"\nvisiter = "plain"\n', 3, "visiter"),
        ("[condominium.abc]\n", 1, "abc"),
        ("[condominium.15]\nvisitor = 5\n", 2, "visitor must name an app"),
        ("[condominium.15]\nrecord = 1\n", 2, "record must be true or false"),
        ("[condominium.15]\nretention_days = true\n", 2, "whole number"),
        ("[condominium.15]\nretention_days = 0\n", 2, "1 to 36500"),
        ('[condominium.15]\ntransfer_context = "a b"\n', 2, "context"),
        ('[condominium.15]\nbot_may_dial = "302"\n', 2, "must be a list"),
        ('[condominium.15]\nbot_may_transfer_to = ["0", "a b"]\n', 2, "entry 2"),
        ("[condominium.15]\nbot_may_dial = [302]\n", 2, "entry 1"),
        ('[condominium.15]\nvisitor = "bot"\n', 2, "needs its table"),
        ('[condominium.15.bot]\nurl = "x"\ncolour = "red"\n', 3, "colour"),
        ('[condominium.15.bot]\nfallback = "x"\n', 1, "url is missing"),
        ("[condominium.15.plain]\na = 1\n", 1, "takes no parameters"),
        ("[condominium.15.unheard]\na = 1\n", 1, "unheard"),
        ('[condominium.15.bot]\nurl = "x"\napi_key = "${NO_SUCH}"\n', 3, "NO_SUCH"),
        ('[condominium.15.bot]\nurl = "x"\nheaders = { A = "${NO_SUCH}" }\n', 3, "NO_SUCH"),
        ("condominium = 5\n", 1, "must be tables"),
        ("[condominium]\n15 = 3\n", 2, "must be a table"),
    ],
)
def test_a_wrong_file_is_told_by_line_and_reason(text: str, line: int, says: str) -> None:
    error = refused(text)
    assert says in str(error)
    assert error.line == line


def test_no_value_of_the_environment_is_in_an_error() -> None:
    text = '[condominium.15.bot]\nurl = "x"\n"${SECRET}" = "${SECRET}"\n'
    assert "hush" not in str(refused(text, SECRET="hush"))


def test_an_extension_may_use_the_table_of_its_condominium() -> None:
    text = '[extension."1001"]\nvisitor = "bot"\n[condominium.15.bot]\nurl = "x"\n'
    chosen = choose(read(text), DEFAULTS, extension())
    assert chosen.parameters_of("bot", Bot) == {"url": "x"}
    elsewhere = choose(read(text), DEFAULTS, extension(condominium=16))
    with pytest.raises(InvalidParameter):
        elsewhere.parameters_of("bot", Bot)


@given(st.text(max_size=300))
def test_any_text_is_rules_or_a_refusal(text: str) -> None:
    with contextlib.suppress(InvalidAppRules):
        read(text)


def test_lines_of_keys_and_tables() -> None:
    assert line_of(EXAMPLE, ["condominium", "15"]) == 2
    assert line_of(EXAMPLE, ["condominium", "15", "retention_days"]) == 6
    assert line_of(EXAMPLE, ["condominium", "15", "bot", "headers"]) == 10
    assert line_of(EXAMPLE, ["extension", "1001", "visitor"]) == 13
    assert line_of(EXAMPLE, ["extension", "1001", "bot2"]) == 15
    assert line_of("a.b.c = 1\n", ["a", "b", "c"]) == 1
    assert line_of("", ["a"]) == 0
