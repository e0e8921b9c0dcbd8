"""The file of tokens is read again while the server runs; a wrong one changes nothing and is reported."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from admin.tokens_file import LOOK_SECONDS, TokensFile
from audiosocket.api_tokens import ApiToken, KnownTokens, read_tokens
from tests.support.logged_events import LoggedEvents

ROOT = ApiToken.of("text-of-the-root-token")


def line(name: str, scope: str = "read") -> str:
    return f"{name} {sha256(name.encode()).hexdigest()} {scope}\n"


class Setup:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "tokens"
        self.clock = Clock()
        self.path.write_text(line("ana"))
        self.tokens = KnownTokens([ROOT, *read_tokens(str(self.path))])
        self.file = TokensFile(str(self.path), [ROOT], self.tokens, maybeDeferred, self.clock)
        self.file.startService()

    def names(self) -> list[str]:
        return [token.name for token in self.tokens]

    def look(self) -> None:
        self.clock.advance(LOOK_SECONDS)


@pytest.fixture
def here(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_a_changed_file_is_in_force_at_the_next_look(here: Setup) -> None:
    here.path.write_text(line("ana", "admin") + line("bia"))
    here.look()
    assert here.names() == ["API_TOKEN", "ana", "bia"]
    changed = here.tokens.get("ana")
    assert changed is not None
    assert changed.scope == "admin"
    here.path.write_text(line("bia"))
    here.file.read_again()
    assert here.names() == ["API_TOKEN", "bia"]
    assert here.file.to_json() == {
        "file": str(here.path),
        "state": "used",
        "reason": "",
        "names": ["API_TOKEN", "bia"],
    }


@pytest.mark.parametrize("text", ["", "ana secret-text-in-the-wrong-place read\n", None])
def test_a_wrong_file_changes_nothing_and_is_reported_once(here: Setup, text: str | None) -> None:
    if text is None:
        here.path.unlink()
    else:
        here.path.write_text(text)
    with LoggedEvents() as logged:
        here.look()
        assert here.file.to_json()["state"] == "used", "it may be half written"
        for _ in range(3):
            here.look()
        shown = here.file.to_json()
        assert (here.names(), shown["state"]) == (["API_TOKEN", "ana"], "rejected")
        assert logged.text.count("stay in force") == 1
        assert "secret-text" not in logged.text + shown["reason"]
        here.path.write_text(line("bia"))
        here.look()
    assert (here.names(), here.file.to_json()["reason"]) == (["API_TOKEN", "bia"], "")


def test_a_file_that_is_replaced_by_one_of_the_same_size_is_noticed(here: Setup) -> None:
    other = here.path.with_name("new")
    other.write_text(line("bia"))
    other.replace(here.path)
    here.look()
    assert here.names() == ["API_TOKEN", "bia"]


def test_a_server_that_needs_tokens_never_opens() -> None:
    tokens = KnownTokens([ROOT])
    with pytest.raises(ValueError, match="decided at the start"):
        tokens.replace([])
    assert tokens.get("API_TOKEN") == ROOT
    with pytest.raises(ValueError, match="decided at the start"):
        KnownTokens().replace([ROOT])


def test_looks_do_not_overlap_and_end_with_the_service(tmp_path: Path) -> None:
    here = Setup(tmp_path)
    running: list[Deferred[None]] = []

    def in_thread(*_: object) -> Deferred[None]:
        running.append(Deferred())
        return running[-1]

    file = TokensFile(str(here.path), [ROOT], here.tokens, in_thread, here.clock)
    file.startService()
    file.read_again()
    assert len(running) == 1
    running[0].callback(None)
    file.stopService()
    here.clock.advance(3 * LOOK_SECONDS)
    assert len(running) == 1


def test_without_a_file_nothing_is_read() -> None:
    clock = Clock()
    file = TokensFile("", [], KnownTokens(), maybeDeferred, clock)
    file.startService()
    file.read_again()
    file.stopService()
    assert clock.getDelayedCalls() == []
    assert file.to_json() == {"file": "", "state": "absent", "reason": "", "names": []}


def test_a_file_with_the_one_token_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path, clock = tmp_path / "token", Clock()
    path.write_text("the first token\n")
    tokens = KnownTokens(read_tokens("", str(path)))
    file = TokensFile("", [], tokens, maybeDeferred, clock, str(path))
    file.startService()
    assert list(tokens) == [ApiToken.of("the first token")]
    path.write_text("the second token\n")
    clock.advance(LOOK_SECONDS)
    assert list(tokens) == [ApiToken.of("the second token")]
    path.unlink()
    clock.advance(LOOK_SECONDS)
    clock.advance(LOOK_SECONDS)
    assert list(tokens) == [ApiToken.of("the second token")]
    shown = file.to_json()
    assert (shown["file"], shown["state"]) == (str(path), "rejected")
    assert shown["reason"].startswith("API_TOKEN_FILE: ")
    file.stopService()


def test_both_files_are_in_force_together(here: Setup, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("the one token")
    tokens = read_tokens(str(here.path), str(path))
    assert [token.name for token in tokens] == ["API_TOKEN", "ana"]
