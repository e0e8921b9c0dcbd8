"""Whole visits to the app porteiro over sockets: a visitor, a resident, and a gate that is a program."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.http import Request
from twisted.web.server import NOT_DONE_YET

from audiosocket.client.caller import Caller
from tests.support.fake_web_servers import http_server
from tests.support.loopback_server import LOOPBACK, reactor
from tests.support.ports import free_ports
from tests.support.server_process import ServerProcess

APARTMENTS = [
    {"apartment_number": "101", "residents": ["Ana"], "voip_number": "1003030"},
    {
        "apartment_number": "102",
        "residents": ["Rui"],
        "voip_number": "sip:102@pbx.example",
        "numbers": ["1021", "1022"],
    },
]
SECRET = "not-a-secret"


class GateProgram:
    """A program that opens the gate: what it was asked, and what it answers next."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.genuine: list[bool] = []
        #: Statuses to answer with, one after the other, the last one for ever; 0: no answer at all.
        self.statuses = [200]

    def answer(self, request: Request, body: bytes) -> tuple[int, bytes] | int:
        """Answer one request."""
        self.asked.append(json.loads(body))
        self.keys.append(str(request.getHeader("Idempotency-Key")))
        self.genuine.append(is_genuine(SECRET, str(request.getHeader("X-Audiosocket-Signature")), body))
        status = self.statuses[min(len(self.asked), len(self.statuses)) - 1]
        if status == 0:
            return NOT_DONE_YET
        return status, b'{"gate": "opened"}' if status < 300 else b"no"

    @property
    def opened(self) -> set[str]:
        """The calls for which it opened: those it answered 2xx, once however often it was asked."""
        return {
            key
            for number, key in enumerate(self.keys)
            if 200 <= self.statuses[min(number + 1, len(self.statuses)) - 1] < 300
        }


def is_genuine(secret: str, header: str, body: bytes) -> bool:
    """Whether a request was signed with this secret, as docs/gate.md verifies it."""
    given = dict(part.split("=", 1) for part in header.split(","))
    right = hmac.new(secret.encode(), f"{given['t']}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(given["v1"], right)


class Door:
    """A running server with porteiro on both roles, and those who call it."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.callers: list[Caller] = []

    async def visitor(self, call_id: UUID | None = None, rate: int = 8_000) -> Caller:
        """Somebody at the gate, who hears the first words."""
        return await self.dial(self.server.visitor, call_id, rate)

    async def resident(self, visitor: Caller, rate: int = 8_000) -> Caller:
        """Who opens the return port with the visitor's UUID."""
        return await self.dial(self.server.resident, visitor.call_id, rate)

    async def dial(self, port: int, call_id: UUID | None, rate: int = 8_000) -> Caller:
        """A caller on this port."""
        caller = Caller(reactor, call_id, rate)
        self.callers.append(caller)
        await caller.dial(LOOPBACK, port)
        return caller

    async def call(self, caller: Caller) -> dict[str, Any]:
        """The call as the API shows it."""
        _, answer = await deferToThread(self.server.request, f"/api/calls/{caller.call_id}")
        return dict(answer.get("call", {}))

    async def states(self, caller: Caller) -> list[str]:
        """The stages that the visit has gone through."""
        call = await self.call(caller)
        return [str(one["state"]) for one in call.get("timeline", []) if one.get("app") == "porteiro"]

    async def until_state(self, caller: Caller, state: str) -> None:
        """Wait for a stage."""
        await self.until(caller, lambda call: any(one.get("state") == state for one in call.get("timeline", [])))

    async def until(self, caller: Caller, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the call is as wanted, and return it."""
        while not condition(call := await self.call(caller)):
            await deferLater(reactor, 0.03)
        return call

    async def until_ended(self, caller: Caller) -> dict[str, Any]:
        """The call, once it is over."""
        return await self.until(caller, lambda call: bool(call.get("state") == "ended"))

    async def authorise(self, visitor: Caller, resident: Caller, key: str = "1") -> None:
        """Press a key until the menu has begun and the key counts."""
        while (await self.states(visitor))[-1] == "menu":
            resident.press(key)
            await deferLater(reactor, 0.15)

    def audit(self) -> list[dict[str, Any]]:
        """The lines of the audit file."""
        path = self.server.directory / "data" / "audit.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def until_audited(self, count: int = 1) -> list[dict[str, Any]]:
        """The lines of the audit file, once there are so many."""
        while len(self.audit()) < count:
            await deferLater(reactor, 0.03)
        return self.audit()

    async def close(self) -> None:
        """Hang up all."""
        for caller in self.callers:
            caller.hang_up()
            await caller.ended


@asynccontextmanager
async def door(
    directory: Path,
    settings: Mapping[str, str] | None = None,
    *,
    apartments: Sequence[Mapping[str, Any]] | None = APARTMENTS,
    rows: Sequence[Mapping[str, Any]] | None = None,
    make: type[ServerProcess] = ServerProcess,
) -> AsyncIterator[Door]:
    """Give a `Door` on a server with these settings; hang up and stop the server in the end."""
    visitor, resident = free_ports(2)
    one = {"id": 1, "ramal_ia": "1000", "ramal_retorno": "1001", "porta_ia": visitor, "porta_retorno": resident}
    if apartments is not None:
        (directory / "data").mkdir(parents=True)
        (directory / "data" / "apartamentos.json").write_text(json.dumps(list(apartments)))
    server = make(directory, {"RETURN_RING_SECONDS": "5", **(settings or {})}, rows=rows or [one], app="")
    server.visitor, server.resident = visitor, resident
    await deferToThread(server.__enter__)
    here = Door(server)
    try:
        yield here
        await here.close()
    finally:
        await deferToThread(server.__exit__, None, None, None)


@asynccontextmanager
async def gate_program() -> AsyncIterator[tuple[GateProgram, dict[str, str]]]:
    """Give a `GateProgram` that listens, and the settings with which a server asks it."""
    program = GateProgram()
    async with http_server(program.answer) as url:
        yield program, {"GATE_WEBHOOK_URL": url, "GATE_WEBHOOK_SECRET": SECRET}
