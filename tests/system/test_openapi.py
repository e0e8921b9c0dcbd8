"""The OpenAPI document of a real server, compared with what each of its routes really answers."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from tests.support.fleet import create_tables
from tests.support.ports import free_ports
from tests.support.postgres import PostgresServer
from tests.support.server_process import ServerProcess, checkout_environment, wait_until

TOKEN, READER = "sesame", "only looks"
UNKNOWN = str(UUID(int=7))
#: Answered by a stream, and by a WebSocket: tests of their own.
NOT_CALLED = {("/api/events", "get"), ("/api/phone", "get")}


@dataclass(frozen=True)
class Answer:
    """A response; ``json`` is None for one that is none."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text) if self.kind == "application/json" else None

    @property
    def kind(self) -> str:
        return self.headers.get_content_type()


@dataclass
class Documented:
    """A server and its document; answers are checked against it, and what was called is kept."""

    server: ServerProcess
    document: dict[str, Any] = field(default_factory=dict)
    succeeded: set[tuple[str, str]] = field(default_factory=set)

    def request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str | None] | None = None
    ) -> Answer:
        """Send a request with the token; a header that is None is left out."""
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        wanted = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **(headers or {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.api_port, timeout=30)
        given = {name: value for name, value in wanted.items() if value is not None}
        try:
            connection.request(method, path, raw, given)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode("utf-8", "replace"))
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: object = None, status: int = 200, **headers: str | None) -> Answer:
        """Send a request; check that the answer has this status and is as the document says."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.request(method, path, body, named)
        assert answer.status == status, (method, path, answer.status, answer.text[:500])
        template, operation = self._operation(method, path)
        described = operation["responses"].get(str(status))
        assert described is not None, f"{method} {template} does not document {status}: {answer.text[:500]}"
        content = described.get("content", {})
        assert answer.kind in content, (method, template, status, answer.kind)
        if answer.json is not None:
            schema = {**content[answer.kind]["schema"], "components": self.document["components"]}
            wrong = [f"{one.json_path}: {one.message[:300]}" for one in validator(schema).iter_errors(answer.json)]
            assert not wrong, (method, template, status, wrong[:3])
        if status < 300:
            self.succeeded.add((template, method.lower()))
        return answer

    def _operation(self, method: str, path: str) -> tuple[str, Any]:
        plain = path.partition("?")[0]
        found = [
            (template, methods[method.lower()])
            for template, methods in self.document["paths"].items()
            if method.lower() in methods and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), plain)
        ]
        return min(found, key=lambda one: one[0].count("{"))


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema)


@pytest.fixture
def documented(
    tmp_path: Path, postgres: PostgresServer, database_with_table: str, database_settings: dict[str, str]
) -> Iterator[Documented]:
    create_tables(postgres, database_with_table)
    tokens = tmp_path / "tokens"
    tokens.write_text(f"reader {sha256(READER.encode()).hexdigest()} read\n")
    tokens.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        webhook = f"http://127.0.0.1:{never_answers.getsockname()[1]}/ring"
        settings = {
            "API_TOKEN": TOKEN,
            "API_TOKENS_FILE": str(tokens),
            "WEBHOOK_URL": webhook,
            "WEBHOOK_SECRET": "key",
            "FLEET": "true",
        }
        with ServerProcess(tmp_path / "server", {**database_settings, **settings}, app="echo") as server:
            one = Documented(server)
            one.document = one.request("GET", "/api/openapi.json").json
            yield one


@contextmanager
def call(documented: Documented, port: int) -> Iterator[str]:
    """Place a call that lasts until the test is over; yield its UUID once it is live."""
    command = [sys.executable, "-m", "audiosocket.cli", "dial", f"127.0.0.1:{port}", "--seconds", "60"]
    process = subprocess.Popen(
        command, env=checkout_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    found: list[str] = []

    def live() -> bool:
        calls = documented.request("GET", "/api/calls").json["calls"]
        found[:] = [one["call_id"] for one in calls if one["state"] == "live"]
        return bool(found)

    try:
        assert wait_until(live, 30)
        yield found[0]
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.deadline(180)
def test_every_route_answers_as_documented(documented: Documented) -> None:
    ask = documented.ask
    for path in (
        "/",
        "/page/page.js",
        "/healthz",
        "/readyz",
        "/livez",
        "/metrics",
        "/api/openapi.json",
        "/session",
    ):
        template = "/page/{name}" if path.startswith("/page/") else path
        if template in documented.document["paths"]:
            ask("GET", path)
    ask("POST", "/session")
    ask("DELETE", "/session")
    visitor, resident = free_ports(2)
    row = {"ramal_ia": "1000", "ramal_retorno": "1001", "porta_ia": visitor, "porta_retorno": resident}
    extension = ask("POST", "/api/extensions", row, 201).json["extension"]["id"]
    here = f"/api/extensions/{extension}"
    ask("POST", "/api/extensions", row, 409)
    ask("POST", "/api/extensions", {"ramal_ia": "x"}, 422)
    ask("PUT", here, {"condominio_id": 7})
    ask("PUT", "/api/extensions/999999", {"condominio_id": 7}, 404)
    ask("GET", here)
    ask("GET", "/api/extensions/999999", None, 404)
    ask("POST", "/api/refresh", {"dry_run": True})
    ask("POST", "/api/refresh?dry_run=maybe", None, 400)
    ask("POST", "/api/restart", {"extension_id": extension})
    ask("POST", "/api/restart", {"ramal": "none"}, 404)
    for path in ("/api/extensions", f"{here}/apps", f"{here}/dialplan", "/api/extensions/dialplan?host=192.0.2.7"):
        ask("GET", path)
    ask("GET", "/api/extensions/999999/dialplan", None, 404)
    with call(documented, visitor) as call_id:
        of_call = f"/api/calls/{call_id}"
        ask("POST", f"{of_call}/note", {"text": "a visitor"})
        ask("POST", f"{of_call}/return", {"number": "101"}, 202)
        ask("POST", f"{of_call}/return", {"number": "102"}, 409)
        for path in ("/api/status", "/api/problems", "/api/calls", "/api/calls?state=live&limit=1", of_call):
            ask("GET", path)
        ask("DELETE", f"{of_call}/return")
        ask("POST", "/api/hangup", {"call_id": call_id, "reason": "a test"})
        ask("GET", "/api/calls?state=ended")
        ask("GET", of_call)
        ask("DELETE", f"{of_call}/return", None, 404)
    for path in ("/api/apartments?limit=1", "/api/audit?limit=1", f"{of_call}/media"):
        ask("GET", path)
    ask("DELETE", f"{of_call}/media")
    ask("POST", "/api/hangup", {"call_id": UNKNOWN}, 404)
    ask("POST", "/api/attempts/7", {"end": "busy"}, 404)
    ask("DELETE", here)
    ask("DELETE", here, None, 404)
    ask("POST", "/api/drain")
    ask("DELETE", "/api/drain")
    ask("GET", "/api/fleet")
    ask("POST", "/api/fleet/commands", {"action": "refresh"})
    ask("POST", "/api/fleet/commands", {"action": "none"}, 400)
    every = {(path, method) for path, methods in documented.document["paths"].items() for method in methods}
    assert every - documented.succeeded - NOT_CALLED == {("/api/attempts/{attempt_id}", "post")}


@pytest.mark.slow
@pytest.mark.deadline(120)
def test_every_refusal_of_every_route_is_documented_json(documented: Documented) -> None:
    tried = 0
    for template, methods in documented.document["paths"].items():
        path = template.replace("{command}", "note").replace("{call_id}", UNKNOWN).replace("{extension_id}", "1")
        path = re.sub(r"{\w+}", "7", path)
        refused = documented.request("PATCH", path)
        assert (refused.status, refused.kind, refused.json["status"]) == (405, "application/json", "error")
        assert {method.upper() for method in methods} <= set(refused.headers["Allow"].split(", "))
        for method, operation in methods.items():
            ask, verb = documented.ask, method.upper()
            ask(verb, path, None, 421, Host="door.example")
            if verb != "GET":
                ask(verb, path, None, 403, Origin="http://evil.example")
                ask(verb, path, b" " * 70_000, 413)
            if operation["security"]:
                if (template, method) != ("/session", "delete"):
                    missing = ask(verb, path, None, 401, Authorization=None)
                    assert missing.headers["WWW-Authenticate"] == "Bearer"
                ask(verb, path, None, 403, Sec_Fetch_Site="cross-site")
                if operation["x-scope"] != "read" and verb != "GET":
                    ask(verb, path, None, 403, Authorization=f"Bearer {READER}")
            if "requestBody" in operation:
                ask(verb, path, b"{", 400)
                ask(verb, path, b"[]", 400)
            tried += 1
    assert tried > 25
    nowhere = documented.request("GET", "/api/nowhere")
    assert (nowhere.status, nowhere.json["status"]) == (404, "error")
