"""Real calls over loopback: the server's parts in this process, with the apps of a test and a strict caller."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from audiosocket.apps import registry as app_registry
from audiosocket.calls.events import EventLog, Record
from audiosocket.calls.protocol.factory import AudioSocketFactory
from audiosocket.calls.registry import CallRegistry
from audiosocket.client.caller import Caller
from audiosocket.errors import UnknownApp
from audiosocket.extensions.model import Extension, Role
from audiosocket.interfaces import AppContext, AppFactory, CallPolicy
from audiosocket.media.resample import StreamConverter
from audiosocket.media.sound_cache import SoundCache
from audiosocket.outbound.endpoints import Endpoints
from audiosocket.outbound.websocket_opener import WebSocketOpener
from audiosocket.provisioning.app_rules import CallApps, Chain, Parameters
from audiosocket.server.admission import ConnectionAdmission
from audiosocket.server.app_instances import AppInstances
from audiosocket.server.assembly import media
from audiosocket.server.live_legs import LiveLegs
from audiosocket.server.switchboard import Switchboard
from audiosocket.settings import Settings
from audiosocket.transport.port import ThrottledPort

LOOPBACK = "127.0.0.1"
BACKLOG = 50


class LoopbackCalls:
    """One extension whose legs run ``apps``, by name; `open` listens, `close` ends what is left.

    ``parameters`` are tables of apps as in ``apps.toml``. ``others`` are apps that may take a leg over, besides
    those of the server. Residents are accepted without a return call. ``leg_transport`` is as the setting
    LEG_TRANSPORT.
    """

    def __init__(
        self,
        reactor: Any,
        apps: Mapping[str, AppFactory],
        *,
        settings: Mapping[str, str] | None = None,
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
        policy: CallPolicy | None = None,
        others: Mapping[str, AppFactory] | None = None,
        directory: Path = Path(),
        leg_transport: str = "stock",
    ) -> None:
        self._reactor = reactor
        self._others = {**(others or {}), **apps}
        self.events: list[Record] = []
        self.measured: list[tuple[str, float]] = []
        checked = Settings.parse(settings or {})
        self.clock, self._transport, _, make_tcp = media(leg_transport, reactor, time.monotonic)
        context = AppContext(
            checked,
            SoundCache(deferToThread),
            deferToThread,
            reactor.callLater,
            open_websocket=WebSocketOpener(Endpoints(reactor, make_tcp=make_tcp), reactor),
            measure=lambda name, ms: self.measured.append((name, ms)),
        )
        tables = {
            name: Parameters(self._parser(name)(dict(table), directory), table, "the test")
            for name, table in (parameters or {}).items()
        }
        chain = Chain("+".join(apps), tuple(apps.items()), "the test")
        chosen = CallApps(dict.fromkeys(Role, chain), policy or CallPolicy(), tables)
        self.switchboard = Switchboard(
            CallRegistry(EventLog([self.events.append]), accept_unexpected_resident=True),
            AppInstances(lambda extension: chosen, context, self._load),
            legs=LiveLegs(),
            admission=ConnectionAdmission(checked.allowed_peers, time.monotonic, proxy_peers=checked.proxy_peers),
            clock=self.clock,
            make_converter=StreamConverter,
        )
        self._ports: dict[Role, Any] = {}
        self.callers: list[Caller] = []

    def open(self) -> None:
        """Listen on a free port of loopback for each role."""
        extension = Extension(1, "1000", "1001", LOOPBACK, 1, 2, 0)
        for role in Role:
            admission = self.switchboard.admission
            join = self.switchboard.join
            factory = AudioSocketFactory(extension, role, join, admission, self.clock, self._transport)
            port = ThrottledPort(0, factory, BACKLOG, LOOPBACK, self._reactor)
            if self._transport is not None:
                port.transport = self._transport
            port.startListening()
            self._ports[role] = port

    async def call(self, role: Role = Role.VISITOR, call_id: UUID | None = None, *, rate: int = 8000) -> Caller:
        """Return a caller that is connected and has received its first frame."""
        caller = Caller(self._reactor, call_id, rate)
        self.callers.append(caller)
        await caller.dial(LOOPBACK, self._ports[role].getHost().port)
        await caller.until_heard(1)
        return caller

    async def close(self) -> None:
        """Hang up every caller and close the ports; raises AssertionError if a rule of Asterisk was broken."""
        for caller in self.callers:
            caller.hang_up()
        reports = [await caller.ended for caller in self.callers]
        self.switchboard.close()
        for port in self._ports.values():
            await maybeDeferred(port.stopListening)
        while self.switchboard.admission.connections:
            await deferLater(self._reactor, 0.005)
        broken = [report.broken for report in reports if not report.ok]
        if broken:
            raise AssertionError(f"the server broke rules of Asterisk: {broken}")

    def _load(self, spec: str) -> Sequence[tuple[str, AppFactory]]:
        found: list[tuple[str, AppFactory]] = []
        for name in spec.split("+"):
            factory = self._others.get(name)
            found += [(name, factory)] if factory is not None else app_registry.load(name)
        return found

    def _parser(self, name: str) -> Any:
        ((_, factory),) = self._load(name)
        parse = getattr(factory, "parse_parameters", None)
        if parse is None:
            raise UnknownApp(f"{name} takes no parameters")
        return parse


@asynccontextmanager
async def loopback_calls(
    reactor: Any, apps: Mapping[str, AppFactory], **options: Any
) -> AsyncIterator[LoopbackCalls]:
    """Give a `LoopbackCalls` that is open; close it with its calls in the end."""
    calls = LoopbackCalls(reactor, apps, **options)
    calls.open()
    try:
        yield calls
    finally:
        await calls.close()


@asynccontextmanager
async def loopback_call(reactor: Any, *factories: AppFactory, **options: Any) -> AsyncIterator[Caller]:
    """Give one visitor's call whose leg runs these apps."""
    apps = {f"app{number}": factory for number, factory in enumerate(factories)}
    async with loopback_calls(reactor, apps, **options) as calls:
        yield await calls.call()
