"""The options of ``twistd audiosocket``, read together with the environment and ``.env``, and checked.

A wrong setting ends the start with one line and exit status 1 before anything listens.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from twisted.python import usage

from audiosocket import __version__
from audiosocket.api_tokens import read_tokens
from audiosocket.apps import registry as app_registry
from audiosocket.cli.check import check
from audiosocket.cli.findings import is_bad, lines
from audiosocket.cli.texts import style_for
from audiosocket.errors import AudioSocketError, InvalidSetting, UnknownApp, describe_cause
from audiosocket.extensions.model import Role
from audiosocket.provisioning.extension_service import is_local
from audiosocket.returncalls.backends.selection import check as check_return_calls
from audiosocket.runtime.log_format import escape
from audiosocket.runtime.logs import FILE_NAME as LOG_FILE_NAME
from audiosocket.runtime.logs import LogPlan, process_log
from audiosocket.server.assembly import Apps
from audiosocket.setting_advice import misspelt
from audiosocket.settings import SECRETS, Settings, catalogue
from audiosocket.settings_files import merge, read_env_file, read_password, read_secret, with_absolute_secret_files
from audiosocket.upgrade.channel import REFUSED, HandOverChannel
from audiosocket.upgrade.predecessor import VARIABLE

#: What no file that is created may allow, and the umask while the process has none of its own.
WRITABLE_BY_OTHERS, PRIVATE_UMASK = 0o022, 0o077


def _option(name: str) -> str:
    return name.lower().replace("_", "-")


def _rejected(name: str) -> Callable[[usage.Options, str], None]:
    """Return an option that is refused; without it, getopt takes it for an abbreviation of its file's."""

    def reject(_: usage.Options, __: str) -> None:
        raise usage.UsageError(f"{name} is a setting, not an option: other users can read a command line")

    reject.__doc__ = (
        f"rejected: every user of the machine can read a command line; use {name} or --{_option(name)}-file"
    )
    return reject


class Options(usage.Options):
    """The settings as options, secrets excepted. Precedence: option, environment, .env, default."""

    synopsis = "[options]"
    longdesc = (
        "Every option has the name of a setting (--api-port is API_PORT), which may also be in the environment "
        "or in the .env file. Secrets "
        f"({', '.join(info.name for info in catalogue() if info.secret)}) are not options."
    )
    optParameters = [
        ["env-file", None, ".env", "file with settings; it need not exist"],
        *[
            [_option(info.name), None, None, f"{info.help} [default: {info.default or 'empty'}]"]
            for info in catalogue()
            if not info.secret
        ],
    ]

    optFlags = [
        [
            "check",
            None,
            "check settings, files, apps and sounds, print a line for each finding, and exit with 0 or 1",
        ],
        ["reach", None, "with --check: also connect to database, AMI, ARI and webhook"],
    ]

    def opt_version(self) -> NoReturn:
        """print the versions of this server and of Twisted, and exit"""
        sys.stdout.write(f"audiosocket {__version__}, Twisted {metadata.version('twisted')}\n")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        #: The arguments of the subcommand, for the next process.
        self.arguments = list(options or ())
        super().parseOptions(options)

    def parseArgs(self, *args: str) -> None:
        if args:
            # Not repeated: after a misplaced space it may be a secret.
            raise usage.UsageError(f"{len(args)} unexpected argument(s): settings are given as --option=value")

    def postOptions(self) -> None:
        self.upgrade = _inherited_channel()
        if self["reach"] and not self["check"]:
            raise usage.UsageError("--reach goes with --check")
        try:
            self.given, from_file = self._given()
            if self["check"]:
                findings = check(
                    self.given, [*from_file, *os.environ], self.placeholders, reach=bool(self["reach"])
                )
                sys.stdout.writelines(f"{line}\n" for line in lines(findings, style_for(sys.stdout, os.environ)))
                raise SystemExit(1 if is_bad(findings) else 0)
            self.settings = with_absolute_secret_files(Settings.parse(self.given))
            for name in SECRETS:
                read_secret(self.settings, name)
            self.password = read_password(self.settings)
            self.api_tokens = read_tokens(self.settings.api_tokens_file, self.settings.api_token_file)
            self.apps = {
                Role.VISITOR: _load_apps("VISITOR_APP", self.settings.visitor_app),
                Role.RESIDENT: _load_apps("RESIDENT_APP", self.settings.resident_app),
            }
            _check_bind_address(self.settings.bind_address)
            check_return_calls(self.settings)
            if self.upgrade is not None and self.settings.workers > 1:
                raise InvalidSetting("WORKERS: several processes cannot replace a single one; restart the service")
            if self.upgrade is not None and self.settings.fleet:
                raise InvalidSetting("FLEET: a node of a fleet cannot hand its calls over; drain and restart it")
            self._prepare_directories()
            self._choose_log()
        except AudioSocketError as error:
            if self.upgrade is not None:
                self.upgrade.send(REFUSED + str(error).encode())
            _fail(str(error))
        self.misspelt = misspelt([*from_file, *os.environ])
        self.has_env_file = self["env-file"] == ".env" or os.path.exists(self["env-file"])
        self._choose_pidfile()

    @property
    def pid_file(self) -> str:
        """The pid file that twistd writes, an empty text for none."""
        top: Any = self.parent
        return os.path.abspath(top["pidfile"]) if top is not None and top.get("pidfile") else ""

    @property
    def command(self) -> list[str]:
        """The command line of the next process at an upgrade.

        That of this process; but twistd must neither go into the background once more, nor look at the pid file.
        """
        top: Any = self.parent
        if self.pid_file or (top is not None and not top.get("nodaemon")):
            return [sys.executable, "-m", "audiosocket", *self.arguments]
        return [sys.executable, *sys.orig_argv[1:]]

    def placeholders(self) -> dict[str, str]:
        """Return the environment merged with the ``.env`` file as it is now; blocks. Raises `InvalidSetting`."""
        return merge(read_env_file(self.env_file, self.environment), self.environment)

    def settings_now(self) -> Settings:
        """Return the settings with the ``.env`` file as it is now; blocks. Raises `InvalidSetting`."""
        return Settings.parse(merge(self.placeholders(), self._from_command_line()))

    def current_password(self) -> str | Callable[[], str]:
        """Return the password of the database, or what reads it from its file."""
        if not self.settings.db_password_file:
            return self.password
        return partial(read_password, self.settings)

    def _given(self) -> tuple[dict[str, str], Mapping[str, str]]:
        # An absolute path, as twistd changes the working directory of a daemon.
        self.env_file = os.path.abspath(str(self["env-file"]))
        self.environment = dict(os.environ)
        from_file = read_env_file(str(self["env-file"]), self.environment)
        return merge(from_file, self.environment, self._from_command_line()), from_file

    def _from_command_line(self) -> dict[str, str]:
        return {info.name: self[_option(info.name)] or "" for info in catalogue() if not info.secret}

    def _prepare_directories(self) -> None:
        os.umask(os.umask(PRIVATE_UMASK) | WRITABLE_BY_OTHERS)  # also what apps and libraries create
        for name in ("data_dir", "log_dir"):
            path = Path(getattr(self.settings, name))
            try:
                path.mkdir(parents=True, exist_ok=True)
            except (OSError, ValueError) as error:
                raise InvalidSetting(
                    f"{name.upper()}: {str(path)!r} cannot be created: {describe_cause(error)}"
                ) from None
            if not os.access(path, os.W_OK | os.X_OK):
                raise InvalidSetting(f"{name.upper()}: {str(path)!r} is not writable by this user")

    def _choose_log(self) -> None:
        """Log to our file unless twistd was given another log."""
        top: Any = self.parent
        if top is None or "logger" not in top or top["logger"] or top["logfile"] or top.get("syslog"):
            return
        settings = self.settings
        process_log.plan = plan = LogPlan(
            Path(settings.log_dir).absolute(),
            settings.log_format,
            settings.log_level,
            settings.log_max_mb * 1_000_000,
            settings.log_files,
            echo=bool(top["nodaemon"]),
        )
        try:
            plan.check()
        except OSError as error:
            raise InvalidSetting(
                f"LOG_DIR: {settings.log_dir!r} contains a {LOG_FILE_NAME} that cannot be written: "
                f"{describe_cause(error)}"
            ) from None
        top["logger"] = "audiosocket.runtime.logs.process_log"

    def _choose_pidfile(self) -> None:
        """Use a pid file of our own in the background, and none in the foreground.

        Two instances must not share twistd's default file. In the foreground a file left by a killed process
        would stop twistd from starting when its process id is in use again, as it always is in a container.
        """
        top: Any = self.parent
        if top is None or top.get("pidfile") != "twistd.pid":
            return
        if top["nodaemon"]:
            top["pidfile"] = ""
        elif Path(self.settings.data_dir).absolute() != Path("data").absolute():
            top["pidfile"] = str(Path(self.settings.data_dir).absolute() / "twistd.pid")


for _name in SECRETS:
    setattr(Options, f"opt_{_name.lower()}", _rejected(_name))


def _load_apps(name: str, spec: str) -> Apps:
    try:
        return app_registry.load(spec)
    except UnknownApp as error:
        raise InvalidSetting(f"{name}: {error}") from None


def _check_bind_address(address: str) -> None:
    if address and not is_local(address):
        raise InvalidSetting(f"BIND_ADDRESS: {address!r} is not an address of this machine")


def _inherited_channel() -> HandOverChannel | None:
    """Return the channel to the process that this one is to replace; None at an ordinary start."""
    descriptor = os.environ.pop(VARIABLE, "")
    return HandOverChannel.of(int(descriptor)) if descriptor.isdecimal() else None


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"audiosocket: {escape(message)}\n")
    raise SystemExit(1)
