"""The entry point of the command ``audiosocket``, also ``python -m audiosocket.cli``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from audiosocket import __version__
from audiosocket.cli import completion
from audiosocket.cli.parser import (
    DELEGATED,
    DOCTOR_CHECKS,
    PROGRAM,
    commands_of,
    completed_by,
    make_parser,
    unknown_command,
    wrong_fleet,
)
from audiosocket.errors import AudioSocketError

#: Exit statuses: something was refused or is wrong, wrong arguments, no server answers.
WRONG, USAGE, UNREACHABLE = 1, 2, 3


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        status = run(sys.argv[1:], os.environ, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:  # as of "audiosocket status | head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = WRONG
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def run(arguments: Sequence[str], environment: Mapping[str, str], out: TextIO) -> int:
    """Run one command and return the exit status; wrong arguments raise `SystemExit`."""
    if arguments and arguments[0] in DELEGATED:
        return _delegate(arguments[0], arguments[1:], environment)
    parser = make_parser()
    if arguments and not arguments[0].startswith("-") and unknown_command(arguments[0]):
        parser.error(unknown_command(arguments[0]))
    given = parser.parse_args(arguments)
    if given.command == "fleet" and wrong_fleet(given):
        commands_of(parser)["fleet"].error(wrong_fleet(given))
    if given.version:
        print(versions(), file=out)
        return 0
    if given.command is None:
        parser.print_help(out)
        return USAGE
    if given.command == "completion":
        out.write(_completion(given.shell))
        return 0
    return _PROGRAMS.get(given.command, _ask)(given, environment, out)


def versions() -> str:
    """Return the versions of this server and of Twisted."""
    return f"{PROGRAM} {__version__}, Twisted {metadata.version('twisted')}"


def _delegate(command: str, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    # Imported late, as each takes a part of a second: Twisted, psycopg2, the server.
    if command == "run":
        from audiosocket.__main__ import main as run_server  # noqa: PLC0415

        sys.argv[1:] = list(arguments)
        run_server()
        return 0
    if command == "schema":
        from audiosocket import schema  # noqa: PLC0415

        return schema.main(arguments, environment, f"{PROGRAM} schema")
    from audiosocket import dial  # noqa: PLC0415

    dial.main(arguments, f"{PROGRAM} dial")
    return 0


def _check(given: Any, environment: Mapping[str, str], out: TextIO) -> int:
    from audiosocket.cli.check import check  # noqa: PLC0415 - imports most of the server
    from audiosocket.cli.findings import Finding, is_bad, lines, to_json  # noqa: PLC0415
    from audiosocket.cli.texts import style_for  # noqa: PLC0415
    from audiosocket.settings_files import merge, read_env_file  # noqa: PLC0415

    try:
        from_file = read_env_file(given.env_file, environment)
        values = merge(from_file, environment)
        found = check(values, [*from_file, *environment], lambda: values, reach=given.reach)
    except AudioSocketError as error:  # of the .env file: nothing else can be looked at
        found = [Finding("bad", str(error))]
    if given.json:
        print(json.dumps(to_json(found), ensure_ascii=False, indent=2), file=out)
    else:
        print("\n".join(lines(found, style_for(out, environment))), file=out)
    return WRONG if is_bad(found) else 0


def _doctor(given: Any, environment: Mapping[str, str], out: TextIO) -> int:
    from audiosocket.cli import doctor  # noqa: PLC0415 - imports most of the server
    from audiosocket.cli.api import find_api  # noqa: PLC0415
    from audiosocket.cli.texts import style_for  # noqa: PLC0415
    from audiosocket.settings_files import merge, read_env_file  # noqa: PLC0415

    report = doctor.Report(out, style_for(out, environment), as_json=given.json)
    try:
        from_file = read_env_file(given.env_file, environment)
        values = merge(from_file, environment)
        api = find_api(values, given.url, given.token_file)
    except AudioSocketError as error:  # without the address of the API nothing else can be looked at
        report.stop(str(error))
        return WRONG
    subject = doctor.Subject(values, [*from_file, *environment], api, given.host, given.extension)
    report.add(subject, given.only or DOCTOR_CHECKS)
    if report.unreachable:
        return UNREACHABLE
    return WRONG if report.is_bad else 0


def _ask(given: Any, environment: Mapping[str, str], out: TextIO) -> int:
    from audiosocket.cli.api import Refused, Unreachable, find_api  # noqa: PLC0415 - completion must be quick
    from audiosocket.cli.commands import COMMANDS, succeeded  # noqa: PLC0415
    from audiosocket.cli.texts import style_for  # noqa: PLC0415
    from audiosocket.runtime.log_format import escape  # noqa: PLC0415
    from audiosocket.settings_files import merge, read_env_file  # noqa: PLC0415

    try:
        values = merge(read_env_file(given.env_file, environment), environment)
        api = find_api(values, given.url, given.token_file)
        answer, lines = COMMANDS[given.command](api, given, style_for(out, environment))
        text = json.dumps(answer, ensure_ascii=False, indent=2) if given.json else "\n".join(lines)
    except AudioSocketError as error:
        if given.json:
            body = error.body if isinstance(error, Refused) else {"status": "error", "message": str(error)}
            print(json.dumps(body, ensure_ascii=False, indent=2), file=out)
        else:
            sys.stderr.write(f"{PROGRAM} {given.command}: {escape(str(error))}\n")
        return UNREACHABLE if isinstance(error, Unreachable) else WRONG
    except (KeyError, TypeError, AttributeError, IndexError):
        sys.stderr.write(
            f"{PROGRAM} {given.command}: the answer has another form; is the server of version {__version__}?\n"
        )
        return WRONG
    print(text, file=out)
    return 0 if succeeded(given, answer) else WRONG


def _completion(shell: str) -> str:
    from audiosocket.client.options import make_parser as make_dial_parser  # noqa: PLC0415
    from audiosocket.schema import make_parser as make_schema_parser  # noqa: PLC0415

    parsers = commands_of(make_parser())
    own = {"dial": make_dial_parser(), "schema": make_schema_parser()}
    commands = {
        name: replace(completed_by(own.get(name, parser)), sentence=parser.description or "")
        for name, parser in parsers.items()
    }
    return completion.script(shell, {**commands, "run": _run_command(commands["run"].sentence)})


def _run_command(sentence: str) -> completion.Command:
    from audiosocket.settings import catalogue  # noqa: PLC0415

    settings = [
        completion.Option(f"--{info.name.lower().replace('_', '-')}", info.help, takes_value=True)
        for info in catalogue()
        if not info.secret
    ]
    flags = [completion.Option(f"--{name}") for name in ("check", "reach", "version", "help")]
    return completion.Command(sentence, [completion.Option("--env-file", takes_value=True), *settings, *flags])


def _haproxy(given: Any, environment: Mapping[str, str], out: TextIO) -> int:
    from audiosocket.cli import haproxy  # noqa: PLC0415 - imports most of the server
    from audiosocket.provisioning.local_file import FILE_NAME  # noqa: PLC0415
    from audiosocket.settings import Settings  # noqa: PLC0415
    from audiosocket.settings_files import merge, read_env_file  # noqa: PLC0415
    from audiosocket.show_dialplan import running  # noqa: PLC0415

    try:
        values = merge(read_env_file(given.env_file, environment), environment)
        asked = {"FLEET_PORTS": given.ports, "API_PORT": given.api_port}
        needed = {name: asked.get(name) or values.get(name, "") for name in (*asked, "DATA_DIR")}
        settings = Settings.parse(needed)
        ports: Iterable[int] | None = settings.fleet_ports
        if ports is None:
            rows = running(Path(settings.data_dir) / FILE_NAME).values()
            ports = [port for row in rows for port in row.ports().values()]
        balancers = haproxy.parse_named(given.peer or ["10.0.0.21"], "lb")
        text = haproxy.configuration(
            nodes=haproxy.parse_named(given.node or ["10.0.0.31", "10.0.0.32"], "n"),
            balancers=sorted(balancers, key=lambda one: one.name),
            local=balancers[0],
            bind=given.bind or balancers[0].address,
            ports=ports,
            api_port=settings.api_port,
        )
    except AudioSocketError as error:
        sys.stderr.write(f"{PROGRAM} haproxy: {error}\n")
        return WRONG
    out.write(text)
    return 0


#: Commands that do not only ask the API.
_PROGRAMS = {"check": _check, "doctor": _doctor, "haproxy": _haproxy}


if __name__ == "__main__":
    main()
