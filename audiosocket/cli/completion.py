"""Scripts that complete the commands and options of ``audiosocket`` in a shell. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
# Completion of audiosocket in bash: source <(audiosocket completion bash)
_audiosocket() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    COMPREPLY=()
    # bash splits --option=value into three words
    if [ "$current" = "=" ]; then
        current=""
    elif [ "$previous" = "=" ]; then
        previous="${{COMP_WORDS[COMP_CWORD-2]}}"
    fi
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}} $previous" in
{values}
        *)
            case "${{COMP_WORDS[1]}}" in
{words}
            esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _audiosocket audiosocket
"""

_ZSH = """\
#compdef audiosocket
# Completion of audiosocket in zsh: source <(audiosocket completion zsh)
_audiosocket() {{
    local previous="$words[CURRENT-1]"
    if [[ "$words[CURRENT]" == --*=* ]]; then
        previous="${{words[CURRENT]%%=*}}"
        compset -P '*='
    fi
    if (( CURRENT == 2 )); then
        compadd -- {commands}
        return
    fi
    case "$words[2] $previous" in
{values}
    *)
        case "$words[2]" in
{words}
        esac
        _files ;;
    esac
}}
compdef _audiosocket audiosocket
"""


@dataclass(frozen=True)
class Option:
    """An option such as ``--role``: whether a value follows, and which values there are where they are known."""

    name: str
    sentence: str = ""
    takes_value: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """What may follow the name of a command: its options, and ``words`` that are none."""

    sentence: str
    options: Sequence[Option]
    words: Sequence[str] = ()


def script(shell: str, commands: Mapping[str, Command]) -> str:
    """Return the script for one of `SHELLS`; ``commands`` are by name."""
    if shell == "fish":
        return "\n".join(_fish(commands)) + "\n"
    names = " ".join([*commands, "--version", "--help"])
    if shell == "bash":
        return _BASH.format(
            commands=names,
            values="\n".join(_bash_values(commands)),
            words="\n".join(f'            {name}) words="{_all_words(one)}" ;;' for name, one in commands.items()),
        )
    return _ZSH.format(
        commands=names,
        values="\n".join(_zsh_values(commands)),
        words="\n".join(f"        {name}) compadd -- {_all_words(one)} ;;" for name, one in commands.items()),
    )


def _all_words(command: Command) -> str:
    return " ".join([*command.words, *(option.name for option in command.options)])


def _bash_values(commands: Mapping[str, Command]) -> Iterator[str]:
    for pattern, choices in _patterns(commands):
        # Without words bash offers files.
        words = f'words="{" ".join(choices)}"' if choices else "return"
        yield f"        {pattern}) {words} ;;"


def _zsh_values(commands: Mapping[str, Command]) -> Iterator[str]:
    for pattern, choices in _patterns(commands):
        words = f"compadd -- {' '.join(choices)}" if choices else "_files"
        yield f"    {pattern}) {words} ;;"


def _patterns(commands: Mapping[str, Command]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what a case of the shell compares with a command and an option before the cursor, and the values."""
    for name, command in commands.items():
        free = [
            f'"{name} {option.name}"' for option in command.options if option.takes_value and not option.choices
        ]
        if free:
            yield "|".join(free), ()
        yield from ((f'"{name} {option.name}"', option.choices) for option in command.options if option.choices)


def _fish(commands: Mapping[str, Command]) -> Iterator[str]:
    yield "# Completion of audiosocket in fish: audiosocket completion fish | source"
    for name, command in commands.items():
        yield f"complete -c audiosocket -n __fish_use_subcommand -f -a {name} -d {_quoted(command.sentence)}"
    for name in ("version", "help"):
        yield f"complete -c audiosocket -n __fish_use_subcommand -f -l {name}"
    for name, command in commands.items():
        of_command = f"complete -c audiosocket -n '__fish_seen_subcommand_from {name}'"
        for word in command.words:
            yield f"{of_command} -f -a {word}"
        for option in command.options:
            value = f" -x -a {_quoted(' '.join(option.choices))}" if option.choices else " -r"
            yield (
                f"{of_command} -l {option.name.removeprefix('--')}{value if option.takes_value else ''} "
                f"-d {_quoted(option.sentence)}"
            )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
