"""Completion scripts, run in the shells that are installed."""

from __future__ import annotations

import io
import shutil
import subprocess

import pytest

from audiosocket.cli.__main__ import run
from audiosocket.cli.completion import SHELLS
from audiosocket.cli.parser import commands_of, make_parser


def script(shell: str) -> str:
    out = io.StringIO()
    assert run(["completion", shell], {}, out) == 0
    return out.getvalue()


def completed(*words: str) -> list[str]:
    """Return what bash offers for the last of ``words``."""
    line = " ".join(f"'{word}'" for word in words)
    ask = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _audiosocket; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script('bash')}\n{ask}"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_and_choices() -> None:
    assert completed("audiosocket", "st") == ["status"]
    assert completed("audiosocket", "dia") == ["dialplan", "dial"]
    assert completed("audiosocket", "--v") == ["--version"]
    assert completed("audiosocket", "refresh", "--d") == ["--dry-run"]
    assert completed("audiosocket", "refresh", "--json", "--f") == ["--force"]
    assert completed("audiosocket", "completion", "z") == ["zsh"]
    assert completed("audiosocket", "dial", "localhost:8080", "--ke") == ["--keyboard"]
    assert completed("audiosocket", "run", "--visitor") == ["--visitor-app"]
    assert completed("audiosocket", "run", "--db-password") == ["--db-password-file"], "secrets are no options"


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_in_the_script(shell: str) -> None:
    text = script(shell)
    assert all(name in text for name in commands_of(make_parser()))
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=text, text=True, timeout=20, check=True)
