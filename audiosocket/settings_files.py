"""The readers of settings files: ``.env``, and files that hold one secret."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dotenv.parser import Binding, parse_stream
from dotenv.variables import Variable, parse_variables

from audiosocket.errors import InvalidSetting, describe_cause
from audiosocket.secret_files import first_line, secret_line
from audiosocket.settings import SECRETS, Settings, catalogue

#: The beginning of a line that sets a name.
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")


def is_public(path: str | Path) -> bool:
    """Return whether the file exists and users other than its owner and group can read it."""
    try:
        return bool(os.stat(path).st_mode & stat.S_IROTH)
    except OSError:
        return False


def read_env_file(path: str | Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the names and values in a ``.env`` file, none when it does not exist.

    ``${NAME}`` and ``${NAME:-default}`` become the value of ``NAME`` in ``environment``, else in the file; a ``$``
    without a brace is kept. Raises `InvalidSetting` with file and line, never with their content, for a
    line that cannot be read and for a name that neither of the two sets.
    """
    try:
        with open(path, encoding="utf-8-sig") as source:
            bindings = list(parse_stream(source))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"--env-file: {str(path)!r} cannot be read: {describe_cause(error)}") from None
    for binding in bindings:
        _check_line(binding, path)
    written = {b.key: b for b in bindings if b.key is not None and b.value is not None}
    return {name: _filled(binding, written, environment, path) for name, binding in written.items()}


def merge(*sources: Mapping[str, str]) -> dict[str, str]:
    """Return the values of all sources; a later source wins, but a blank value counts as not set.

    Compose files pass ``API_TOKEN=`` when a variable is empty; that must not switch off what ``.env`` sets.
    """
    return {name: value for source in sources for name, value in source.items() if value.strip()}


def read_password(settings: Settings) -> str:
    """Return DB_PASSWORD, or the first line of DB_PASSWORD_FILE; blocks. Raises `InvalidSetting`."""
    if not settings.db_password_file:
        return settings.db_password
    return first_line("DB_PASSWORD_FILE", settings.db_password_file)


def read_secret(settings: Settings, name: str) -> str:
    """Return one of `SECRETS`, or the first line of its file; blocks. Raises `InvalidSetting`."""
    path = getattr(settings, f"{name.lower()}_file")
    if name == "DB_PASSWORD":
        return read_password(settings)  # an empty one is for a server that asks for none
    return secret_line(f"{name}_FILE", path) if path else str(getattr(settings, name.lower()))


def with_absolute_secret_files(settings: Settings) -> Settings:
    """Return the settings with absolute paths of secrets: twistd changes the working directory of a daemon."""
    names = [f"{name.lower()}_file" for name in SECRETS]
    paths = {name: getattr(settings, name) for name in names}
    return replace(settings, **{name: os.path.abspath(path) for name, path in paths.items() if path})


def _check_line(binding: Binding, path: str | Path) -> None:
    if binding.error:
        # The parser gives up a whole line; blank lines before it belong to the binding.
        skipped = len(binding.original.string) - len(binding.original.string.lstrip())
        line = binding.original.line + binding.original.string[:skipped].count("\n")
        raise _bad_line(
            path, line, "write NAME=value; put a value with quotes in it into the other kind of quotes"
        )
    if binding.key is not None and binding.value is None:
        raise _bad_line(path, _line_of(binding), "a name without '='; write NAME=value")
    known = {info.name for info in catalogue()}
    for offset, text in enumerate((binding.value or "").splitlines()[1:], start=1):
        found = _ASSIGNMENT.match(text)
        if found and found[1] in known:
            reason = f"it is inside the quotes that line {_line_of(binding)} opens; close them there"
            raise _bad_line(path, _line_of(binding) + offset, reason)


def _line_of(binding: Binding) -> int:
    """Return the line of a binding's name; the parser counts from the blank lines before it."""
    text = binding.original.string
    return int(binding.original.line) + text[: len(text) - len(text.lstrip())].count("\n")


def _filled(
    binding: Binding, written: Mapping[str, Binding], environment: Mapping[str, str], path: str | Path
) -> str:
    return _Interpolation(written, environment, path, _line_of(binding), str(binding.key)).value_of(binding, ())


class _Interpolation:
    """The value of one name with its variables filled in."""

    def __init__(
        self,
        written: Mapping[str, Binding],
        environment: Mapping[str, str],
        path: str | Path,
        line: int,
        setting: str,
    ) -> None:
        self._written = written
        self._environment = environment
        self._path = path
        self._line = line
        self._setting = setting

    def value_of(self, binding: Binding, within: tuple[str, ...]) -> str:
        """Return the value of ``binding``; ``within`` are the names that are being filled in around it."""
        return "".join(
            self._variable(atom, (*within, str(binding.key))) if isinstance(atom, Variable) else atom.resolve({})
            for atom in parse_variables(binding.value or "")
        )

    def _variable(self, variable: Variable, within: tuple[str, ...]) -> str:
        name = variable.name
        if self._environment.get(name, "").strip():
            return self._environment[name]
        if name in self._written and name not in within:
            value = self.value_of(self._written[name], within)
            if value.strip() or variable.default is None:
                return value
        if variable.default is None:
            # The name may be part of a secret that contains "${".
            reason = (
                f"{self._setting} refers to a ${{NAME}} that neither the environment nor the file sets; set it, "
                "or keep a secret that contains '${' in a file of its own (DB_PASSWORD_FILE)"
            )
            raise _bad_line(self._path, self._line, reason)
        return variable.default


def _bad_line(path: str | Path, line: int, reason: str) -> InvalidSetting:
    return InvalidSetting(f"--env-file: line {line} of {str(path)!r} cannot be read: {reason}")
