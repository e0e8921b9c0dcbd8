"""Errors as an operator reads them."""

from __future__ import annotations

import pytest

from audiosocket.errors import describe_cause


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileNotFoundError(2, "No such file or directory", "/secret"), "No such file or directory"),
        (UnicodeDecodeError("utf-8", b"a secret \xff", 9, 10, "invalid start byte"), "byte 10 is not UTF-8"),
        (ValueError("a reason"), "a reason"),
    ],
)
def test_a_cause_is_described_without_the_text_that_was_read(error: Exception, text: str) -> None:
    assert describe_cause(error) == text
