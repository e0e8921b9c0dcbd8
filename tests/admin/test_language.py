"""Messages in the language that a client accepts."""

from __future__ import annotations

import pytest

from admin.language import prefers_english
from tests.support.admin_client import AdminClient


@pytest.mark.parametrize(
    ("accepted", "english"),
    [
        ("", False),
        ("en", True),
        ("en-GB,en;q=0.9", True),
        ("pt-BR,pt;q=0.9,en;q=0.8", False),
        ("en;q=0.9,pt;q=0.8", True),
        ("*", False),
        ("pt;q=0.5,*;q=0.8", True),
        ("fr", False),
        ("en;q=0", False),
        ("en;q=abc,;;,pt;q=", False),
        ("en; q=0.5", True),
    ],
)
def test_english_is_used_where_it_is_preferred(accepted: str, english: bool) -> None:
    assert prefers_english(accepted) is english


def test_a_change_is_confirmed_in_that_language() -> None:
    web = AdminClient()
    answer = web.request("POST", "/api/restart", {"extension_id": 0}, Accept_Language="en")
    assert answer.json()["message"] == "Extension ID 0 restarted"
    assert answer.headers["Content-Language"] == "en"
    answer = web.request("POST", "/api/restart", {"extension_id": 0}, Accept_Language="pt-BR, en;q=0.5")
    assert answer.json()["message"] == "Ramal ID 0 reiniciado com sucesso"
    assert answer.headers["Content-Language"] == "pt-BR"
