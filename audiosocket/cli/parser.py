"""The commands of ``audiosocket`` and their options."""

from __future__ import annotations

import argparse
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn
from uuid import UUID

from audiosocket.asterisk import dialplan
from audiosocket.cli import completion

PROGRAM = "audiosocket"
#: Commands whose options a module of their own reads.
DELEGATED = {
    "run": "run the server in the foreground (options: as of twistd audiosocket)",
    "dial": "call an AudioSocket server as Asterisk would, and report what happened",
    "schema": "create the table extension_ia and its triggers",
}
#: The checks of ``doctor``, in the order in which they are made.
DOCTOR_CHECKS = (
    "settings",
    "disk",
    "api",
    "process",
    "problems",
    "ports",
    "call",
    "database",
    "ami",
    "ari",
    "webhook",
    "dialplan",
)
#: What ``fleet`` does.
FLEET_ACTIONS = ("nodes", "drain", "undrain", "refresh", "hang-up")
EPILOG = """\
exit status: 0 done, 1 refused or something is wrong, 2 wrong arguments,
3 no server answers

Address and token of the HTTP API come from API_HOST, API_PORT and API_TOKEN,
in the environment or in .env; --url and --token-file name others. A token is
never given on the command line.
"""


class Parser(argparse.ArgumentParser):
    """A parser that reports wrong arguments in one line on stderr, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help explains)\n")


def make_parser() -> Parser:
    """Return the parser of all commands; those in `DELEGATED` have no options in it."""
    parser = Parser(
        prog=PROGRAM,
        description="An AudioSocket server for Asterisk: run it, check it, change what it does.",
        epilog=EPILOG,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=18, width=79),
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the versions of this server and of Twisted")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=Parser)
    output, remote = _output(), _remote()

    def add(name: str, sentence: str, *parents: Parser) -> argparse.ArgumentParser:
        described = f"{sentence[0].upper()}{sentence[1:]}."
        return commands.add_parser(name, help=sentence, description=described, parents=parents, allow_abbrev=False)

    add("status", "show the server, its extensions, and what is wrong now", remote, output)
    calls = add("calls", "show live calls, or one call with its timeline", remote, output)
    calls.add_argument("call_id", metavar="UUID", type=_uuid, nargs="?", help="show this call only")
    calls.add_argument("--all", action="store_true", help="show also the calls that have ended")
    hangup = add("hangup", "hang up one leg of a call", remote, output)
    hangup.add_argument("call_id", metavar="UUID", type=_uuid, help="the call")
    hangup.add_argument("--role", choices=("visitor", "resident"), default="visitor", help="which leg")
    hangup.add_argument("--reason", default="", help="why; it is written to the log")
    refresh = add("refresh", "read the table of extensions now", remote, output)
    refresh.add_argument("--dry-run", action="store_true", help="only say what would change")
    refresh.add_argument("--force", action="store_true", help="apply also a table that has lost most of its rows")
    drain = add("drain", "let the calls of this node end; the balancer sends new ones elsewhere", remote, output)
    drain.add_argument("--cancel", action="store_true", help="take part again")
    fleet = add("fleet", "show the nodes of a fleet, or have one or all of them do something", remote, output)
    fleet.add_argument("action", choices=FLEET_ACTIONS, help="what to do; nodes shows them")
    fleet.add_argument("call_id", metavar="UUID", type=_uuid, nargs="?", help="the call, for hang-up")
    fleet.add_argument("--node", default="", metavar="NAME", help="only this node (default: all)")
    fleet.add_argument("--role", choices=("visitor", "resident"), default="visitor", help="which leg, for hang-up")
    fleet.add_argument(
        "--force", action="store_true", help="refresh: apply also a table that lost most of its rows"
    )
    plan = add("dialplan", "print the lines of Asterisk's dialplan for extensions", remote, output)
    plan.add_argument("id", type=_id, nargs="?", help="the extension's id (default: all extensions)")
    plan.add_argument("--style", choices=dialplan.STYLES, default="plain", help="kind of Asterisk installation")
    plan.add_argument("--wideband", action="store_true", help="16 kHz instead of 8 kHz")
    plan.add_argument("--host", default="", help="address under which Asterisk reaches the server")
    apps = add("apps", "show the apps there are, or those of one extension", remote, output)
    apps.add_argument("id", type=_id, nargs="?", help="the id of an extension: what its legs run")
    balancer = add("haproxy", "print the configuration of a HAProxy in front of several nodes")
    _add_env_file(balancer)
    balancer.add_argument(
        "--node", action="append", metavar="[NAME=]ADDRESS", help="a node; repeated (default: two examples)"
    )
    balancer.add_argument(
        "--peer",
        action="append",
        metavar="[NAME=]ADDRESS",
        help="a HAProxy, this one first (default: one example)",
    )
    balancer.add_argument(
        "--bind", metavar="ADDRESS", default="", help="where it listens (default: the first --peer)"
    )
    balancer.add_argument(
        "--ports", metavar="FIRST-LAST", default="", help="(default: FLEET_PORTS, else those of the local file)"
    )
    balancer.add_argument("--api-port", metavar="PORT", default="", help="of the nodes (default: API_PORT)")
    check = add("check", "check settings, files, apps and sounds without starting anything", output)
    _add_env_file(check)
    check.add_argument("--reach", action="store_true", help="also connect to database, AMI, ARI and webhook")
    doctor = add("doctor", "find out from outside what keeps calls from working", remote, output)
    doctor.add_argument(
        "--only", action="append", choices=DOCTOR_CHECKS, default=[], help="make this check; may be repeated"
    )
    doctor.add_argument(
        "--host", default="", help="where the ports of extensions are reached (default: as the API)"
    )
    doctor.add_argument(
        "--extension", metavar="NUMBER", default="", help="call this one (default: one that echoes)"
    )
    shell = add("completion", "print the script that completes this command in a shell")
    shell.add_argument("shell", choices=completion.SHELLS)
    for name, sentence in DELEGATED.items():
        add(name, sentence)
    return parser


def wrong_fleet(given: argparse.Namespace) -> str:
    """Return what is wrong with the arguments of ``fleet``, empty for nothing: some are for one action only."""
    action = given.action
    if action == "hang-up" and given.call_id is None:
        return "hang-up needs the UUID of a call"
    if action != "hang-up" and given.call_id is not None:
        return f"{action} takes no UUID"
    if given.force and action != "refresh":
        return f"{action} takes no --force"
    return f"{action} takes no --node" if given.node and action == "nodes" else ""


def unknown_command(name: str) -> str:
    """Return the error for a command that does not exist, with the one it resembles; empty if it exists."""
    known = commands_of(make_parser())
    if name in known:
        return ""
    close = get_close_matches(name, known, 1)
    return f"there is no command {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command by name."""
    for action in parser._actions:  # argparse has no public way to the parsers of commands
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def completed_by(parser: argparse.ArgumentParser) -> completion.Command:
    """Return what a shell completes after the command of a parser."""
    options, words = list[completion.Option](), list[str]()
    for action in parser._actions:
        choices = tuple(map(str, action.choices or ()))
        sentence = " ".join((action.help or "").split()).replace("%%", "%")
        options += [
            completion.Option(name, sentence, action.nargs != 0, choices)
            for name in action.option_strings
            if name.startswith("--")
        ]
        words += () if action.option_strings else choices
    return completion.Command(parser.description or "", options, words)


def _output() -> Parser:
    parser = Parser(add_help=False)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a text")
    return parser


def _remote() -> Parser:
    parser = Parser(add_help=False)
    add = parser.add_argument
    add("--url", default="", help="the HTTP API (default: API_HOST and API_PORT, http://127.0.0.1:8082)")
    add("--token-file", type=Path, metavar="FILE", help="file whose first line is the token (default: API_TOKEN)")
    _add_env_file(parser)
    return parser


def _add_env_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--env-file", type=Path, metavar="FILE", default=Path(".env"), help="file with settings (default .env)"
    )


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a UUID like {UUID(int=0)}") from None


def _id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!r} is not the id of an extension (its number is another thing)")
    return int(text)
