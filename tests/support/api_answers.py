"""Checks of the answers of the HTTP API, and the body of a new extension."""

from __future__ import annotations

from typing import Any

from tests.support.admin_client import Response

NEW = {
    "ramal_ia": "2000",
    "ramal_retorno": "2001",
    "ip_servidor": "10.0.0.5",
    "porta_ia": 9000,
    "porta_retorno": "9001",
    "condominio_id": 7,
}


def error(answer: Response, status: int, *words: str) -> dict[str, Any]:
    """Check that the response is an error with the shape of all errors and these words in its message."""
    said = answer.json()
    assert (answer.status, said["status"]) == (status, "error"), said
    assert set(said) <= {"status", "message", "field"}
    assert all(word in said["message"] for word in words), said
    return said  # type: ignore[no-any-return]


def success(answer: Response, status: int = 200) -> dict[str, Any]:
    said = answer.json()
    assert (answer.status, said.pop("status")) == (status, "success"), said
    return said  # type: ignore[no-any-return]
