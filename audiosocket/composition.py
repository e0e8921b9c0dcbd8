"""Build the service tree from checked options: every part gets the others that it needs as arguments."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit

from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from admin.resource import make_site
from admin.tokens_file import TokensFile
from audiosocket.api_address import api_url
from audiosocket.api_tokens import ApiToken, KnownTokens, session_key
from audiosocket.apps import registry as app_registry
from audiosocket.bots.call_tokens import CallTokens, new_call_tokens
from audiosocket.calls.journal import FILE_NAME as JOURNAL_NAME
from audiosocket.client.phone_call import PhoneCall
from audiosocket.control_interface import Control
from audiosocket.event_webhook.sender import OFF as NO_WEBHOOK
from audiosocket.event_webhook.sender import EventWebhook
from audiosocket.extensions.model import Role
from audiosocket.fleet.adoption import Adoption
from audiosocket.fleet.this_node import ThisNode
from audiosocket.json_shapes import ServicesJSON
from audiosocket.media import lazy_imports
from audiosocket.options import Options
from audiosocket.outbound.http_client import HTTPClient
from audiosocket.outbound.secret import secret_from
from audiosocket.outbound.webhook_signature import SIGNATURE_HEADER
from audiosocket.prompts.library import unusable_files
from audiosocket.provisioning.app_rules_file import AppSelection
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.state_watch import StateWatch
from audiosocket.provisioning.table_source import make_table_source
from audiosocket.returncalls.backends.selection import ReturnBackend
from audiosocket.runtime.event_feed import EventFeed
from audiosocket.runtime.file_thread import FileThread
from audiosocket.runtime.gc_policy import GCPolicy
from audiosocket.runtime.logs import process_log
from audiosocket.runtime.service_manager import ServiceManagerMessages, messages_for
from audiosocket.runtime.warmup import install_runtime_services
from audiosocket.server.api_port import ApiPort
from audiosocket.server.assembly import build_call_components, select_apps, use_monotonic_time
from audiosocket.server.control import ServerControl
from audiosocket.server.reactor import ServerReactor
from audiosocket.server.single_process import AudioSocketServer
from audiosocket.server.succession import MAX_WAIT_SECONDS, STOP_SECONDS, Succession
from audiosocket.server.visit_services import condominiums, make_apartments, make_records, make_retention
from audiosocket.setting_advice import weaknesses
from audiosocket.settings import Settings
from audiosocket.settings_files import is_public
from audiosocket.upgrade.hand_over import HandOver, offer_upgrades
from audiosocket.upgrade.predecessor import NextProcess
from audiosocket.upgrade.successor import Successor
from audiosocket.workers import journal_sharding as journals
from audiosocket.workers.child_process import Launch
from audiosocket.workers.pool import WorkerPool
from audiosocket.workers.supervisor import SupervisorListeners, SupervisorServer
from audiosocket.workers.supervisor_control import SupervisorControl
from audiosocket.workers.worker_settings import settings_of_workers

log = Logger()


def _raise_open_files() -> None:
    """Raise the soft limit of open files, often 1,024: an extension needs two, a leg one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def build(options: Options, reactor: ServerReactor) -> AudioSocketServer | SupervisorServer:
    """Return the server, with all parts connected and none started."""
    settings = options.settings
    for name, close in options.misspelt:
        log.warn("the setting {name} is unknown; did you mean {close}?", name=name, close=close)
    for sentence in weaknesses(settings):
        log.warn("{sentence}", sentence=sentence)
    if is_public(options.env_file):
        log.warn("every user of this machine can read {name}; chmod 600 keeps its secrets", name=options.env_file)
    if not options.has_env_file:
        log.warn("the file {name} of --env-file does not exist; starting without it", name=options["env-file"])
    for sentence in app_registry.problems((*options.apps[Role.VISITOR], *options.apps[Role.RESIDENT]), settings):
        log.warn("{sentence}", sentence=sentence)
    for sentence in unusable_files(Path(settings.data_dir)):
        log.warn("{sentence}", sentence=sentence)
    _raise_open_files()
    use_monotonic_time(reactor)
    return _build_supervisor(options, reactor) if settings.workers > 1 else _build_single(options, reactor)


def _build_single(options: Options, reactor: ServerReactor) -> AudioSocketServer:
    """Return the server that is one process."""
    settings = options.settings
    selection = select_apps(settings, options.apps, options.placeholders, reactor)
    journal = Path(settings.data_dir).absolute() / JOURNAL_NAME
    apartments = make_apartments(settings, reactor, lambda: condominiums(listeners.extensions.values()))
    feed = EventFeed(time.time)
    tokens = new_call_tokens(settings)
    api_tokens, tokens_file = _make_tokens(options, reactor)
    webhook = _make_webhook(options, feed, reactor)
    node = _this_node(options, reactor)
    components = build_call_components(
        settings,
        selection,
        journal,
        reactor,
        apartments=apartments,
        publish=feed.publish,
        tokens=tokens,
        node=None if node is None else node.session,
    )
    listeners = Listeners(
        components.make_factory,
        reactor,
        bind_address=settings.bind_address,
        reserved_ports=frozenset({settings.api_port}),
    )
    poller, database = make_table_source(
        settings, options.current_password(), listeners, components.files.run, reactor
    )
    successor = _successor(options, reactor)
    server = AudioSocketServer(
        listeners,
        components.switchboard,
        poller,
        components.files,
        reactor,
        journal=components.journal,
        resume_seconds=settings.resume_seconds,
        drain_seconds=settings.drain_seconds,
        succession=successor or _succession(settings, reactor),
        read_again=partial(_read_again, selection, tokens_file),
        shared=None if components.adoption is None else components.adoption.table,
    )
    control = ServerControl(
        server,
        database,
        reactor.seconds,
        settings.api_port,
        selection,
        make_records(settings, apartments),
        partial(_services, tokens_file, webhook, components.adoption),
        components.backend,
        components.histograms,
        components.gate,
        tokens,
        components.accepting,
        settings.fleet_ports,
    )
    api = _make_api(options, control, feed, api_tokens, reactor)
    api.setServiceParent(server)
    tokens_file.setServiceParent(server)
    if webhook is not None:
        webhook.setServiceParent(server)
    StateWatch(listeners, poller, database, feed.publish, reactor).setServiceParent(server)
    components.add_services(server)
    make_retention(settings, reactor).setServiceParent(server)
    if database is not None:
        database.setServiceParent(server)
    if node is not None:
        registry = components.switchboard.registry
        control.fleet = node.join(
            server, control, lambda: list(listeners.extensions.values()), lambda: len(registry)
        )
    install_runtime_services(
        server,
        reactor,
        busy=lambda: components.switchboard.live_legs > 0,
        listening=lambda: listeners.applied,
        forget=components.switchboard.forget,
        load=lazy_imports.load,
    )
    parts = HandOver(
        server, listeners, components.journal, api, control.drain, components.clock, reactor, options.pid_file
    )
    if successor is not None:
        successor.prepare = parts.prepare
    following = NextProcess(options.command, {k: v for k, v in os.environ.items() if k != "WATCHDOG_PID"})
    upgrade = offer_upgrades(parts, following, components.files)
    poller.setServiceParent(server)
    messages = _notify_manager(server, reactor, lambda: components.switchboard.live_legs)
    if messages is not None:
        upgrade.notify = messages.upgrading
    return server


def _successor(options: Options, reactor: ServerReactor) -> Successor | None:
    """Return what begins in the place of the process that has started this one for that; else None."""
    return None if options.upgrade is None else Successor(options.upgrade, reactor, warm_up=lazy_imports.load)


def _notify_manager(
    server: AudioSocketServer | SupervisorServer, reactor: ServerReactor, live_legs: Callable[[], int]
) -> ServiceManagerMessages | None:
    """Add the messages to systemd, if that has started this process."""

    def status() -> str:
        mismatches = server.listeners.mismatches()
        return f"{len(server.listeners.extensions)} extensions, {live_legs()} legs" + (
            f"; {mismatches[0]}" if mismatches else ""
        )

    messages = messages_for(
        os.environ,
        reactor,
        ready=lambda: server.listeners.applied,
        ending=lambda: server.ending,
        status=status,
    )
    if messages is not None:
        messages.setServiceParent(server)
    return messages


def _succession(settings: Settings, reactor: ServerReactor) -> Succession:
    data = Path(settings.data_dir).absolute()
    limit = min(MAX_WAIT_SECONDS, settings.drain_seconds + STOP_SECONDS)
    return Succession(data, reactor, limit, lambda: journals.redistribute(data, settings.workers))


def _build_supervisor(options: Options, reactor: ServerReactor) -> SupervisorServer:
    """Return the supervisor of several workers."""
    settings = options.settings
    feed = EventFeed(time.time)
    tokens = new_call_tokens(settings)
    api_tokens, tokens_file = _make_tokens(options, reactor)
    webhook = _make_webhook(options, feed, reactor)
    node = _this_node(options, reactor)
    name = "" if node is None else node.name
    pool = WorkerPool(settings.workers, _launch(options, tokens, name), reactor, feed.publish)
    listeners = SupervisorListeners(
        pool, bind_address=settings.bind_address, reserved_ports=frozenset({settings.api_port})
    )
    files = FileThread(reactor)
    poller, database = make_table_source(settings, options.current_password(), listeners, files.run, reactor)
    selection = select_apps(settings, options.apps, options.placeholders, reactor)
    backend = ReturnBackend(settings, reactor, time.time)
    server = SupervisorServer(
        pool,
        listeners,
        poller,
        files,
        reactor,
        drain_seconds=settings.drain_seconds,
        succession=_succession(settings, reactor),
        read_again=partial(_read_again, selection, tokens_file),
        starting=backend.read_key,
    )
    selection.setServiceParent(server)
    apartments = make_apartments(settings, reactor, lambda: condominiums(listeners.extensions.values()))
    apartments.setServiceParent(server)
    make_retention(settings, reactor).setServiceParent(server)
    records = make_records(settings, apartments)
    control = SupervisorControl(
        server,
        database,
        reactor.seconds,
        settings.api_port,
        selection,
        records,
        partial(_services, tokens_file, webhook),
        backend,
        tokens,
        settings.fleet_ports,
    )
    GCPolicy(reactor, busy=lambda: False).setServiceParent(server)
    _make_api(options, control, feed, api_tokens, reactor).setServiceParent(server)
    tokens_file.setServiceParent(server)
    if webhook is not None:
        webhook.setServiceParent(server)
    StateWatch(listeners, poller, database, feed.publish, reactor).setServiceParent(server)
    if database is not None:
        database.setServiceParent(server)
    if node is not None:
        control.fleet = node.join(
            server, control, lambda: list(listeners.extensions.values()), lambda: pool.live_legs
        )
    poller.setServiceParent(server)
    _notify_manager(server, reactor, lambda: pool.live_legs)
    return server


def _launch(options: Options, tokens: CallTokens, node: str) -> Launch:
    """Return how workers are started: with this process's modules and settings, none on the command line.

    ``node`` is the name of this node; without one, outside a fleet, workers have no database.
    """
    given = settings_of_workers(options.settings, options.given, options.password, node)
    count = options.settings.workers
    return Launch(
        [sys.executable, "-m", "audiosocket.workers"],
        {
            **{name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        {
            "settings": given,
            "journals": [journals.name(index, count) for index in range(count)],
            "lines": process_log.plan is not None,
            "env_file": options.env_file,
            "node": node,
            "call_tokens": vars(tokens),
        },
    )


def _make_webhook(options: Options, feed: EventFeed, reactor: ServerReactor) -> EventWebhook | None:
    settings = options.settings
    if not settings.events_webhook_url:
        return None
    secret = secret_from(
        "EVENTS_WEBHOOK_SECRET", settings.events_webhook_secret, settings.events_webhook_secret_file, reactor
    )
    return EventWebhook(HTTPClient(reactor), reactor, time.time, feed, settings.events_webhook_url, secret)


def _services(
    tokens_file: TokensFile, webhook: EventWebhook | None, adoption: Adoption | None = None
) -> ServicesJSON:
    return {
        "api_tokens": tokens_file.to_json(),
        "events_webhook": NO_WEBHOOK if webhook is None else webhook.to_json(),
        "fleet_calls": None if adoption is None else adoption.to_json(),
    }


def _read_again(selection: AppSelection, tokens_file: TokensFile) -> None:
    selection.read_again()
    tokens_file.read_again()


def _make_tokens(options: Options, reactor: ServerReactor) -> tuple[KnownTokens, TokensFile]:
    settings = options.settings
    always = [ApiToken.of(settings.api_token)] if settings.api_token else []
    tokens = KnownTokens([*always, *options.api_tokens])
    return tokens, TokensFile(
        settings.api_tokens_file, always, tokens, deferToThread, reactor, settings.api_token_file
    )


def _make_api(
    options: Options, control: Control, feed: EventFeed, tokens: KnownTokens, reactor: ServerReactor
) -> ApiPort:
    settings = options.settings
    for_others = urlsplit(api_url(settings, socket.gethostname())).hostname or ""
    hosts = (settings.api_host, *settings.api_allowed_hosts, for_others)
    site = make_site(
        control,
        feed,
        tokens=tokens,
        session_key=session_key(Path(settings.data_dir)) if tokens.required else b"",
        hosts=hosts,
        signature_header=SIGNATURE_HEADER,
        dial=partial(PhoneCall, reactor) if settings.phone else None,
        reactor=reactor,
    )
    return ApiPort(site, settings.api_host, settings.api_port, reactor)


def _this_node(options: Options, reactor: ServerReactor) -> ThisNode | None:
    """Return this process as a node; None without FLEET."""
    settings = options.settings
    if not settings.fleet:
        return None
    return ThisNode(settings, options.current_password(), reactor, host=socket.gethostname(), life=token_hex(8))
