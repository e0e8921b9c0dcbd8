"""``twistd audiosocket``: options and composition. The only reader of the environment.

Everything is built here and handed to each other as arguments; whatever is wrong with a setting stops
the start with one line and exit status 1 before anything listens.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dotenv import dotenv_values
from twisted.application.service import Service
from twisted.logger import Logger
from twisted.python import usage

from admin.resource import make_site
from audiosocket.apps import registry as app_registry
from audiosocket.calls.journal import FILE_NAME as JOURNAL_NAME
from audiosocket.control_interface import Control
from audiosocket.errors import AudioSocketError, InvalidSetting, UnknownApp
from audiosocket.extensions.model import Role
from audiosocket.media import lazy_imports
from audiosocket.postgres.database import Database, DatabaseState
from audiosocket.provisioning.extension_service import is_local
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.local_file import FILE_NAME
from audiosocket.provisioning.poller import Poller
from audiosocket.returncalls.backends.selection import ReturnBackend, check
from audiosocket.runtime import logs
from audiosocket.runtime.file_thread import FileThread
from audiosocket.runtime.gc_policy import GCPolicy
from audiosocket.runtime.logs import LogPlan
from audiosocket.runtime.warmup import install_runtime_services
from audiosocket.server.api_port import ApiPort
from audiosocket.server.assembly import Apps, build_call_components, make_steady
from audiosocket.server.control import ServerControl
from audiosocket.server.single_process import AudioSocketServer
from audiosocket.settings import Settings, catalogue, misspelt
from audiosocket.workers import journal_sharding as journals
from audiosocket.workers.child_process import Launch
from audiosocket.workers.pool import WorkerPool
from audiosocket.workers.supervisor import SupervisorListeners, SupervisorServer
from audiosocket.workers.supervisor_control import SupervisorControl

log = Logger()


def _option(name: str) -> str:
    return name.lower().replace("_", "-")


class Options(usage.Options):
    """Every setting that is no secret is an option, too: option > environment > .env > default."""

    synopsis = "[options]"
    longdesc = (
        "Every option mirrors a setting of the same name in capitals (--api-port is API_PORT), which may also "
        "stand in the environment or in the .env file. Secrets "
        f"({', '.join(info.name for info in catalogue() if info.secret)}) are settings only."
    )
    optParameters = [
        ["env-file", None, ".env", "file of settings; it need not exist"],
        *[
            [_option(info.name), None, None, f"{info.help} [default: {info.default or 'empty'}]"]
            for info in catalogue()
            if not info.secret
        ],
    ]

    def opt_db_password(self, _: str) -> None:
        """refused: everybody on the machine can read a command line; see DB_PASSWORD and --db-password-file"""
        # Without this, getopt takes it for the beginning of --db-password-file and the value for a file.
        raise usage.UsageError("DB_PASSWORD is a setting, not an option: others can read a command line")

    def parseArgs(self, *args: str) -> None:
        if args:
            raise usage.UsageError(f"what is {args[0]!r}? Settings are given as --option=value")

    def postOptions(self) -> None:
        try:
            self.given, from_file = self._given()
            self.settings = Settings.parse(self.given)
            self.password = _password(self.settings)
            self.apps = {
                Role.VISITOR: _load_apps("VISITOR_APP", self.settings.visitor_app),
                Role.RESIDENT: _load_apps("RESIDENT_APP", self.settings.resident_app),
            }
            _check_bind_address(self.settings.bind_address)
            check(self.settings)
            self._prepare_directories()
            self._choose_log()
        except AudioSocketError as error:
            _refuse(str(error))
        self.misspelt = misspelt([*from_file, *os.environ])
        self.has_env_file = self["env-file"] == ".env" or os.path.exists(self["env-file"])
        self._choose_pidfile()

    def _given(self) -> tuple[dict[str, str], Mapping[str, str]]:
        path = str(self["env-file"])
        from_file = read_env_file(path)
        values = {**from_file, **os.environ}
        for info in catalogue():
            value = None if info.secret else self[_option(info.name)]
            if value is not None:
                values[info.name] = value
        return values, from_file

    def _prepare_directories(self) -> None:
        for name in ("data_dir", "log_dir"):
            path = Path(getattr(self.settings, name))
            try:
                path.mkdir(parents=True, exist_ok=True)
            except (OSError, ValueError) as error:
                raise InvalidSetting(f"{name.upper()}: {str(path)!r} cannot be made: {_cause(error)}") from None
            if not os.access(path, os.W_OK | os.X_OK):
                raise InvalidSetting(f"{name.upper()}: {str(path)!r} is not writable for this user")

    def _choose_log(self) -> None:
        """Log to our file unless the operator told twistd otherwise."""
        top: Any = self.parent
        if top is None or "logger" not in top or top["logger"] or top["logfile"] or top.get("syslog"):
            return
        settings = self.settings
        logs.plan = LogPlan(
            Path(settings.log_dir).absolute(),
            settings.log_format,
            settings.log_level,
            settings.log_max_mb * 1_000_000,
            settings.log_files,
            echo=bool(top["nodaemon"]),
        )
        try:
            logs.check(logs.plan)
        except OSError as error:
            raise InvalidSetting(
                f"LOG_DIR: {settings.log_dir!r} has a {logs.FILE_NAME} that cannot be written: {_cause(error)}"
            ) from None
        top["logger"] = "audiosocket.runtime.logs.twistd_observer"

    def _choose_pidfile(self) -> None:
        """Instances side by side must not share twistd's default file, and a foreground one needs none.

        A file left by a killed process makes twistd refuse to start when the number is in use again,
        as it always is in a container.
        """
        top: Any = self.parent
        if top is None or top.get("pidfile") != "twistd.pid":
            return
        if top["nodaemon"]:
            top["pidfile"] = ""
        elif Path(self.settings.data_dir).absolute() != Path("data").absolute():
            top["pidfile"] = str(Path(self.settings.data_dir).absolute() / "twistd.pid")


def read_env_file(path: str) -> dict[str, str]:
    """The names and values in a ``.env`` file; empty when it does not exist. Raises `InvalidSetting`."""
    try:
        with open(path, encoding="utf-8-sig") as source:
            values = dotenv_values(stream=source, interpolate=False)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"--env-file: {path!r} cannot be read: {_cause(error)}") from None
    return {name: value for name, value in values.items() if value is not None}


def _load_apps(name: str, spec: str) -> Apps:
    try:
        return app_registry.load(spec)
    except UnknownApp as error:
        raise InvalidSetting(f"{name}: {error}") from None


def _password(settings: Settings) -> str:
    if not settings.db_password_file:
        return settings.db_password
    try:
        with open(settings.db_password_file, encoding="utf-8") as source:
            return source.readline().rstrip("\r\n")
    except (OSError, ValueError) as error:
        name = settings.db_password_file
        raise InvalidSetting(f"DB_PASSWORD_FILE: {name!r} cannot be read: {_cause(error)}") from None


def _check_bind_address(address: str) -> None:
    if address and not is_local(address):
        raise InvalidSetting(f"BIND_ADDRESS: {address!r} is not an address of this machine")


def _cause(error: Exception) -> str:
    """What the system says, or what is wrong with the text; never the text, which may be a secret."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1} is not UTF-8"
    return getattr(error, "strerror", None) or str(error)


def _refuse(message: str) -> NoReturn:
    sys.stderr.write(f"audiosocket: {logs.escape(message)}\n")
    raise SystemExit(1)


def _raise_open_files() -> None:
    """Two sockets per extension and one per leg soon pass the usual soft limit of 1,024 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def makeService(options: Options) -> Service:
    """The whole server, not yet started."""
    from twisted.internet import reactor  # noqa: PLC0415 - twistd installs the reactor before this, not before import

    server = build(options, reactor)
    _stop_cleanly(reactor, server)
    return server


def _stop_cleanly(reactor: Any, server: AudioSocketServer | SupervisorServer) -> None:
    """Calls may end first, and exit status 0; twistd would die of the signal. A second one ends now.

    The third does not even say goodbye.
    """
    seen: list[str] = []

    def asked(number: int, frame: object) -> None:
        # Nothing else here: the signal may have interrupted the log, whose lock would wait for itself for ever.
        reactor.callFromThread(obey, signal.Signals(number).name)

    def obey(name: str) -> None:
        seen.append(name)
        if len(seen) == 1:
            log.info("{name}: stopping; a second one ends now", name=name)
            reactor.stop()
        elif len(seen) == 2:
            log.info("{name} again: ending now", name=name)
            server.hurry()
        else:
            reactor.crash()

    for number in (signal.SIGTERM, signal.SIGINT):
        reactor.addSystemEventTrigger("after", "startup", signal.signal, number, asked)


def build(options: Options, reactor: Any) -> AudioSocketServer | SupervisorServer:
    """Every part, connected; ``reactor`` is the only global thing and it is an argument."""
    settings = options.settings
    for name, close in options.misspelt:
        log.warn("the setting {name} is unknown; did you mean {close}?", name=name, close=close)
    if not options.has_env_file:
        log.warn("there is no file {name}, as --env-file says; going on without", name=options["env-file"])
    for sentence in app_registry.problems((*options.apps[Role.VISITOR], *options.apps[Role.RESIDENT]), settings):
        log.warn("{sentence}", sentence=sentence)
    _raise_open_files()
    make_steady(reactor)
    journals.rearrange(Path(settings.data_dir).absolute(), settings.workers)
    return _build_front(options, reactor) if settings.workers > 1 else _build_single(options, reactor)


def _build_single(options: Options, reactor: Any) -> AudioSocketServer:
    """One process that does everything."""
    settings = options.settings
    side = build_call_components(
        settings, options.apps, Path(settings.data_dir).absolute() / JOURNAL_NAME, reactor
    )
    listeners = Listeners(side.make_factory, reactor, **_where_to_listen(settings))
    poller, database = _make_table(options, listeners, side.files, reactor)
    server = AudioSocketServer(
        listeners,
        side.switchboard,
        poller,
        side.files,
        reactor,
        journal=side.journal,
        resume_seconds=settings.resume_seconds,
        drain_seconds=settings.drain_seconds,
    )
    control = ServerControl(server, database, reactor.seconds, settings.api_port, side.backend)
    _make_api(settings, control, reactor).setServiceParent(server)
    side.backend.setServiceParent(server)
    if database is not None:
        database.setServiceParent(server)
    install_runtime_services(
        server,
        reactor,
        busy=lambda: side.switchboard.live_legs > 0,
        listening=lambda: listeners.applied,
        forget=side.switchboard.forget,
        load=lazy_imports.load,
    )
    poller.setServiceParent(server)
    return server


def _build_front(options: Options, reactor: Any) -> SupervisorServer:
    """The process before the workers; it has no calls."""
    settings = options.settings
    fleet = WorkerPool(settings.workers, _launch(options), reactor)
    listeners = SupervisorListeners(fleet, **_where_to_listen(settings))
    files = FileThread(reactor)
    poller, database = _make_table(options, listeners, files, reactor)
    server = SupervisorServer(fleet, listeners, poller, files, reactor, drain_seconds=settings.drain_seconds)
    backend = ReturnBackend(settings, reactor, time.time)
    control = SupervisorControl(server, database, reactor.seconds, settings.api_port, backend)
    GCPolicy(reactor, busy=lambda: False).setServiceParent(server)
    _make_api(settings, control, reactor).setServiceParent(server)
    if database is not None:
        database.setServiceParent(server)
    poller.setServiceParent(server)
    return server


def _launch(options: Options) -> Launch:
    """A worker imports what we import; it is told the settings, none of them by its command line."""
    unneeded = {"DB_PASSWORD", "API_TOKEN"}
    settings = {info.name: options.given.get(info.name, "") for info in catalogue() if info.name not in unneeded}
    # It has no API to protect.
    settings.update(DATA_DIR=str(Path(options.settings.data_dir).absolute()), API_HOST="", DB_HOST="")
    count = options.settings.workers
    return Launch(
        [sys.executable, "-m", "audiosocket.workers"],
        {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        {
            "settings": settings,
            "journals": [journals.name(index, count) for index in range(count)],
            "lines": logs.plan is not None,
        },
    )


def _where_to_listen(settings: Settings) -> dict[str, Any]:
    return {"bind_address": settings.bind_address, "reserved_ports": frozenset({settings.api_port})}


def _make_table(
    options: Options, listeners: Listeners, files: FileThread, reactor: Any
) -> tuple[Poller, Database | None]:
    settings = options.settings
    pollers: list[Poller] = []  # the database reports to the poller, which needs the database to exist
    database = _make_database(options, reactor, pollers) if settings.db_host else None
    poller = Poller(
        reactor,
        listeners,
        database,
        Path(settings.data_dir).absolute() / FILE_NAME,
        files.run,
        interval=settings.refresh_interval_seconds,
        automatic=settings.auto_refresh,
        limit=settings.max_extensions,
    )
    pollers.append(poller)
    return poller, database


def _make_api(settings: Settings, control: Control, reactor: Any) -> ApiPort:
    hosts = (settings.api_host, *settings.api_allowed_hosts)
    site = make_site(control, token=settings.api_token, hosts=hosts, reactor=reactor)
    return ApiPort(site, settings.api_host, settings.api_port, reactor)


def _make_database(options: Options, reactor: Any, pollers: Sequence[Poller]) -> Database:
    was = ["connecting"]

    def state_changed(state: DatabaseState) -> None:
        came_up = state.state == "up" and was[0] != "up"
        was[0] = state.state
        if came_up:
            for poller in pollers:
                poller.database_came_up()

    def changed() -> None:
        for poller in pollers:
            poller.hurry()

    return Database(
        options.settings,
        options.password,
        reactor,
        listen=options.settings.auto_refresh,
        changed=changed,
        state_changed=state_changed,
    )
