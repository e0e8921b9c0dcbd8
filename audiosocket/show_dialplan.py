"""The command that prints Asterisk's dialplan for extensions: ``python -m audiosocket.show_dialplan [ID …]``.

It reads the server's ``ramais_config.json`` without changing it, so it may run beside the server.
``GET /api/extensions/{id}/dialplan``, and ``/api/extensions/dialplan`` for all, answer with the same text.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from audiosocket.asterisk import dialplan
from audiosocket.errors import AudioSocketError, SourceUnavailable, UnknownExtension
from audiosocket.extensions.model import DEFAULT_EXTENSION, Extension
from audiosocket.provisioning.local_file import FILE_NAME, read
from audiosocket.settings_files import merge, read_env_file


def running(path: Path) -> dict[int, Extension]:
    """Return the extensions in the file by id, the default one without a file; raises `SourceUnavailable`."""
    loaded = read(path)
    if loaded.trouble:
        raise SourceUnavailable(loaded.trouble)
    extensions = (DEFAULT_EXTENSION,) if loaded.extensions is None else loaded.extensions
    return {extension.id: extension for extension in extensions}


def chosen(ids: Sequence[int], known: Mapping[int, Extension], path: Path) -> list[Extension]:
    """Return the extensions with these ids, each once; raises `UnknownExtension`."""
    for wanted in ids:
        if wanted not in known:
            has = ", ".join(map(str, sorted(known)[:20])) or "none"
            raise UnknownExtension(f"no extension has the id {wanted}; {path} has {has}")
    return [known[key] for key in dict.fromkeys(ids)]


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m audiosocket.show_dialplan",
        description="Prints the lines of Asterisk's dialplan for extensions, ready to paste.",
    )
    parser.add_argument("id", type=int, nargs="*", help="ids of extensions (default: all)")
    parser.add_argument("--style", choices=dialplan.STYLES, default="plain", help="kind of Asterisk installation")
    parser.add_argument("--wideband", action="store_true", help="16 kHz instead of 8 kHz")
    parser.add_argument(
        "--no-survival", action="store_true", help="without the loop that keeps callers while the server restarts"
    )
    parser.add_argument(
        "--host",
        default="",
        help="address under which Asterisk reaches the server (default: the row's address, or BIND_ADDRESS)",
    )
    parser.add_argument("--data-dir", type=Path, help=f"directory of {FILE_NAME} (default: the server's)")
    parser.add_argument("--env-file", type=Path, default=Path(".env"), help="the server's settings (default .env)")
    options = parser.parse_args(arguments)
    try:
        values = merge(read_env_file(options.env_file, environment), environment)
        path = (options.data_dir or Path(values.get("DATA_DIR", "").strip() or "data")) / FILE_NAME
        known, wrong = running(path), list[str]()
        if options.id:
            extensions = chosen(options.id, known, path)
        else:
            extensions, wrong = dialplan.select_printable([known[key] for key in sorted(known)], options.host)
        text = dialplan.lines(
            *extensions,
            style=options.style,
            host=options.host,
            otherwise=dialplan.place(values.get("BIND_ADDRESS", "").strip()),
            wideband=options.wideband,
            survive=not options.no_survival,
            wrong=wrong,
        )
    except AudioSocketError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(text)
    sys.stderr.writelines(f"{sentence}\n" for sentence in wrong)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
