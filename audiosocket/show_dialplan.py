"""Prints Asterisk's dialplan for extensions of the local file: ``python -m audiosocket.show_dialplan ID …``.

It reads what the server keeps in ``ramais_config.json`` and changes nothing there, so it may run beside it;
``GET /api/extensions/{id}/dialplan``, and ``/api/extensions/dialplan`` for all, answer with the same text.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dotenv import dotenv_values

from audiosocket.asterisk import dialplan
from audiosocket.errors import AudioSocketError, InvalidSetting, SourceUnavailable, UnknownExtension
from audiosocket.extensions.model import DEFAULT_EXTENSION, Extension
from audiosocket.extensions.validation import Validator
from audiosocket.provisioning.local_file import FILE_NAME


def running(path: Path) -> dict[int, Extension]:
    """The extensions in the file by id, the default one without a file; raises `SourceUnavailable`.

    Not `cache.load`: that sets a damaged file aside and removes leftovers, which is the server's business.
    """
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        return {DEFAULT_EXTENSION.id: DEFAULT_EXTENSION}
    except OSError as error:
        raise SourceUnavailable(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise SourceUnavailable(f"{path} is damaged ({error})") from None
    entries = document.get("ramais") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise SourceUnavailable(f'{path} has no list under "ramais"')
    validator = Validator()
    validator.add_entries(entries)
    return {extension.id: extension for extension in validator.result().extensions}


def setting(names: Iterable[str], env_file: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What the server that was started with these has under those names; raises `InvalidSetting`."""
    try:
        written = dotenv_values(env_file, interpolate=False)
    except (OSError, UnicodeDecodeError) as problem:
        raise InvalidSetting(f"--env-file: {str(env_file)!r} cannot be read ({problem})") from None
    return {name: environment.get(name) or written.get(name) or "" for name in names}


def chosen(ids: Sequence[int], known: Mapping[int, Extension], path: Path) -> list[Extension]:
    """These extensions; raises `UnknownExtension`."""
    for wanted in ids:
        if wanted not in known:
            has = ", ".join(map(str, sorted(known)[:20])) or "none"
            raise UnknownExtension(f"no extension has the id {wanted}; {path} has {has}")
    return [known[key] for key in dict.fromkeys(ids)]


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m audiosocket.show_dialplan",
        description="Prints the lines of Asterisk's dialplan for extensions, ready to paste.",
    )
    parser.add_argument("id", type=int, nargs="*", help="ids of extensions (default: all of them)")
    parser.add_argument("--style", choices=dialplan.STYLES, default="plain", help="for which Asterisk")
    parser.add_argument("--wideband", action="store_true", help="16 kHz instead of 8")
    parser.add_argument("--no-survival", action="store_true", help="do not keep callers while the server restarts")
    parser.add_argument(
        "--host",
        default="",
        help="where Asterisk reaches the server (default: the row's address, or BIND_ADDRESS)",
    )
    parser.add_argument("--data-dir", type=Path, help=f"directory of {FILE_NAME} (default: the server's)")
    parser.add_argument("--env-file", type=Path, default=Path(".env"), help="the server's settings (default .env)")
    options = parser.parse_args(arguments)
    try:
        settings = setting(("DATA_DIR", "BIND_ADDRESS"), options.env_file, environment)
        path = (options.data_dir or Path(settings["DATA_DIR"] or "data")) / FILE_NAME
        known, wrong = running(path), list[str]()
        if options.id:
            extensions = chosen(options.id, known, path)
        else:
            extensions, wrong = dialplan.select_printable([known[key] for key in sorted(known)], options.host)
        text = dialplan.lines(
            *extensions,
            style=options.style,
            host=options.host,
            otherwise=dialplan.place(settings["BIND_ADDRESS"].strip()),
            wideband=options.wideband,
            survive=not options.no_survival,
            wrong=wrong,
        )
    except AudioSocketError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    sys.stdout.write(text)
    sys.stderr.writelines(f"{sentence}\n" for sentence in wrong)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
