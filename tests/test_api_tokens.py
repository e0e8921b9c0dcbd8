"""The file of named tokens, and the key of the cookies."""

from __future__ import annotations

import stat
from hashlib import sha256
from pathlib import Path

import pytest

from audiosocket.api_tokens import ApiToken, parse_tokens, read_tokens, session_key
from audiosocket.errors import InvalidSetting

DIGEST = sha256(b"secret").hexdigest()
OTHER = sha256(b"other").hexdigest()


def test_a_line_has_name_digest_and_scope(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(
        f"\ufeff# who\n\nana {DIGEST} operate\nwall-board,sha256:{OTHER.upper()},READ\n", encoding="utf-8"
    )
    assert read_tokens(str(file)) == (
        ApiToken("ana", sha256(b"secret").digest(), "operate"),
        ApiToken("wall-board", sha256(b"other").digest(), "read"),
    )
    assert read_tokens("") == ()


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("secret-token-of-ana", "three words"),
        (f"ana {DIGEST}", "three words"),
        (f"ana {DIGEST} read write", "three words"),
        (f"a.na {DIGEST} read", "name"),
        (f"{'a' * 65} {DIGEST} read", "name"),
        ("ana secret-token-of-ana read", "SHA-256"),
        (f"ana {DIGEST}0 read", "SHA-256"),
        (f"ana {DIGEST} root", "read, operate, admin"),
        (f"first {OTHER} read", "taken"),
        (f"API_TOKEN {OTHER} read", "taken"),
        (f"second {DIGEST} read", "SHA-256"),
    ],
)
def test_a_wrong_line_is_named_and_not_repeated(line: str, word: str) -> None:
    with pytest.raises(InvalidSetting, match=r"API_TOKENS_FILE: line 2 of 'tokens'") as raised:
        parse_tokens([f"first {DIGEST} read", line], "tokens")
    assert word in str(raised.value)
    assert "secret-token-of-ana" not in str(raised.value)
    assert DIGEST not in str(raised.value)


def test_a_file_without_tokens_or_without_a_file_is_an_error(tmp_path: Path) -> None:
    """A server that was to have tokens must not start without any."""
    with pytest.raises(InvalidSetting, match="has no token"):
        parse_tokens(["# none"], "tokens")
    with pytest.raises(InvalidSetting, match="cannot be read"):
        read_tokens(str(tmp_path / "missing"))


def test_the_key_is_kept_and_private(tmp_path: Path) -> None:
    key = session_key(tmp_path)
    assert session_key(tmp_path) == key
    assert len(key) == 32
    assert stat.S_IMODE((tmp_path / "session.key").stat().st_mode) == 0o600
    (tmp_path / "session.key").write_bytes(b"")
    assert session_key(tmp_path) not in (key, b"")
    assert len(session_key(tmp_path / "missing")) == 32
