"""The table changes at random during live calls, without an effect on them.

``SOAK_CALLS`` and ``SOAK_CHANGES`` are the numbers, for example 200 and 1,000 instead of those of a test run.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_ports
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer
from tests.support.server_process import ServerProcess, wait_until

CALLS = int(os.environ.get("SOAK_CALLS", "60"))
CHANGES = int(os.environ.get("SOAK_CHANGES", "60"))
EXTENSIONS = 12
ROOT = Path(__file__).resolve().parents[2]

Rows = dict[int, dict[str, Any]]


class Table:
    """The table, and in ``good`` the rows whose listeners must be open after each change."""

    def __init__(self, connection: Any, ports: list[int]) -> None:
        self._connection = connection
        self.free = ports
        self.good: Rows = {}
        self._numbers = iter(range(5000, 100_000))

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(text, values)
            return list(cursor.fetchall()) if cursor.description else []

    def insert(
        self, number: str, port: str, return_port: str | None, condominium: int = 1, return_number: str = "r"
    ) -> int:
        text = (
            "insert into extension_ia (extension_ia_number, extension_ia_return, extension_ia_ip, "
            "extension_ia_number_port, condominium_id, extension_ia_return_port) "
            "values (%s, %s, '127.0.0.1', %s, %s, %s) returning extension_ia_id"
        )
        return int(self.sql(text, number, return_number, port, condominium, return_port)[0][0])

    def clean(self) -> None:
        """Delete the invalid rows, as a conflict could end when the other row changes."""
        self.sql("delete from extension_ia where extension_ia_return = 'garbage'")

    # the changes

    def add(self) -> None:
        port, return_port, number = self.free.pop(), self.free.pop(), str(next(self._numbers))
        key = self.insert(number, str(port), str(return_port))
        self.good[key] = {"ramal_ia": number, "porta_ia": port, "porta_retorno": return_port}

    def remove(self) -> None:
        self.clean()
        if len(self.good) <= EXTENSIONS:
            return self.add()
        key = random.choice(list(self.good))
        row = self.good.pop(key)
        self.free[:0] = [row["porta_ia"], row["porta_retorno"]]
        self.sql("delete from extension_ia where extension_ia_id = %s", key)
        return None

    def swap(self) -> None:
        self.clean()
        one, other = random.sample(list(self.good), 2)
        a, b = self.good[one], self.good[other]
        a["porta_ia"], b["porta_ia"] = b["porta_ia"], a["porta_ia"]
        self.sql(
            "update extension_ia set extension_ia_number_port = case extension_ia_id when %s then %s else %s end "
            "where extension_ia_id in (%s, %s)",
            one,
            str(a["porta_ia"]),
            str(b["porta_ia"]),
            one,
            other,
        )

    def move(self) -> None:
        self.clean()
        key = random.choice(list(self.good))
        old, new = self.good[key]["porta_ia"], self.free.pop()
        self.good[key]["porta_ia"] = new
        self.free.insert(0, old)
        text = "update extension_ia set extension_ia_number_port = %s where extension_ia_id = %s"
        self.sql(text, f"  {new} ", key)

    def renumber(self) -> None:
        self.clean()
        key, number = random.choice(list(self.good)), str(next(self._numbers))
        self.good[key]["ramal_ia"] = number
        text = "update extension_ia set extension_ia_number = %s, condominium_id = %s where extension_ia_id = %s"
        self.sql(text, number, random.randint(1, 9), key)

    def garbage(self) -> None:
        taken = random.choice(list(self.good.values()))
        port = str(self.free[0])
        number, bad_port = random.choice(
            [
                ("1", "abc"),
                ("1", "70000"),
                ("1", "0"),
                ("", port),
                (taken["ramal_ia"], port),
                ("1", str(taken["porta_ia"])),
                ("1", ""),
                ("1", "-5"),
            ]
        )
        self.clean()
        self.insert(number, bad_port, None, return_number="garbage")


def listening_inodes() -> dict[int, str]:
    """Return the inode of the listening socket of each port on 127.0.0.1."""
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        address, port = fields[1].split(":")
        if fields[3] == "0A" and address == "0100007F":
            found[int(port, 16)] = fields[9]
    return found


def shown(running: ServerProcess) -> Rows:
    status = running.api("/api/status")
    shown_as = {"ramal_ia": "ramal_ia", "porta_ia": "actual_porta_ia", "porta_retorno": "actual_porta_retorno"}
    return {row["id"]: {key: row[name] for key, name in shown_as.items()} for row in status["extensions"]}


@pytest.mark.slow
def test_the_table_changes_at_random_under_live_calls(
    tmp_path: Path, postgres: PostgresServer, database_with_table: str, database_settings: dict[str, str]
) -> None:
    """No call dropped, no frame lost or altered, listeners equal the table, unchanged sockets stay."""
    seed = random.randrange(10**6)
    random.seed(seed)
    print(f"seed {seed}, {CALLS} calls, {CHANGES} changes")
    connection = postgres.connect(database_with_table, ROLE, ROLE_PASSWORD)
    table = Table(connection, free_ports(EXTENSIONS * 2 + 120))
    for _ in range(EXTENSIONS):
        table.add()
    settings = {**database_settings, "VISITOR_APP": "echo", "REFRESH_INTERVAL_SECONDS": "5"}
    with ServerProcess(tmp_path, settings) as running:
        assert wait_until(lambda: shown(running) == table.good, 10)
        ports = [str(row["porta_ia"]) for row in table.good.values()]
        command = [sys.executable, "-m", "tests.support.numbered_calls", str(CALLS), *ports]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as caller:
            assert caller.stdin is not None
            assert caller.stdout is not None
            assert caller.stdout.readline() == "up\n"
            for _ in range(CHANGES):
                before, sockets = {key: dict(row) for key, row in table.good.items()}, listening_inodes()
                random.choice([table.add, table.remove, table.swap, table.move, table.renumber, table.garbage])()
                assert wait_until(lambda: shown(running) == table.good, 10), running.log()[-3000:]
                after = listening_inodes()
                for key in before.keys() & table.good.keys():
                    for name in ("porta_ia", "porta_retorno"):
                        port = before[key][name]
                        if port == table.good[key][name]:
                            assert after[port] == sockets[port], f"extension {key} got a new socket for {port}"
            caller.stdin.close()
            report = json.loads(caller.stdout.readline())
        connection.close()
        print(report)
        assert report["sent"] > 0
        assert (report["dropped_calls"], report["lost"], report["wrong"]) == (0, 0, 0), report
        assert "Traceback" not in running.log()
