"""What the API may ask, over the real parts in this process: sockets, calls, file; a table in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from admin.tokens_file import TokensFile
from audiosocket.api_tokens import KnownTokens
from audiosocket.apps import registry
from audiosocket.errors import (
    ExtensionTaken,
    InvalidExtension,
    SourceUnavailable,
    UnknownCall,
    UnknownExtension,
)
from audiosocket.event_webhook.sender import OFF
from audiosocket.extensions.model import Extension, Role
from audiosocket.postgres.database import DatabaseState
from audiosocket.provisioning import local_file
from audiosocket.provisioning.app_rules import Chain
from audiosocket.provisioning.app_rules_file import AppSelection
from audiosocket.provisioning.poller import Poller
from audiosocket.returncalls.originator import NOT_CONFIGURED
from audiosocket.runtime.file_thread import FileThread
from audiosocket.runtime.reactor_lag import ReactorLagMonitor
from audiosocket.server.control import ServerControl
from audiosocket.server.extension_stores import MAX_ROWS_SHOWN, DatabaseStore
from audiosocket.server.single_process import AudioSocketServer
from audiosocket.server.switchboard import Switchboard
from audiosocket.server.visit_services import condominiums, make_apartments, make_records
from audiosocket.settings import Settings
from tests.support.loopback_server import (
    LoopbackServer,
    data_file,
    extension,
    is_closed,
    occupied,
    reactor,
    until,
)
from tests.support.ports import free_ports

Row = dict[str, object]


class TableInMemory:
    """The part of a database that `ServerControl` and the poller use; ``failing`` makes it unreachable."""

    def __init__(self, *extensions: Extension) -> None:
        self.rows: list[Row] = [{"extension_ia_id": e.id, **e.as_row()} for e in extensions]
        self.failing = ""
        self.state = DatabaseState("up", 0.0, "", 0, None, True, 2)

    def _reach(self) -> None:
        if self.failing:
            raise SourceUnavailable(self.failing)

    async def read(self, take: Callable[[Sequence[Mapping[str, object]]], None]) -> int:
        self._reach()
        take(self.rows)
        return len(self.rows)

    async def insert(self, values: Row, check: Callable[[Sequence[Row]], None]) -> int:
        self._reach()
        check(self.rows)
        new_id = max([0, *(int(str(row["extension_ia_id"])) for row in self.rows)]) + 1
        self.rows.append({"extension_ia_id": new_id, **values})
        return new_id

    async def update(self, extension_id: int, values: Row, check: Callable[[Sequence[Row]], None]) -> bool:
        self._reach()
        found = [row for row in self.rows if row["extension_ia_id"] == extension_id]
        if found:
            check(self.rows)
        for row in found:
            row.update(values)
        return bool(found)

    async def delete(self, extension_id: int) -> bool:
        self._reach()
        left = [row for row in self.rows if row["extension_ia_id"] != extension_id]
        found, self.rows = len(left) < len(self.rows), left
        return found


def no_app_rules(directory: Path) -> AppSelection:
    """Return a selection without a file: the settings decide which apps run."""
    defaults = {role: Chain("echo", tuple(registry.load("echo")), f"{role.name}_APP") for role in Role}
    return AppSelection(directory / "apps.toml", defaults, dict, registry.load, deferToThread, reactor)


class ControlFixture:
    """A server in this process, and the control over it."""

    def __init__(
        self, directory: Path, table: TableInMemory | None, api_port: int, fleet_ports: range | None
    ) -> None:
        self.path = data_file(directory)
        self.loopback = LoopbackServer(reserved_ports=frozenset({api_port}))
        files = FileThread(reactor)
        database: Any = table
        self.poller = Poller(
            reactor,
            self.loopback.listeners,
            database,
            self.path,
            files.run,
            interval=3600,
            automatic=True,
            limit=2000,
        )
        self.server = AudioSocketServer(
            self.loopback.listeners, self.loopback.switchboard, self.poller, files, reactor
        )
        self.poller.setServiceParent(self.server)
        records = make_records(
            settings := Settings.parse({"DATA_DIR": str(directory)}),
            make_apartments(settings, reactor, lambda: condominiums(self.loopback.listeners.extensions.values())),
        )
        self.control = ServerControl(
            self.server,
            database,
            reactor.seconds,
            api_port,
            no_app_rules(directory),
            records,
            lambda: {
                "api_tokens": TokensFile("", [], KnownTokens(), deferToThread, reactor).to_json(),
                "events_webhook": OFF,
                "fleet_calls": None,
            },
            fleet_ports=fleet_ports,
        )

    async def shown(self, extension_id: int) -> dict[str, Any]:
        """Return an extension as ``/api/status`` shows it."""
        (found,) = (shown for shown in (await self.control.status())["extensions"] if shown["id"] == extension_id)
        return dict(found)

    def saved(self) -> list[Extension]:
        return list(local_file.load(self.path, 2000).extensions or ())


@asynccontextmanager
async def running(
    directory: Path,
    *extensions: Extension,
    table: TableInMemory | None = None,
    api_port: int = 1,
    fleet_ports: range | None = None,
) -> AsyncIterator[ControlFixture]:
    """Yield a running `ControlFixture` whose file has these extensions."""
    local_file.save(data_file(directory), extensions, "test")
    opened = ControlFixture(directory, table, api_port, fleet_ports)
    opened.server.startService()
    configuration = opened.poller.configuration
    await until(lambda: opened.loopback.listeners.applied and (table is None or configuration.last is not None))
    try:
        yield opened
    finally:
        for caller in opened.loopback.callers:
            caller.hang_up()
        if opened.server.running:
            await opened.server.stopService()


async def test_status_has_exactly_the_documented_shape(tmp_path: Path) -> None:
    a, b, c, d = free_ports(4)
    async with running(tmp_path, extension(1, a, b, number="1000"), extension(2, c)) as here:
        caller = await here.loopback.call(a)
        status = await here.control.status()
        json.dumps(status)
        assert status.keys() >= {
            "status", "total_extensions", "extensions", "draining", "live_calls", "calls_total",
            "refused_total", "late_turns_total", "rejected_total", "configuration", "last_refresh",
            "last_success_age_seconds", "database", "reactor", "uptime_seconds", "version", "extensions_version",
        }  # fmt: skip
        assert (status["status"], status["total_extensions"], status["live_calls"]) == ("success", 2, 1)
        assert status["live_by_extension"] == {"1": 1}
        runs = {"visitor_app": "echo", "resident_app": "echo"}
        assert all(each["since"].endswith("Z") for each in status["extensions"])
        assert [{**each, "since": ""} for each in status["extensions"]] == [
            {
                "id": 1, "ramal_ia": "1000", "ramal_retorno": "r", "ip": "127.0.0.1", "porta_ia": a,
                "porta_retorno": b, "condominio_id": 0, "status": "ativo", "state": "listening", "reason": "",
                "bind": "127.0.0.1", "actual_porta_ia": a, "actual_porta_retorno": b, "live_calls": 1,
                "since": "", **runs,
            },
            {
                "id": 2, "ramal_ia": "n2", "ramal_retorno": "r", "ip": "127.0.0.1", "porta_ia": c,
                "porta_retorno": None, "condominio_id": 0, "status": "ativo", "state": "listening", "reason": "",
                "bind": "127.0.0.1", "actual_porta_ia": c, "actual_porta_retorno": None, "live_calls": 0,
                "since": "", **runs,
            },
        ]  # fmt: skip
        assert status["configuration"].keys() == {"source", "age_seconds", "file_trouble", "generation"}
        assert status["configuration"]["source"] == "file"
        assert status["last_refresh"] is None
        assert status["database"] == {"configured": False, "state": "off", "reason": "DB_HOST is not set"}
        assert status["return_backend"] == {"kind": "none", "state": "off", "reason": NOT_CONFIGURED}
        assert status["rejected_total"].keys() == {"peer", "handshake", "crowded"}
        # A removed extension is gone from the list, its call is not.
        await here.control.extensions.remove(1)
        before, status = status, await here.control.status()
        assert status["extensions_version"] != before["extensions_version"]
        assert (await here.control.status())["extensions_version"] == status["extensions_version"]
        assert status["draining"] == [{"extension_id": 1, "role": "visitor", "port": a, "connections": 1}]
        assert (status["total_extensions"], status["live_calls"]) == (1, 1)
        await caller.until_heard(len(caller.heard) + 640)
    assert d not in here.loopback.listeners.draining.values()


async def test_status_shows_ports_that_are_not_as_configured(tmp_path: Path) -> None:
    a, b = free_ports(2)
    with occupied(a):
        async with running(tmp_path, extension(1, a)) as here:
            shown = await here.shown(1)
            assert (shown["porta_ia"], shown["actual_porta_ia"], shown["state"]) == (a, b, "degraded")
            assert str(a) in shown["reason"]
            assert shown["status"] == "ativo"
            ready, why = here.control.ready()
            assert not ready
            assert str(a) in why


async def test_the_dialplan_has_the_configured_ports_of_a_running_extension(tmp_path: Path) -> None:
    a, b = free_ports(2)
    with occupied(a):
        async with running(tmp_path, extension(1, a, b, number="1000")) as here:
            text = here.control.extensions.dialplan(1, "freepbx", wideband=True)
            assert f"127.0.0.1:{a},slin16)" in text
            assert f"127.0.0.1:{b},slin16)" in text
            with pytest.raises(UnknownExtension):
                here.control.extensions.dialplan(2, "plain", wideband=False)
            assert "voices.example:" in here.control.extensions.dialplan(
                1, "plain", wideband=False, host="voices.example"
            )


async def test_the_dialplan_of_all_running_extensions(tmp_path: Path) -> None:
    a, b, c = free_ports(3)
    bad = extension(3, c, number="1;2")
    async with running(
        tmp_path, extension(2, b, number="1002", ip=""), extension(1, a, number="1000"), bad
    ) as here:
        text = here.control.extensions.dialplan(None, "plain", wideband=False, asked_at="gate.example")
        assert text.count("[audiosocket-call]") == text.count("[globals]") == 1
        assert text.index(f"127.0.0.1:{a},") < text.index(f"gate.example:{b},")
        assert "; ATTENTION: extension 3 is left out: ramal_ia is '1;2'" in text
        here.loopback.listeners.ports.bind_address = "192.0.2.9"
        assert f"192.0.2.9:{b}," in here.control.extensions.dialplan(
            2, "plain", wideband=False, asked_at="gate.example"
        )


async def test_healthy_while_reactor_and_clock_are_less_than_a_second_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as here:
        monkeypatch.setattr(ReactorLagMonitor, "recent_worst", 0.9)
        assert here.control.healthy() == (True, "")
        monkeypatch.setattr(ReactorLagMonitor, "recent_worst", 1.26)
        assert here.control.healthy() == (False, "the reactor was 1.3 s late within the last 10 s")
        monkeypatch.setattr(ReactorLagMonitor, "recent_worst", 0.0)
        monkeypatch.setattr(Switchboard, "clock_silent_seconds", 1.5)
        assert here.control.healthy() == (False, "the clock of the calls has stood still for 1.5 s")


async def test_status_shows_the_state_of_the_database_and_the_last_refresh(tmp_path: Path) -> None:
    (a,) = free_ports(1)
    table = TableInMemory(extension(5, a))
    table.rows.append({"extension_ia_id": 6, "extension_ia_number": "x", "extension_ia_number_port": "no"})
    async with running(tmp_path, table=table) as here:
        status = await here.control.status()
        json.dumps(status)
        assert status["database"].keys() == {
            "configured", "state", "since_seconds", "reason", "failed_attempts", "next_try_seconds", "listening",
            "backends", "reconnects", "queries",
        }  # fmt: skip
        assert status["configuration"]["source"] == "database"
        refresh = status["last_refresh"]
        assert refresh is not None
        assert refresh.keys() == {
            "trigger", "result", "reason", "age_seconds", "duration_seconds", "stats", "diff", "rejected",
            "rejected_rows",
        }  # fmt: skip
        assert refresh["diff"] == {"added": [5], "updated": [], "removed": []}
        assert refresh["stats"] == {"removed": 0, "updated": 0, "added": 1, "total_active": 1}
        assert [rejected["id"] for rejected in refresh["rejected_rows"]] == [6]
        assert (status["last_success_age_seconds"] or 0) >= 0


async def test_without_a_database_changes_go_to_the_local_file(tmp_path: Path) -> None:
    a, b, c, d = free_ports(4)
    async with running(tmp_path, extension(3, a)) as here:
        control = here.control
        added = await control.extensions.add({"ramal_ia": "2000", "porta_ia": b, "ip_servidor": "127.0.0.1"})
        assert (added.id, added.port, added.return_port) == (4, b, None)
        assert not await is_closed(b)
        changed = await control.extensions.change(4, {"porta_retorno": str(c), "condominio_id": 9})
        assert (changed.port, changed.return_port, changed.condominium_id) == (b, c, 9)
        assert not await is_closed(c)
        changed = await control.extensions.change(4, {"porta_ia": d})
        assert (changed.number, changed.port) == ("2000", d)
        assert await is_closed(b)
        assert here.saved() == [extension(3, a), changed]
        await control.extensions.remove(3)
        assert await is_closed(a)
        assert here.saved() == [changed]
        assert control.ready() == (True, "")
        await control.extensions.remove(4)
        assert here.saved() == []
        assert (await control.extensions.add({"ramal_ia": "1", "porta_ia": a, "ip_servidor": "127.0.0.1"})).id == 1
        rows = await control.extensions.rows()
        assert (rows["total"], rows["source"]) == (1, "file")
        (shown,) = rows["extensions"]
        assert (shown["id"], shown["ramal_ia"], shown["porta_ia"], shown["porta_retorno"]) == (1, "1", a, None)
        assert await control.extensions.row(1) == shown
        with pytest.raises(UnknownExtension):
            await control.extensions.row(2)
        with pytest.raises(SourceUnavailable, match="DB_HOST"):
            await control.extensions.refresh(force=True, dry_run=False)


async def test_simultaneous_changes_are_all_made_and_never_collide(tmp_path: Path) -> None:
    ports = free_ports(10)
    async with running(tmp_path) as here:
        wishes = [{"ramal_ia": f"x{port}", "porta_ia": port, "ip_servidor": "127.0.0.1"} for port in ports]
        added = await gatherResults([Deferred.fromCoroutine(here.control.extensions.add(wish)) for wish in wishes])
        assert sorted(one.id for one in added) == list(range(1, 11))
        assert {one.port for one in here.saved()} == set(ports)
        doubles = [Deferred.fromCoroutine(here.control.extensions.change(n, {"ramal_ia": "same"})) for n in (1, 2)]
        await doubles[0]
        with pytest.raises(ExtensionTaken, match="belongs to extension 1"):
            await doubles[1]


async def test_a_port_that_the_balancer_does_not_pass_on_is_refused_and_reported(tmp_path: Path) -> None:
    a, b, c = sorted(free_ports(3))
    inside = range(a, c)
    rows = extension(1, a, b, number="1000"), extension(2, c, number="2000")
    async with running(tmp_path, *rows, fleet_ports=inside) as here:
        new = {"ramal_ia": "3000", "porta_ia": a + 1}
        for field in ("porta_ia", "porta_retorno"):
            with pytest.raises(InvalidExtension, match="FLEET_PORTS") as raised:
                await here.control.extensions.add({**new, field: c + 1})
            assert raised.value.field == field
        status = await here.control.status()
        assert status["fleet_ports"] == {"range": f"{a}-{c - 1}", "outside": [2]}


TABLES = pytest.mark.parametrize("with_database", [False, True], ids=["file", "database"])


@TABLES
async def test_taken_invalid_or_unknown_values_change_nothing(tmp_path: Path, with_database: bool) -> None:
    a, b, c, d, e = free_ports(5)
    rows = extension(1, a, b, number="1000"), extension(2, c, number="2000")
    table = TableInMemory(*rows) if with_database else None
    async with running(tmp_path, *rows, table=table, api_port=e) as here:
        before, control = here.loopback.sockets(), here.control
        new = {"ramal_ia": "3000", "porta_ia": d}
        taken: list[dict[str, Any]] = [
            {"porta_ia": a}, {"porta_ia": b}, {"porta_retorno": a}, {"porta_retorno": str(c)},
            {"ramal_ia": "1000"}, {"ramal_ia": " 2000 "}, {"porta_ia": e}, {"porta_retorno": e},
        ]  # fmt: skip
        for fields in taken:
            with pytest.raises(ExtensionTaken):
                await control.extensions.add({**new, **fields})
        for fields in ({"porta_ia": a}, {"porta_retorno": b}, {"ramal_ia": "1000"}, {"porta_retorno": e}):
            with pytest.raises(ExtensionTaken):
                await control.extensions.change(2, fields)
        wrong: list[dict[str, Any]] = [
            {"porta_ia": 0}, {"porta_ia": None}, {"porta_ia": "x"}, {"porta_ia": 65536}, {"porta_retorno": -1},
            {"ramal_ia": ""}, {"ramal_ia": None}, {"ramal_ia": "x" * 51}, {"condominio_id": "x"}, {"ramal_ia": []},
            {"porta_retorno": d, "porta_ia": d}, {"ip_servidor": "a\nb"},
        ]  # fmt: skip
        for fields in wrong:
            with pytest.raises(InvalidExtension):
                await control.extensions.add({**new, **fields})
            with pytest.raises(InvalidExtension):
                await control.extensions.change(2, fields)
        for missing in ("ramal_ia", "porta_ia"):
            with pytest.raises(InvalidExtension):
                await control.extensions.add({key: value for key, value in new.items() if key != missing})
        for work in (control.extensions.change(99, {"ramal_ia": "9"}), control.extensions.remove(99)):
            with pytest.raises(UnknownExtension, match="99"):
                await work
        assert here.loopback.sockets() == before
        assert here.saved() == list(rows)
        # What is one's own is not taken.
        assert (await control.extensions.change(1, {"porta_ia": b, "porta_retorno": a})).ports()[Role.VISITOR] == b


async def test_a_rejected_row_occupies_nothing_and_unchanged_fields_are_not_compared(tmp_path: Path) -> None:
    a, b, c, d = free_ports(4)
    table = TableInMemory(
        extension(1, a, number="1000"), extension(2, a, number="2000"), extension(3, b, number="1000")
    )
    async with running(tmp_path, table=table) as here:
        change = here.control.extensions.change
        assert (await change(1, {"ramal_retorno": "55"})).id == 1
        assert (await change(1, {"porta_ia": a, "ramal_ia": "1000"})).port == a, "its own, whoever else claims it"
        assert (await change(2, {"condominio_id": 9})).condominium_id == 9, "a rejected row, changed elsewhere"
        with pytest.raises(ExtensionTaken, match="belongs to extension 1"):
            await change(2, {"ramal_ia": "1000"})
        assert (await change(1, {"porta_ia": c})).port == c
        assert (await here.shown(2))["actual_porta_ia"] == a, "it is usable now"
        with pytest.raises(ExtensionTaken, match="belongs to extension 2"):
            await change(1, {"porta_ia": a})
        assert (await change(3, {"ramal_ia": "3000"})).number == "3000"
        added = await here.control.extensions.add({"ramal_ia": "4000", "porta_ia": d, "ip_servidor": "127.0.0.1"})
        assert added.id == 4


async def test_with_a_database_changes_go_to_the_table(tmp_path: Path) -> None:
    a, b, c = free_ports(3)
    table = TableInMemory(extension(5, a, number="1000"))
    async with running(tmp_path, table=table) as here:
        added = await here.control.extensions.add({"ramal_ia": "2000", "porta_ia": b, "ip_servidor": "127.0.0.1"})
        assert added.id == 6
        assert table.rows[1]["extension_ia_number_port"] == str(b)
        assert not await is_closed(b)
        table.rows[0]["extension_ia_return"] = "changed behind our back"
        await here.control.extensions.change(5, {"porta_ia": c})
        assert table.rows[0]["extension_ia_return"] == "changed behind our back"
        assert (await here.shown(5))["actual_porta_ia"] == c
        await here.control.extensions.remove(5)
        assert await is_closed(c)
        assert [one.id for one in here.saved()] == [6]
        await here.control.extensions.remove(6)
        assert (await here.control.status())["total_extensions"] == 0


async def test_an_unreachable_database_changes_nothing_and_calls_go_on(tmp_path: Path) -> None:
    a, b = free_ports(2)
    table = TableInMemory(extension(5, a))
    async with running(tmp_path, table=table) as here:
        caller = await here.loopback.call(a)
        before = here.loopback.sockets()
        table.failing = "no route to the server"
        control = here.control
        for work in (
            control.extensions.add({"ramal_ia": "1", "porta_ia": b}),
            control.extensions.change(5, {"porta_ia": b}),
            control.extensions.remove(5),
            control.extensions.rows(),
            control.extensions.refresh(force=True, dry_run=False),
            control.extensions.refresh(force=False, dry_run=True),
        ):
            with pytest.raises(SourceUnavailable, match="no route"):
                await work
        assert here.loopback.sockets() == before
        assert [one.id for one in here.saved()] == [5]
        refresh = (await control.status())["last_refresh"]
        assert refresh is not None
        assert refresh["result"] == "failed"
        assert control.ready() == (True, ""), "readiness does not depend on the database"
        await caller.until_heard(len(caller.heard) + 640)


async def test_a_local_file_that_cannot_be_written_is_an_error_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = free_ports(2)
    async with running(tmp_path, extension(1, a)) as here:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(local_file, "save", full)
        with pytest.raises(SourceUnavailable, match="No space left on device"):
            await here.control.extensions.add({"ramal_ia": "2", "porta_ia": b})
        assert await is_closed(b)


async def test_rows_are_shown_as_they_are_invalid_ones_too(tmp_path: Path) -> None:
    (a,) = free_ports(1)
    table = TableInMemory(extension(5, a))
    table.rows[0] = {k: v.ljust(50) if isinstance(v, str) else v for k, v in table.rows[0].items()}
    table.rows += [
        {
            "extension_ia_id": 6,
            "extension_ia_number": "12".ljust(50),
            "extension_ia_number_port": "80a".ljust(50),
            "extension_ia_return_port": " ".ljust(50),
        },
        {"extension_ia_id": 7, "extension_ia_number_port": "9" * 50, "extension_ia_return_port": "0"},
    ]
    async with running(tmp_path, table=table) as here:
        first, second, third = (await here.control.extensions.rows())["extensions"]
        assert first == {
            "id": 5, "ramal_ia": "n5", "ramal_retorno": "r", "ip_servidor": "127.0.0.1", "porta_ia": a,
            "porta_retorno": None, "condominio_id": 0,
        }  # fmt: skip
        assert (second["ramal_ia"], second["porta_ia"], second["porta_retorno"]) == ("12", "80a", None)
        assert await here.control.extensions.row(6) == second
        with pytest.raises(UnknownExtension, match="99"):
            await here.control.extensions.row(99)
        assert (third["porta_ia"], third["porta_retorno"], third["ramal_ia"]) == ("9" * 50, None, None)


async def test_restart_by_id_or_number_keeps_the_calls(tmp_path: Path) -> None:
    a, b = free_ports(2)
    async with running(tmp_path, extension(1, a, number="1000"), extension(2, b)) as here:
        caller = await here.loopback.call(a)
        before = here.loopback.sockets()
        assert (await here.control.extensions.restart(extension_id=None, number=" 1000 ")).id == 1
        assert (await here.control.extensions.restart(extension_id=1, number="n2")).id == 1
        after = here.loopback.sockets()
        assert after[1, Role.VISITOR] != before[1, Role.VISITOR]
        assert after[2, Role.VISITOR] == before[2, Role.VISITOR]
        await caller.until_heard(len(caller.heard) + 640)
        for wish in ({"extension_id": 9, "number": None}, {"extension_id": None, "number": "9"}):
            with pytest.raises(UnknownExtension):
                await here.control.extensions.restart(**wish)


async def test_calls_are_listed_shown_and_hung_up(tmp_path: Path) -> None:
    (a,) = free_ports(1)
    async with running(tmp_path, extension(1, a)) as here:
        caller = await here.loopback.call(a)
        (listed,) = await here.control.calls.all()
        json.dumps(listed)
        assert (listed["call_id"], listed["state"]) == (str(caller.call_id), "live")
        shown = here.control.calls.get(caller.call_id)
        json.dumps(shown)
        assert shown["legs"][0]["port"] == a
        assert [event["event"] for event in shown["timeline"]][:2] == ["call.started", "leg.joined"]
        with pytest.raises(UnknownCall):
            here.control.calls.hang_up(caller.call_id, Role.RESIDENT)
        with pytest.raises(UnknownCall):
            here.control.calls.get(uuid4())
        here.control.calls.hang_up(caller.call_id, Role.VISITOR)
        report = await caller.ended
        assert (report.ended_by, report.broken) == ("server", ())
        (listed,) = await here.control.calls.all()
        assert (listed["state"], listed["outcome"]) == ("ended", "admin_hangup")


async def test_a_server_that_stops_is_not_ready_and_sends_hangup_frames(tmp_path: Path) -> None:
    (a,) = free_ports(1)
    async with running(tmp_path, extension(1, a)) as here:
        assert here.control.ready() == (True, "")
        caller = await here.loopback.call(a)
        stopping = here.server.stopService()
        assert here.control.ready() == (False, "stopping")
        report = await caller.ended
        assert (report.ended_by, report.broken) == ("server", ())
        await stopping
        assert await is_closed(a)
        assert (await here.control.calls.all())[0]["outcome"] == "shutdown"


class LongTable:
    """A table of more rows than one answer shows."""

    async def read(self, take: Any) -> int:
        for start in range(0, 5000, 500):
            ids = range(start, start + 500)
            take([{"extension_ia_id": number, "extension_ia_number": str(number)} for number in ids])
        return 5000


async def test_of_a_long_table_the_first_rows_are_shown() -> None:
    store = DatabaseStore(cast(Any, LongTable()), cast(Any, None), lambda extension: None, running=tuple)
    shown = await store.rows()
    assert (shown["total"], len(shown["extensions"]), shown["truncated"]) == (5000, MAX_ROWS_SHOWN, True)
    assert shown["extensions"][-1]["id"] == MAX_ROWS_SHOWN - 1
