"""The server as an operator runs it: a process with an .env and directories of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import treq
from twisted.internet import defer, error, task
from twisted.web.client import HTTPConnectionPool, ResponseNeverReceived

from tests.real_asterisk.rig import Process
from tests.support.ports import free_port

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Row:
    """One extension of the server: numbers, ports of this run, and a condominium of its own."""

    id: int
    number: str
    return_number: str
    port: int
    return_port: int

    def to_json(self, host: str) -> dict[str, Any]:
        """Return the entry in the local file."""
        numbers = {"id": self.id, "ramal_ia": self.number, "ramal_retorno": self.return_number}
        ports = {"porta_ia": self.port, "porta_retorno": self.return_port}
        return {**numbers, **ports, "ip_servidor": host, "condominio_id": self.id}


#: Starts a server that is stopped after the test: arguments as for `start_server`, without reactor and directory.
Serve = Callable[..., Awaitable["Server"]]


class Server:
    """``python -m audiosocket`` with extension 1000/1001, and 1002/1003 and so on if there are more rows.

    ``start`` after ``kill`` keeps ports and directories, as a restart by systemd does. Everything it is asked, it
    is asked over its HTTP API.
    """

    def __init__(self, reactor: Any, directory: Path, settings: dict[str, str], rows: int = 1) -> None:
        self._reactor = reactor
        self.directory = directory
        self._pool = HTTPConnectionPool(reactor, persistent=False)
        self._process = Process()
        self.host = "127.0.0.1"
        self.rows = [
            Row(n + 1, str(1000 + 2 * n), str(1001 + 2 * n), free_port(), free_port()) for n in range(rows)
        ]
        self.visitor_port, self.return_port = self.rows[0].port, self.rows[0].return_port
        self.api = f"http://{settings.get('API_HOST', '127.0.0.1')}:{(api_port := free_port())}"
        file = {"ramais": [row.to_json(self.host) for row in self.rows]}
        (directory / "data").mkdir()
        (directory / "data" / "ramais_config.json").write_text(json.dumps(file))
        lines = {"API_PORT": str(api_port), "DATA_DIR": "data", "LOG_DIR": "logs", **settings}
        (directory / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    async def replace(self, seconds: float = 40) -> None:
        """Stop with SIGTERM, start the next process at once, and wait until that is ready for calls."""
        old = self._process
        old.transport.signalProcess("TERM")  # type: ignore[union-attr]
        try:
            await self.start(seconds)
        finally:
            await old.stop(self._reactor)

    async def start(self, seconds: float = 15) -> None:
        """Start, and wait until it is ready for calls."""
        self._process = Process()
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(_ROOT)}
        command = [sys.executable, "-m", "audiosocket"]
        self._reactor.spawnProcess(
            self._process, sys.executable, command, env=environment, path=str(self.directory)
        )
        try:
            await self.until(self._ready, seconds)
        except BaseException:
            await self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return int(self._process.transport.pid)  # type: ignore[union-attr]

    async def stop(self) -> None:
        """Stop with SIGTERM."""
        await self._process.stop(self._reactor)

    async def kill(self) -> None:
        """Kill with SIGKILL."""
        self._process.transport.signalProcess("KILL")  # type: ignore[union-attr]
        await self._process.ended

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Send one request to the API; return status and JSON."""
        response = await treq.request(method, self.api + path, json=body, pool=self._pool, timeout=5)
        return response.code, await response.json()

    async def calls(self, role: str = "visitor", state: str = "live") -> list[str]:
        """Return the ids of calls with a leg of that role in that state, "live" or "ended"."""
        _, answer = await self.ask("GET", "/api/calls")
        return [
            call["call_id"]
            for call in answer["calls"]
            if any(leg["role"] == role and leg["state"] == state for leg in call["legs"])
        ]

    async def arrived(self, count: int = 1, role: str = "visitor", seconds: float = 10) -> list[str]:
        """Wait for ``count`` live legs of that role; return their call ids."""

        async def enough() -> bool:
            return len(await self.calls(role)) >= count

        await self.until(enough, seconds)
        return await self.calls(role)

    async def left(self, call_id: str, role: str = "visitor", seconds: float = 5) -> None:
        """Wait until that leg has ended."""

        async def over() -> bool:
            return call_id not in await self.calls(role)

        await self.until(over, seconds)

    async def events(self, call_id: str, name: str, count: int = 0, seconds: float = 10) -> list[dict[str, Any]]:
        """Wait for ``count`` events of that name in a call's timeline; return them."""

        async def found() -> list[dict[str, Any]]:
            timeline = (await self.call(call_id))["timeline"]
            return [event for event in timeline if event["event"] == name]

        async def enough() -> bool:
            return len(await found()) >= count

        await self.until(enough, seconds)
        return await found()

    async def call(self, call_id: str) -> dict[str, Any]:
        """Return a call as the API shows it, with its timeline."""
        status, answer = await self.ask("GET", f"/api/calls/{call_id}")
        assert status == 200, answer
        shown: dict[str, Any] = answer["call"]
        return shown

    async def until_call(
        self, call_id: str, wanted: Callable[[dict[str, Any]], bool], seconds: float = 10
    ) -> dict[str, Any]:
        """Wait until a call is as wanted; return it."""

        async def is_wanted() -> bool:
            return wanted(await self.call(call_id))

        await self.until(is_wanted, seconds)
        return await self.call(call_id)

    async def recording(self, call_id: str, role: str = "visitor") -> Path:
        """Wait for the finished recording of a leg; return its path."""
        await self.events(call_id, "recording.ended", 1)
        return self.directory / "data" / "recordings" / f"{call_id}{'' if role == 'visitor' else '-resident'}.wav"

    async def hang_up(self, call_id: str, role: str = "visitor") -> None:
        """Make the server send the hangup frame to one leg."""
        status, answer = await self.ask("POST", "/api/hangup", {"call_id": call_id, "role": role})
        assert status == 200, answer

    def log(self) -> list[str]:
        """Return the lines of its log file, those of earlier processes included."""
        path = self.directory / "logs" / "audiosocket.log"
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def report(self) -> str:
        """Return what the process printed, its log included."""
        return self._process.output.decode(errors="replace")

    async def _ready(self) -> bool:
        try:
            status, _ = await self.ask("GET", "/readyz")
        except (error.ConnectError, ResponseNeverReceived):  # the latter: from a process that was ending
            return False
        return status == 200

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
        """Wait for a condition; fail with what the server printed."""
        deadline = self._reactor.seconds() + seconds
        while not await condition():
            if self._reactor.seconds() > deadline or not self._process.running:
                raise defer.TimeoutError(f"not within {seconds} s\n{self.report()}")
            await task.deferLater(self._reactor, 0.05)


async def start_server(reactor: Any, directory: Path, app: str = "echo", rows: int = 1, **settings: str) -> Server:
    """Return a running server with ``app`` for both roles; settings have the names of the server's."""
    server = Server(reactor, directory, {"VISITOR_APP": app, "RESIDENT_APP": app, **settings}, rows)
    await server.start()
    return server
