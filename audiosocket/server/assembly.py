"""Build all that a process with calls needs: registry, journal, context of the apps, return calls, switchboard.

The single process and each worker use it; they differ in how their ports are opened.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from audiosocket.apps import registry as app_registry
from audiosocket.apps.porteiro.directory_files import DirectoryFiles
from audiosocket.apps.record import record_directory
from audiosocket.bots.call_tokens import CallTokens
from audiosocket.calls.call_limits import CallLimits, Limits
from audiosocket.calls.events import EventLog, Sink
from audiosocket.calls.journal import CallJournal
from audiosocket.calls.protocol.factory import AudioSocketFactory, MakeTransport, PassOn
from audiosocket.calls.registry import CallRegistry
from audiosocket.extensions.model import Extension, Role
from audiosocket.fleet.adoption import Adoption, BothJournals
from audiosocket.fleet.call_lookups import CallLookups
from audiosocket.fleet.call_statements import TAKEN_OVER
from audiosocket.fleet.call_table import CallTable
from audiosocket.fleet.gate_claims import GateClaims
from audiosocket.fleet.this_node import NodeSession
from audiosocket.gate.opener import GateOpener
from audiosocket.interfaces import AppContext, AppFactory
from audiosocket.media.lazy_imports import stream_converter
from audiosocket.media.sound_cache import SoundCache
from audiosocket.outbound.endpoints import Endpoints, MakeTCP
from audiosocket.outbound.websocket_opener import WebSocketOpener
from audiosocket.provisioning.app_rules import Chain
from audiosocket.provisioning.app_rules_file import FILE_NAME as APPS_FILE_NAME
from audiosocket.provisioning.app_rules_file import AppSelection
from audiosocket.returncalls.backends.selection import ReturnBackend
from audiosocket.returncalls.service import ReturnCalls
from audiosocket.runtime.event_lines import EventLines
from audiosocket.runtime.file_thread import FileThread
from audiosocket.runtime.histograms import Histograms
from audiosocket.runtime.logs import process_log
from audiosocket.server.admission import ConnectionAdmission
from audiosocket.server.app_instances import AppInstances
from audiosocket.server.caller_identification import CallerIdentification
from audiosocket.server.confirmation import make_confirmation
from audiosocket.server.live_legs import LiveLegs
from audiosocket.server.reactor import ServerReactor
from audiosocket.server.switchboard import Switchboard
from audiosocket.server.visit_services import make_gate
from audiosocket.settings import Settings
from audiosocket.transport import epoll
from audiosocket.transport.accept_gate import AcceptGate
from audiosocket.transport.clock import MediaClock
from audiosocket.transport.connecting import DirectEndpoint
from audiosocket.transport.epoll import SocketPoller
from audiosocket.transport.kept_descriptors import KeptDescriptors
from audiosocket.transport.open_files import DescriptorReserve
from audiosocket.transport.tcp import DirectTransport
from audiosocket.transport.ticker import TimerTicker, make_ticker

log = Logger()
#: Interval between two looks for legs that last too long, in seconds.
OVERDUE_SECONDS = 1.0
Apps = tuple[tuple[str, AppFactory], ...]


@dataclass(frozen=True)
class CallComponents:
    """The switchboard and its parts, connected."""

    switchboard: Switchboard
    journal: CallJournal
    files: FileThread
    backend: ReturnBackend
    clock: MediaClock
    transport: MakeTransport | None
    selection: AppSelection
    histograms: Histograms
    apartments: DirectoryFiles
    gate: GateOpener
    accepting: AcceptGate
    descriptors: KeptDescriptors
    reactor: ServerReactor
    #: What the nodes of a fleet share of calls; None without one.
    adoption: Adoption | None = None

    def add_services(self, server: MultiService) -> None:
        """Let the services of these parts start and stop with ``server``; the gate needs the backend."""
        overdue = TimerService(OVERDUE_SECONDS, self.switchboard.end_overdue)
        overdue.clock = self.reactor
        for service in (overdue, self.descriptors, self.backend, self.selection, self.apartments, self.gate):
            service.setServiceParent(server)
        if self.adoption is not None:
            self.adoption.table.setServiceParent(server)

    def make_factory(self, extension: Extension, role: Role, pass_on: PassOn | None = None) -> AudioSocketFactory:
        """Return the protocol factory of one port; implements `extension_service.MakeFactory`."""
        return AudioSocketFactory(
            extension,
            role,
            self.switchboard.join,
            self.switchboard.admission,
            self.clock,
            self.transport,
            pass_on,
            self.accepting,
            None if self.adoption is None else self.adoption.locate,
        )


def select_apps(
    settings: Settings,
    apps: Mapping[Role, Apps],
    values: Callable[[], Mapping[str, str]],
    reactor: ServerReactor,
    *,
    quiet: bool = False,
) -> AppSelection:
    """Return the selection of apps, its file read. ``values`` returns the values of ``${NAME}`` in the file."""
    specs = {Role.VISITOR: settings.visitor_app, Role.RESIDENT: settings.resident_app}
    defaults = {role: Chain(specs[role], apps[role], f"{role.name}_APP") for role in Role}
    path = Path(settings.apps_file or Path(settings.data_dir) / APPS_FILE_NAME).expanduser().absolute()
    selection = AppSelection(path, defaults, values, app_registry.load, deferToThread, reactor, quiet=quiet)
    selection.load_now()
    return selection


def build_call_components(
    settings: Settings,
    selection: AppSelection,
    journal: Path,
    reactor: ServerReactor,
    *,
    apartments: DirectoryFiles,
    tokens: CallTokens,
    mine: Callable[[UUID], bool] = lambda call_id: True,
    publish: Sink = lambda record: None,
    node: NodeSession | None = None,
) -> CallComponents:
    """Return all parts, connected and not started; ``mine`` says which calls are this process's.

    ``publish`` is called with every event of a call, and with what rings on the operator page. With ``node``
    calls go on when their UUID comes to another node.

    Raises `InvalidSetting`.
    """
    files = FileThread(reactor)
    clock, transport, keep, make_tcp = media(settings.leg_transport, reactor, reactor.seconds)
    gate = AcceptGate(reactor, DescriptorReserve())
    kept = CallJournal(journal, files.run)
    table = None if node is None else CallTable(node.database, reactor, node.name, time.time)
    legs = LiveLegs()
    backend = ReturnBackend(settings, reactor, time.time, publish)
    histograms = Histograms()
    returns = ReturnCalls(
        backend.originator,
        reactor,
        ended=legs.return_ended,
        ring_seconds=settings.return_ring_seconds,
        window_seconds=settings.return_window_seconds,
        caller_id=settings.return_caller_id,
        confirm=settings.return_confirm,
        arrived=backend.arrived,
    )
    events = EventLog([EventLines(record_directory(settings), reactor.seconds), publish])
    calls = CallRegistry(
        events,
        accept_unexpected_resident=settings.accept_unexpected_resident,
        journal=kept if table is None else BothJournals(kept, table),
        returns=returns,
        limits=CallLimits(
            Limits(
                settings.max_calls,
                settings.max_calls_per_peer,
                settings.max_calls_per_extension,
                settings.max_calls_per_second,
                settings.max_call_seconds,
                settings.max_idle_seconds,
            )
        ),
    )
    adoption, claims = None, None
    if node is not None and table is not None:
        lookups = CallLookups(node.database, reactor, node.name)
        adoption = Adoption(calls, table, lookups, kept, reactor, time.time, settings.resume_seconds)
        claims = GateClaims(node.database, node.name, adoption.may_authorise_alone)
        node.database.hear(TAKEN_OVER, table.heard)
        node.database.when_up(table.came_up)
    opener = make_gate(settings, reactor, backend, calls, events, mine, claims)
    context = AppContext(
        settings,
        SoundCache(deferToThread),
        files.run,
        reactor.callLater,
        open_websocket=WebSocketOpener(Endpoints(reactor, make_tcp=make_tcp), reactor),
        telephony=backend.telephony,
        measure=histograms.measure,
        gate=opener,
        apartments=apartments,
        call_access=tokens.access,
    )
    switchboard = Switchboard(
        calls,
        AppInstances(selection.choose, context, app_registry.load),
        legs=legs,
        admission=ConnectionAdmission(
            settings.allowed_peers,
            reactor.seconds,
            legs.traffic,
            proxy_peers=settings.proxy_peers,
            most=settings.max_connections,
            most_per_peer=settings.max_connections_per_peer,
        ),
        clock=clock,
        make_converter=stream_converter,
        returns=returns,
        callers=None if backend.callers is None else CallerIdentification(backend.callers, reactor),
        confirmation=functools.partial(make_confirmation, context, reactor.seconds),
    )
    if adoption is not None:
        adoption.calls = switchboard
    return CallComponents(
        switchboard=switchboard,
        journal=kept,
        files=files,
        backend=backend,
        clock=clock,
        transport=transport,
        selection=selection,
        histograms=histograms,
        apartments=apartments,
        gate=opener,
        accepting=gate,
        descriptors=KeptDescriptors(keep, gate),
        reactor=reactor,
        adoption=adoption,
    )


class Media(NamedTuple):
    """The clock of all legs, what makes their transports (None: Twisted's), and what keeps their descriptors.

    ``make_tcp`` makes endpoints of connections to bots, None for Twisted's.
    """

    clock: MediaClock
    transport: MakeTransport | None
    keep: Callable[[bool], None]
    make_tcp: MakeTCP | None = None


def media(choice: str, reactor: ServerReactor, seconds: Callable[[], float]) -> Media:
    """Return sockets and time of the audio path; see ``docs/transport.md``.

    ``choice`` is the setting LEG_TRANSPORT: "stock" uses neither epoll nor timerfd. ``seconds`` is a steady clock,
    in seconds.
    """
    if choice == "stock":
        clock = MediaClock(TimerTicker(reactor, seconds), seconds)
        return Media(clock, None, clock.keep_descriptors)
    ticker = make_ticker(reactor, seconds)
    if not epoll.available():
        clock = MediaClock(ticker, seconds)
        return Media(clock, None, clock.keep_descriptors)
    poller = SocketPoller(reactor, process_log.hold, process_log.release)
    clock = MediaClock(ticker, seconds, after_tick=poller.poll)
    poller.start_ticks = clock.start

    def keep(on: bool) -> None:
        clock.keep_descriptors(on)
        poller.keep_descriptors(on)

    make_tcp = functools.partial(DirectEndpoint, reactor, poller)
    return Media(clock, functools.partial(DirectTransport, poller), keep, make_tcp)


def use_monotonic_time(reactor: ServerReactor) -> None:
    """Make Twisted's timers use the monotonic clock: a time of day that is set back must not stop the audio."""
    if not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic  # type: ignore[method-assign]
