"""What the app porteiro needs of a process besides calls: the directory of apartments and the gate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

from twisted.internet.threads import deferToThread

from audiosocket.apps.porteiro.directory_files import DirectoryFiles
from audiosocket.apps.record import record_directory
from audiosocket.calls.events import EventLog
from audiosocket.calls.registry import CallRegistry
from audiosocket.extensions.model import Extension
from audiosocket.gate.ami import GateKeys
from audiosocket.gate.audit import FILE_NAME as AUDIT_NAME
from audiosocket.gate.audit import AuditFile
from audiosocket.gate.journal import DIRECTORY, GateJournal
from audiosocket.gate.opener import Claims, GateOpener, Way
from audiosocket.gate.record import GateRecord
from audiosocket.gate.webhook import GateWebhook
from audiosocket.outbound.http_client import HTTPClient
from audiosocket.outbound.secret import secret_from
from audiosocket.returncalls.backends.selection import ReturnBackend
from audiosocket.runtime.file_thread import FileThread
from audiosocket.server.reactor import ServerReactor
from audiosocket.server.records import RecordControl, Retention
from audiosocket.settings import Settings


def make_gate(
    settings: Settings,
    reactor: ServerReactor,
    backend: ReturnBackend,
    registry: CallRegistry,
    events: EventLog,
    mine: Callable[[UUID], bool],
    claims: Claims | None = None,
) -> GateOpener:
    """The gate as the settings say; ``mine`` says which calls are this process's, ``claims`` which this node's."""
    data_dir = Path(settings.data_dir).absolute()
    files = FileThread(reactor)
    ways: list[Way] = []
    client: HTTPClient | None = None
    if settings.gate_webhook_url:
        client = HTTPClient(reactor)
        path = settings.gate_webhook_secret_file
        secret = secret_from("GATE_WEBHOOK_SECRET", settings.gate_webhook_secret, path, reactor)
        ways.append(GateWebhook(client, reactor, time.time, settings.gate_webhook_url, secret))
    ami, channels, telephony = backend.ami, backend.channels, backend.telephony
    if settings.gate_dtmf and ami is not None and channels is not None and telephony is not None:
        ways.append(GateKeys(ami, channels, telephony, settings.gate_dtmf))

    def note(record: GateRecord, event: str, fields: dict[str, Any]) -> None:
        """Into the timeline of the call, as long as it is known; else into the log only."""
        call = registry.get(record.uuid)
        if call is not None:
            call.note(event, reactor.seconds(), **fields)
        else:
            identity = {"call_id": record.call_id, "extension": record.extension, "number": record.ramal}
            events.emit(event, identity, fields)

    async def close() -> None:
        if client is not None:
            await client.close()
        await files.stop()

    journal, audit = GateJournal(data_dir / DIRECTORY), AuditFile(data_dir / AUDIT_NAME)
    return GateOpener(
        ways,
        journal,
        audit,
        reactor,
        files.run,
        note,
        mine=mine,
        close=close,
        claims=claims,
        resume_seconds=settings.resume_seconds,
    )


def condominiums(extensions: Iterable[Extension]) -> frozenset[int]:
    """The condominiums of these extensions."""
    return frozenset(extension.condominium_id for extension in extensions)


def make_records(settings: Settings, apartments: DirectoryFiles) -> RecordControl:
    """What the API may ask about what is kept of visits."""
    audit = AuditFile(Path(settings.data_dir).absolute() / AUDIT_NAME)
    return RecordControl(apartments, audit, record_directory(settings).absolute(), deferToThread)


def make_retention(settings: Settings, reactor: ServerReactor) -> Retention:
    """What removes recordings and transcripts whose time is over."""
    return Retention(record_directory(settings).absolute(), reactor, deferToThread)


def make_apartments(
    settings: Settings,
    reactor: ServerReactor,
    condominiums: Callable[[], Iterable[int] | None],
    *,
    quiet: bool = False,
) -> DirectoryFiles:
    """The directory of apartments in ``DATA_DIR``; ``condominiums`` are those of all extensions."""
    directory = Path(settings.data_dir).absolute()
    take_any = settings.return_kind == "none"
    return DirectoryFiles(directory, condominiums, reactor, deferToThread, take_any=take_any, quiet=quiet)
