"""Parts of the server in this process, with real sockets on loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from audiosocket.apps import registry as app_registry
from audiosocket.calls.events import EventLog
from audiosocket.calls.protocol.factory import AudioSocketFactory
from audiosocket.calls.registry import CallRegistry
from audiosocket.client.caller import Caller
from audiosocket.client.report import CallReport
from audiosocket.extensions.model import Extension, Role
from audiosocket.interfaces import AppContext
from audiosocket.media.resample import StreamConverter
from audiosocket.media.sound_cache import SoundCache
from audiosocket.provisioning.extension_service import is_local
from audiosocket.provisioning.listeners import Listeners
from audiosocket.server.admission import ConnectionAdmission
from audiosocket.server.app_instances import AppInstances
from audiosocket.server.assembly import media
from audiosocket.server.live_legs import LiveLegs
from audiosocket.server.switchboard import Switchboard
from audiosocket.settings import Settings
from tests.support import reactor as typed_reactor

LOOPBACK = "127.0.0.1"
reactor = typed_reactor.reactor
#: Hypothesis settings without time limits, for slow machines; our fixtures keep no state between examples.
no_deadline = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@contextlib.contextmanager
def occupied(port: int, address: str = "0.0.0.0") -> Iterator[None]:
    """Occupy a port, as another program would."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((address, port))
        other.listen()
        yield


def extension(
    extension_id: int, port: int, return_port: int | None = None, number: str | None = None, ip: str = LOOPBACK
) -> Extension:
    """Return an extension on loopback; its number is ``n`` and its id unless given."""
    return Extension(extension_id, number or f"n{extension_id}", "r", ip, port, return_port, 0)


@implementer(ILogObserver)
class CapturedLog(list[tuple[LogLevel, str]]):
    """Level and text of what our own modules log, until `close`."""

    def __init__(self) -> None:
        super().__init__()
        globalLogPublisher.addObserver(self)

    def __call__(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("audiosocket."):
            self.append((event["log_level"], formatEvent(event)))

    def close(self) -> None:
        globalLogPublisher.removeObserver(self)

    def containing(self, text: str) -> list[str]:
        """Return the lines that contain ``text``."""
        return [line for _, line in self if text in line]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, until the test's own deadline."""
    while not condition():
        await deferLater(reactor, 0.005)


async def reactor_turns(count: int = 5) -> None:
    """Let the reactor run ``count`` turns."""
    for _ in range(count):
        await deferLater(reactor, 0)


class LoopbackServer:
    """Listeners and a switchboard with the app echo for both roles; no database, no file."""

    def __init__(
        self,
        *,
        apps: str = "echo",
        its_reactor: Any = None,
        local: Callable[[str], bool] = is_local,
        **options: Any,
    ) -> None:
        settings = Settings.parse({})
        context = AppContext(settings, SoundCache(deferToThread), deferToThread, reactor.callLater)
        both = app_registry.load(apps)
        self.clock, self._transport, _, _ = media(os.environ.get("LEG_TRANSPORT", "auto"), reactor, time.monotonic)
        self.switchboard = Switchboard(
            CallRegistry(EventLog()),
            AppInstances.fixed({Role.VISITOR: both, Role.RESIDENT: both}, context, app_registry.load),
            legs=LiveLegs(),
            admission=ConnectionAdmission(settings.allowed_peers, time.monotonic),
            clock=self.clock,
            make_converter=StreamConverter,
        )
        self.listeners = Listeners(self._make_factory, its_reactor or reactor, local=local, **options)
        self.listeners.startService()
        self.callers: list[Caller] = []

    def _make_factory(self, of: Extension, role: Role) -> AudioSocketFactory:
        return AudioSocketFactory(
            of, role, self.switchboard.join, self.switchboard.admission, self.clock, self._transport
        )

    async def apply(self, *desired: Extension) -> Any:
        return await self.listeners.apply(desired)

    async def call(self, port: int, call_id: UUID | None = None) -> Caller:
        """Return a call that is connected and hears its echo."""
        caller = Caller(reactor, call_id)
        self.callers.append(caller)
        await caller.dial(LOOPBACK, port)
        await caller.until_heard(640)
        return caller

    def extension_of(self, caller: Caller) -> Extension:
        """Return the extension of a call."""
        call = self.switchboard.registry.get(caller.call_id)
        assert call is not None
        return call.extension

    def sockets(self) -> dict[tuple[int, Role], tuple[int, int]]:
        """Return port and inode of every listener; the inode identifies the socket."""
        return {
            (key, role): (listener.port, socket_inode(listener))
            for key, service in self.listeners.services_by_id().items()
            for role, listener in service.listeners.items()
        }

    async def close(self) -> None:
        """Stop as the server does; check that no call broke a rule."""
        reports = [await self._hang_up(caller) for caller in self.callers]
        self.switchboard.close()
        await self.listeners.stopService()
        await until(lambda: not self.switchboard.admission.connections)
        for report in reports:
            assert report.ok, report.broken

    async def _hang_up(self, caller: Caller) -> CallReport:
        caller.hang_up()
        return await caller.ended


def socket_inode(listener: Any) -> int:
    """Return the inode of a listener's socket, which differs between sockets of the same address."""
    return os.fstat(listener._port.fileno()).st_ino


@contextlib.asynccontextmanager
async def loopback_server(**options: Any) -> AsyncIterator[LoopbackServer]:
    """Give a `LoopbackServer`; close it with its calls in the end."""
    built = LoopbackServer(**options)
    try:
        yield built
    finally:
        await built.close()


async def is_closed(port: int) -> bool:
    """Return whether nothing listens on the port."""

    def connect_fails() -> bool:
        with socket.socket() as client:
            return client.connect_ex((LOOPBACK, port)) != 0

    return await deferToThread(connect_fails)


async def until_closed(port: int) -> None:
    """Wait until nothing listens on the port: a listener is dropped from the books before its socket is closed."""
    while not await is_closed(port):
        pass


class ManualFileThread:
    """A stand-in for the file thread: runs jobs at once, or in `release` while ``held`` is a list.

    With ``error`` set, jobs fail with it.
    """

    def __init__(self) -> None:
        self.held: list[tuple[Deferred[Any], Callable[[], Any]]] | None = None
        self.error: OSError | None = None
        self.done: list[str] = []

    def run(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        if self.held is None:
            self._work(result, lambda: work(*args, **kwargs), work.__name__)
        else:
            self.held.append((result, lambda: work(*args, **kwargs)))
        return result

    def _work(self, result: Deferred[Any], job: Callable[[], Any], name: str) -> None:
        try:
            if self.error is not None:
                raise self.error
            value = job()
        except OSError as error:
            result.errback(error)
        else:
            self.done.append(name)
            result.callback(value)

    def release(self) -> None:
        """Run the held jobs, and hold no more."""
        held, self.held = self.held or [], None
        for result, job in held:
            self._work(result, job, "held")


def data_file(directory: Path) -> Path:
    """Return the path of the local file in a data directory."""
    return directory / "ramais_config.json"


def same_extensions(one: Sequence[Extension], other: Sequence[Extension]) -> bool:
    """Return whether two lists have the same extensions, in any order."""
    return sorted(one, key=lambda e: e.id) == sorted(other, key=lambda e: e.id)
