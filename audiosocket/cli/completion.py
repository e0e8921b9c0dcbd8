"""Scripts that complete the commands and options of ``audiosocket`` in a shell. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
# Completion of audiosocket in bash: source <(audiosocket completion bash)
_audiosocket() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" words=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}}" in
{cases}
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
    if (( CURRENT == 2 )); then
        compadd -- {commands}
        return
    fi
    case "$words[2]" in
{cases}
    esac
    _files
}}
compdef _audiosocket audiosocket
"""


def script(shell: str, options: Mapping[str, Sequence[str]], sentences: Mapping[str, str]) -> str:
    """Return the script for one of `SHELLS`; ``options`` are the words that may follow each command."""
    if shell == "fish":
        return _fish(options, sentences)
    commands = " ".join([*options, "--version", "--help"])
    if shell == "bash":
        cases = "\n".join(f'            {name}) words="{" ".join(words)}" ;;' for name, words in options.items())
        return _BASH.format(commands=commands, cases=cases)
    cases = "\n".join(f"        {name}) compadd -- {' '.join(words)} ;;" for name, words in options.items())
    return _ZSH.format(commands=commands, cases=cases)


def _fish(options: Mapping[str, Sequence[str]], sentences: Mapping[str, str]) -> str:
    lines = ["# Completion of audiosocket in fish: audiosocket completion fish | source"]
    for name in options:
        sentence = sentences.get(name, "").replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"complete -c audiosocket -n __fish_use_subcommand -f -a {name} -d '{sentence}'")
    for name, words in options.items():
        for word in words:
            what = f"-l {word[2:]}" if word.startswith("--") else f"-a {word}"
            lines.append(f"complete -c audiosocket -n '__fish_seen_subcommand_from {name}' {what}")
    return "\n".join(lines) + "\n"
