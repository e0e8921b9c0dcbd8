"""The HTTP API without a server: a `Control` in memory, and HTTP in memory or over loopback sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPMessage, HTTPResponse
from io import BytesIO
from typing import Any, cast
from uuid import UUID

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from admin.api import AdminAPI
from admin.phones.phone import Dial
from admin.resource import make_site
from admin.sessions import Sessions
from admin.site import AdminChannel
from audiosocket.api_tokens import ApiToken, KnownTokens
from audiosocket.asterisk.dialplan import Style, lines
from audiosocket.control_interface import (
    CallControl,
    CallSelection,
    Control,
    ExtensionControl,
    FleetControl,
    Note,
    RecordControl,
    Soon,
    ignore,
)
from audiosocket.errors import AudioSocketError, ExtensionTaken, SourceUnavailable, UnknownCall, UnknownExtension
from audiosocket.extensions.model import DEFAULT_EXTENSION, Extension, Role
from audiosocket.extensions.parsing import parse_json
from audiosocket.json_shapes import (
    ApartmentPageJSON,
    CallJSON,
    CallPageJSON,
    ExtensionAppsJSON,
    MediaFileJSON,
    RefreshJSON,
    RowJSON,
    RowsJSON,
    StatusJSON,
)
from audiosocket.outbound.webhook_signature import SIGNATURE_HEADER
from audiosocket.runtime.event_feed import EventFeed
from audiosocket.server.draining import NodeDrain

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")


#: The parts of a status in which nothing is wrong that problems are found in.
HEALTHY: dict[str, Any] = {
    "database": {"configured": True, "state": "up", "reason": "", "since_seconds": 5.0},
    "last_refresh": None,
    "configuration": {"source": "database", "age_seconds": 1.0, "file_trouble": ""},
    "apps": {"file": "apps.toml", "state": "used", "entries": 1, "line": None, "reason": None},
    "storage": [],
    "mislabelled_codecs": {},
    "reactor": {"lag_ms_worst_10s": 3.0, "blocked_by": []},
    "return_backend": {"kind": "ami", "state": "up", "reason": ""},
    "api_tokens": {"file": "", "state": "absent", "reason": "", "names": []},
    "events_webhook": {"state": "off", "reason": "", "waiting": 0, "dropped_total": 0},
    "fleet_calls": None,
    "fleet_ports": {"range": "", "outside": []},
    "drain": {"active": False, "since": None},
    "fleet": {"node": "", "url": "", "url_is_local": False, "name_shared": False, "nodes": {}, "database": None},
    "limits_reached_total": {"calls": 0},
    "open_files": {"used": 30, "limit": 1000, "accepting": True},
}


class FakeControl:
    """A `Control` over a dict, its own `ExtensionControl` and `CallControl`.

    Every method raises ``error`` where it is set; coroutines wait for ``blocked_on`` before.
    """

    def __init__(self) -> None:
        self.running = {0: DEFAULT_EXTENSION}
        self.legs = {(CALL, Role.VISITOR)}
        self.requests: list[tuple[Any, ...]] = []
        self.error: BaseException | None = None
        self.call_error: AudioSocketError | None = None  # a return call
        self.blocked_on: Deferred[None] | None = None
        self.started = 0
        self.refresh_result: dict[str, Any] = {"result": "applied"}
        self.health = (True, "")
        self.ending = ""
        self.fleet: FleetControl | None = None
        self.drain = NodeDrain(lambda: self.ending, lambda: self.health[1], lambda: 1_000.0)

    @property
    def extensions(self) -> ExtensionControl:
        return self

    @property
    def calls(self) -> CallControl:
        return self

    @property
    def records(self) -> RecordControl:
        return self

    def apartments(self, condominium_id: int | None, limit: int, offset: int) -> ApartmentPageJSON:
        self._fail()
        self.requests.append(("apartments", condominium_id, limit, offset))
        return {
            "apartments": [],
            "next_offset": None,
            "total": 0,
            "files": [],
            "problems_total": 0,
            "problems": [],
        }

    async def audit(self, since: datetime | None, limit: int) -> list[dict[str, Any]]:
        await self._disturb()
        self.requests.append(("audit", since, limit))
        return [{"call_id": str(CALL), "opened": True}]

    async def media(self, call_id: UUID) -> list[MediaFileJSON]:
        await self._disturb()
        self.requests.append(("media", call_id))
        return [{"name": f"{call_id}.wav", "bytes": 44, "changed_at": "2026-01-31T10:15:23Z"}]

    async def erase_media(self, call_id: UUID) -> list[MediaFileJSON]:
        await self._disturb()
        self.requests.append(("erase_media", call_id))
        return [{"name": f"{call_id}.wav", "bytes": 44, "changed_at": "2026-01-31T10:15:23Z"}]

    def status(self) -> Soon[StatusJSON]:
        self._fail()
        shown = [
            {
                **e.to_json(),
                "ip": e.server_ip,
                "status": "ativo",
                "state": "listening",
                "bind": "0.0.0.0",
                "actual_porta_ia": e.port,
            }
            for e in self.running.values()
        ]
        return cast("StatusJSON", {**HEALTHY, "total_extensions": len(shown), "extensions": shown})

    def all(self) -> Soon[list[CallJSON]]:
        self._fail()
        return [cast("CallJSON", {"call_id": str(CALL), "state": "live"})]

    def page(self, selection: CallSelection) -> Soon[CallPageJSON]:
        self._fail()
        self.requests.append(("page", selection))
        return {"total": 7, "calls": [cast("CallJSON", {"call_id": str(CALL)})], "next_cursor": "live_1_2"}

    def get(self, call_id: UUID) -> Soon[CallJSON]:
        self._fail()
        if call_id != CALL:
            raise UnknownCall(f"no call has the UUID {call_id}")
        return cast("CallJSON", {"call_id": str(CALL), "timeline": [{"event": "app.note", "what": {1, 2}}]})

    def dialplan(
        self, extension_id: int | None, style: Style, wideband: bool, host: str = "", asked_at: str = ""
    ) -> str:
        self._fail()
        self.requests.append(("dialplan", extension_id, asked_at))
        chosen = self.running.values() if extension_id is None else [self._known(extension_id)]
        return lines(*chosen, style=style, wideband=wideband, host=host)

    def apps_of(self, extension_id: int) -> ExtensionAppsJSON:
        self._fail()
        self._known(extension_id)
        visitor = {"app": "echo", "apps": ["echo"], "from": "VISITOR_APP"}
        return cast("ExtensionAppsJSON", {"extension_id": extension_id, "visitor": visitor})

    def hang_up(self, call_id: UUID, role: Role) -> Soon[None]:
        self._fail()
        if (call_id, role) not in self.legs:
            raise UnknownCall(f"call {call_id} has no live {role.value} leg")
        self.requests.append(("hang_up", call_id, role))
        return None

    def return_call(self, call_id: UUID, numbers: Sequence[str]) -> Soon[CallJSON]:
        call = self.get(call_id)
        if self.call_error is not None:
            raise self.call_error
        self.requests.append(("return", call_id, *numbers))
        return call

    def cancel_return(self, call_id: UUID) -> Soon[CallJSON]:
        call = self.get(call_id)
        if self.call_error is not None:
            raise self.call_error
        self.requests.append(("cancel", call_id))
        return call

    def command(self, call_id: UUID, role: Role, name: str, arguments: Mapping[str, Any]) -> Soon[dict[str, Any]]:
        self.get(call_id)
        if self.call_error is not None:
            raise self.call_error
        self.requests.append(("command", call_id, role, name, dict(arguments)))
        return {}

    def call_of_token(self, token: str) -> UUID | None:
        word, _, call_id = token.partition("token-of-")
        return UUID(call_id) if not word and call_id else None

    def attempt_ended(self, attempt_id: str, end: str, reason: str) -> Soon[None]:
        self._fail()
        if self.call_error is not None:
            raise self.call_error
        self.requests.append(("report", attempt_id, end, reason))
        return None

    def vouches(self, signature: str, attempt_id: str, body: bytes) -> bool:
        return signature == f"signed {attempt_id} {body.decode()}"

    def ready(self) -> tuple[bool, str]:
        return self.health

    def healthy(self) -> tuple[bool, str]:
        return self.health

    async def refresh(self, *, force: bool, dry_run: bool) -> RefreshJSON:
        await self._disturb()
        self.requests.append(("refresh", force, dry_run))
        stats = {"removed": 0, "updated": 0, "added": 0, "total_active": len(self.running)}
        return cast("RefreshJSON", {**self.refresh_result, "stats": stats})

    async def rows(self) -> RowsJSON:
        await self._disturb()
        rows = [extension.to_json() for extension in self.running.values()]
        return cast("RowsJSON", {"total": len(rows), "extensions": rows})

    async def row(self, extension_id: int) -> RowJSON:
        await self._disturb()
        if extension_id not in self.running:
            raise UnknownExtension(f"the table has no extension with id {extension_id}")
        return cast("RowJSON", self.running[extension_id].to_json())

    async def restart(self, *, extension_id: int | None, number: str | None) -> Extension:
        await self._disturb()
        self.requests.append(("restart", extension_id, number))
        for extension in self.running.values():
            if extension_id == extension.id or (extension_id is None and number == extension.number):
                return extension
        raise UnknownExtension(f"no extension is {number if extension_id is None else extension_id}")

    async def add(self, fields: Mapping[str, Any], note: Note = ignore) -> Extension:
        await self._disturb()
        extension = parse_json({**fields, "id": max(self.running, default=0) + 1})
        if extension.port in {e.port for e in self.running.values()}:
            raise ExtensionTaken(f"porta_ia {extension.port} belongs to another extension")
        self.running[extension.id] = extension
        return extension

    async def change(self, extension_id: int, fields: Mapping[str, Any], note: Note = ignore) -> Extension:
        await self._disturb()
        self.requests.append(("change", extension_id, dict(fields)))
        self.running[extension_id] = parse_json({**self._known(extension_id).to_json(), **fields})
        return self.running[extension_id]

    async def remove(self, extension_id: int, note: Note = ignore) -> None:
        await self._disturb()
        del self.running[self._known(extension_id).id]

    def _known(self, extension_id: int) -> Extension:
        if extension_id not in self.running:
            raise UnknownExtension(f"no extension has the id {extension_id}")
        return self.running[extension_id]

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    async def _disturb(self) -> None:
        self.started += 1
        if self.blocked_on is not None:
            await self.blocked_on
        self._fail()


DATABASE_GONE = SourceUnavailable("the database cannot be reached: connection refused")


@dataclass(frozen=True)
class Response:
    """One HTTP response."""

    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the body; fail unless its Content-Type is JSON."""
        assert self.headers["Content-Type"] == "application/json; charset=utf-8", self.headers["Content-Type"]
        return json.loads(self.body.decode("utf-8"))


class FakeTransport(StringTransport):
    """The transport of the server's end of a connection in memory."""

    def __init__(self, local: str, peer: str) -> None:
        kinds = [IPv6Address if ":" in host else IPv4Address for host in (local, peer)]
        super().__init__(kinds[0]("TCP", local, 8082), kinds[1]("TCP", peer, 50_000), lenient=True)
        self.half_closed = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    @property
    def finished(self) -> bool:
        """Whether the server has closed its end."""
        return bool(self.half_closed or self.disconnecting)


class FakeConnection:
    """One client connection in memory."""

    def __init__(self, site: Any, local: str = "127.0.0.1", peer: str = "127.0.0.1") -> None:
        self.transport = FakeTransport(local, peer)
        channel: AdminChannel | None = site.buildProtocol(self.transport.getPeer())
        self.accepted = channel is not None
        if channel is not None:
            self.channel = channel
            channel.makeConnection(self.transport)

    def send(self, *pieces: bytes) -> FakeConnection:
        for piece in pieces:
            if not self.transport.disconnecting:
                self.channel.dataReceived(piece)
        return self

    def responses(self, *methods: str) -> list[Response]:
        """Return the responses so far; ``methods`` are those of the requests, needed for HEAD."""
        stream = _Stream(self.transport.value())
        found: list[Response] = []
        while stream.left():
            method = methods[len(found)] if len(found) < len(methods) else "GET"
            response = HTTPResponse(stream, method=method)  # type: ignore[arg-type]
            response.begin()
            body = response.read()
            found.append(Response(response.status, response.headers, body))
        return found

    def close(self) -> None:
        """Close the connection by the client."""
        self.transport.connected = False
        self.channel.connectionLost(Failure(ConnectionDone()))


class _Stream(BytesIO):
    """Bytes that `HTTPResponse` reads as if from a socket, and whose `close` does nothing."""

    def makefile(self, mode: str) -> _Stream:
        return self

    def close(self) -> None:
        """Do nothing: the next response starts where this one ended."""

    def left(self) -> bool:
        return self.tell() < len(self.getvalue())


def tokens_of(token: str) -> list[ApiToken]:
    """Return the tokens of a server with this API_TOKEN."""
    return [ApiToken.of(token)] if token else []


class AdminClient:
    """The API over a `FakeControl`, with a client in memory and a clock that the test moves."""

    def __init__(
        self,
        *,
        token: str = "",
        hosts: tuple[str, ...] = (),
        tokens: Sequence[ApiToken] = (),
        dial: Dial | None = None,
        control: FakeControl | None = None,
    ) -> None:
        self.control = control or FakeControl()
        self.clock = Clock()
        #: The time of day, for cookies.
        self.now = 0.0
        self.feed = EventFeed(lambda: self.now)
        self.tokens = KnownTokens([*tokens_of(token), *tokens])
        used: Control = self.control
        self.site = make_site(
            used,
            self.feed,
            tokens=self.tokens,
            session_key=b"key",
            hosts=hosts,
            signature_header=SIGNATURE_HEADER,
            reactor=self.clock,
            now=lambda: self.now,
            dial=dial,
        )

    @property
    def api(self) -> AdminAPI:
        """The routes alone."""
        return AdminAPI(self.control, Sessions(b"", KnownTokens(), self.clock.seconds), self.feed, self.clock)

    def connect(self, **addresses: str) -> FakeConnection:
        return FakeConnection(self.site, **addresses)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | object = b"",
        *,
        local: str = "127.0.0.1",
        peer: str = "127.0.0.1",
        **headers: str,
    ) -> Response:
        """Send one request on a connection of its own and return the response.

        The names of ``headers`` have underscores for hyphens.
        """
        wire = self.connect(local=local, peer=peer)
        wire.send(request_bytes(method, path, body, **headers))
        (answer,) = wire.responses(method)
        wire.close()
        return answer


def for_each(*rows: Any) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Run a test for every row with a new `AdminClient`: much faster than one pytest test for each."""

    def decorate(test: Callable[..., None]) -> Callable[[], None]:
        def run() -> None:
            for row in rows:
                try:
                    test(AdminClient(), *(row if isinstance(row, tuple) else (row,)))
                except AssertionError as problem:
                    raise AssertionError(f"{row}: {problem}") from problem

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


def request_bytes(method: str, path: str, body: bytes | object = b"", **headers: str) -> bytes:
    """Return the bytes of a request; a body that is not bytes is sent as JSON, ``Host=""`` sends no Host.

    The messages of errors are compared in English; ``Accept_Language=""`` asks for no language.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Host": "localhost", "Accept_Language": "en", **headers}
    if content:
        fields["Content-Length"] = str(len(content))
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value]
    return (
        f"{method} {path} HTTP/1.1\r\n".encode("latin-1")
        + "\r\n".join([*lines, "", ""]).encode("latin-1")
        + content
    )


@asynccontextmanager
async def listening(control: Control, *, token: str = "") -> AsyncIterator[int]:
    """Serve the API on a free loopback port, and give the port."""
    site: Any = make_site(
        control,
        EventFeed(lambda: 0.0),
        tokens=KnownTokens(tokens_of(token)),
        session_key=b"key",
        hosts=(),
        signature_header=SIGNATURE_HEADER,
        reactor=reactor,
    )
    port: Any = reactor.listenTCP(0, site, interface="127.0.0.1")
    try:
        yield port.getHost().port
    finally:
        await port.stopListening()


def dial(port: int) -> socket.socket:
    """Return a blocking client socket, for threads."""
    return socket.create_connection(("127.0.0.1", port), timeout=5)
