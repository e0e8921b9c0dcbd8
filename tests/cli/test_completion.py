"""Completion scripts, run in the shells that are installed: with a Tab on a terminal in bash and in zsh."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audiosocket.cli.__main__ import run
from audiosocket.cli.completion import SHELLS
from audiosocket.cli.parser import commands_of, make_parser
from tests.support.terminal import Terminal

Complete = Callable[[str], list[str]]

#: What makes a key show the line as it is edited.
_SHOW_LINE = {
    "bash": """show_line() { echo; echo "<$READLINE_LINE>"; }; bind -x '"\\C-xp": show_line'""",
    "zsh": """show_line() { print; print -r -- "<$BUFFER>" }; zle -N show_line; bindkey '^Xp' show_line""",
}
_INTERACTIVE = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}
_PREPARATION = {"bash": "PS1=", "zsh": "PS1= RPS1=; autoload -Uz compinit; compinit -D -u"}


def script(shell: str) -> str:
    out = io.StringIO()
    assert run(["completion", shell], {}, out) == 0
    return out.getvalue()


def needs(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")


@pytest.fixture(params=SHELLS)
def completed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Complete]:
    """Return what each shell makes of a line that is being typed: the words of it, or all words it offers."""
    shell = request.param
    needs(shell)
    (tmp_path / "completion").write_text(script(shell))
    (tmp_path / "there.env").write_text("")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    if shell == "fish":
        yield lambda line: _by_fish(line, tmp_path, environment)
        return
    with Terminal(_INTERACTIVE[shell], environment, str(tmp_path)) as terminal:
        terminal.write(f"{_PREPARATION[shell]}; source ./completion; {_SHOW_LINE[shell]}; echo RE''ADY\n")
        terminal.until("READY")

        def complete(line: str) -> list[str]:
            terminal.write(f"\x15{line}\t\x18p")
            return terminal.until(r"<(audiosocket [^>]*)>").group(1).split()

        yield complete


def _by_fish(line: str, directory: Path, environment: dict[str, str]) -> list[str]:
    """Return the line with the only completion that fish offers."""
    command = ["fish", "--no-config", "-c", "source ./completion; complete -C $argv[1]", line]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=True, cwd=directory, env=environment
    )
    assert done.stderr == ""
    offered = [each.partition("\t")[0] for each in done.stdout.splitlines()]
    *before, _last = line.split(" ")
    assert len(offered) == 1, offered
    return [*before, *offered]


@pytest.mark.slow
@pytest.mark.deadline(120)
def test_commands_options_choices_and_files_are_completed(completed: Complete) -> None:
    assert completed("audiosocket st") == ["audiosocket", "status"]
    assert completed("audiosocket --ve") == ["audiosocket", "--version"]
    assert completed("audiosocket refresh --dr") == ["audiosocket", "refresh", "--dry-run"]
    assert completed("audiosocket refresh --json --fo") == ["audiosocket", "refresh", "--json", "--force"]
    assert completed("audiosocket completion z") == ["audiosocket", "completion", "zsh"]
    assert completed("audiosocket hangup --role v") == ["audiosocket", "hangup", "--role", "visitor"]
    assert completed("audiosocket dialplan --style=fr") == ["audiosocket", "dialplan", "--style=freepbx"]
    assert completed("audiosocket status --env-file the") == ["audiosocket", "status", "--env-file", "there.env"]
    assert completed("audiosocket dial localhost:8080 --ke")[-1] == "--keyboard"
    assert completed("audiosocket schema --pr")[-1] == "--print"
    assert completed("audiosocket run --visitor")[-1] == "--visitor-app"
    assert completed("audiosocket run --db-pas")[-1] == "--db-password-file", "secrets are no options"


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_in_the_script(shell: str) -> None:
    text = script(shell)
    assert all(name in text for name in commands_of(make_parser()))
    needs(shell)
    subprocess.run([shell, "-n"], input=text, text=True, timeout=20, check=True)
