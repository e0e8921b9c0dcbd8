"""Tokens for one call."""

from __future__ import annotations

from uuid import uuid4

from audiosocket.bots.call_tokens import CallTokens, new_call_tokens
from audiosocket.settings import Settings


def test_a_token_is_valid_for_its_call_and_no_other() -> None:
    tokens = CallTokens("http://127.0.0.1:8082", "secret")
    one, other = uuid4(), uuid4()
    assert tokens.call_of(tokens.token(one)) == one
    stolen = f"{other.hex}.{tokens.token(one).partition('.')[2]}"
    wrong = ("", "é", tokens.token(one)[:-1], tokens.token(one) + "0", "\ud800", f"{one.hex}.", f".{one.hex}")
    for token in (stolen, *wrong, tokens.token(one).upper(), f"{one.hex}.\ud800", str(one)):
        assert tokens.call_of(token) is None
    assert CallTokens("", "another").call_of(tokens.token(one)) is None


def test_a_bot_is_told_where_the_api_is() -> None:
    call_id = uuid4()
    tokens = new_call_tokens(Settings.parse({"API_PORT": "9000"}))
    assert tokens.access(call_id) == (f"http://127.0.0.1:9000/api/calls/{call_id}", tokens.token(call_id))
    assert new_call_tokens(Settings.parse({"API_HOST": "::1"})).base_url == "http://[::1]:8082"
    anywhere = new_call_tokens(Settings.parse({"API_HOST": "0.0.0.0", "API_TOKEN": "x"}))
    assert anywhere.base_url == "http://127.0.0.1:8082"
    assert anywhere.secret not in repr(anywhere)
    assert anywhere.secret != tokens.secret
