"""``audiosocket check --reach``: a real PostgreSQL, and imitations of AMI, ARI and a webhook."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from audiosocket.cli.reach import reach
from audiosocket.settings import Settings
from tests.support.ports import free_ports
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer

Answer = Callable[[bytes], bytes]


@contextlib.contextmanager
def peer(answer: Answer, greeting: bytes = b"") -> Iterator[int]:
    """Listen on a port that is yielded; each piece that arrives is answered with ``answer`` of it."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                connection.sendall(greeting)
                while data := connection.recv(65_536):
                    connection.sendall(answer(data))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


def found(**settings: str) -> list[tuple[str, str]]:
    return [(one.level, one.what) for one in reach(Settings.parse(settings))]


def test_nothing_is_configured() -> None:
    ((level, what),) = found()
    assert (level, "nothing to reach" in what) == ("ok", True)


@pytest.mark.parametrize(
    "settings",
    [
        {"GATE_WEBHOOK_URL": "http://127.0.0.1:1/gate", "GATE_WEBHOOK_SECRET": "placeholder-key-of-the-gate"},
        {"EVENTS_WEBHOOK_URL": "http://127.0.0.1:1/log", "EVENTS_WEBHOOK_SECRET": "placeholder-key-of-events"},
    ],
    ids=["gate", "events"],
)
def test_a_webhook_alone_is_something_to_reach(settings: dict[str, str]) -> None:
    ((level, what),) = found(**settings)
    assert level == "bad"
    assert "nothing to reach" not in what


def database(postgres: PostgresServer, name: str, **changes: str) -> dict[str, str]:
    return {
        "DB_HOST": "127.0.0.1",
        "DB_PORT": str(postgres.port),
        "DB_NAME": name,
        "DB_USER": ROLE,
        "DB_PASSWORD": ROLE_PASSWORD,
        **changes,
    }


@pytest.mark.deadline(60)
def test_a_database_with_and_without_table_triggers_and_rights(
    postgres: PostgresServer, database_with_table: str
) -> None:
    here = database(postgres, database_with_table)
    where = f"the database {database_with_table} at 127.0.0.1:{postgres.port}"
    assert found(**here) == [("ok", f"{where}: table, rights and triggers are there")]
    postgres.execute(database_with_table, "alter table extension_ia disable trigger extension_ia_update_trigger")
    assert found(**here) == [
        (
            "warn",
            f"{where}: extension_ia has no enabled trigger for UPDATE, "
            "so that changes are seen at the next poll only",
        )
    ]
    postgres.execute(database_with_table, "alter table extension_ia enable trigger all")
    postgres.execute(database_with_table, "alter table extension_ia owner to current_user")
    postgres.execute(database_with_table, f"grant select on extension_ia to {ROLE}")
    (missing,) = found(**here)
    assert missing == (
        "warn",
        f"{where}: DB_USER lacks insert, update, delete on extension_ia, so that the API cannot change extensions",
    )
    postgres.execute(database_with_table, f"revoke select on extension_ia from {ROLE}")
    assert found(**here) == [("bad", f"{where}: DB_USER may not read extension_ia")]
    postgres.execute(database_with_table, "drop function notify_extension_ia_changes() cascade")
    assert (
        "warn",
        f"{where}: extension_ia has no triggers, so that changes are seen at the next poll only",
    ) in found(**here)
    postgres.execute(database_with_table, "drop table extension_ia")
    assert found(**here) == [("bad", f"{where} has no table extension_ia")]


def test_a_database_that_is_away_or_does_not_know_us(postgres: PostgresServer, database_name: str) -> None:
    (port,) = free_ports(1)
    ((level, what),) = found(**database(postgres, database_name, DB_PORT=str(port)))
    assert level == "bad"
    assert "refused" in what
    ((level, what),) = found(**database(postgres, database_name, DB_PASSWORD="senha errada"))
    assert level == "bad"
    assert "errada" not in what


AMI = {"AMI_HOST": "127.0.0.1", "AMI_USER": "audiosocket", "AMI_SECRET": "secret"}


def ami(commands: str, login: str = "Success") -> Answer:
    """Return the answers of Asterisk, which lists the actions that the account may use."""

    def answer(data: bytes) -> bytes:
        if data.lower().startswith(b"action: login"):
            return f"Response: {login}\r\nMessage: x\r\n\r\nEvent: FullyBooted\r\n\r\n".encode()
        return f"Response: Success\r\n{commands}\r\n".encode()

    return answer


@pytest.mark.parametrize(
    ("answer", "greeting", "level", "sentence"),
    [
        (
            ami("Originate: x\r\nHangup: x\r\nCoreShowChannels: x\r\n"),
            b"Asterisk Call Manager/9.0.0\r\n",
            "ok",
            "the account is accepted and may do what is needed",
        ),
        (
            ami("Hangup: x\r\nPing: x\r\n"),
            b"Asterisk Call Manager/9.0.0\r\n",
            "bad",
            "the account may not Originate, CoreShowChannels",
        ),
        (ami("", "Error"), b"Asterisk Call Manager/9.0.0\r\n", "bad", "the account was refused"),
        (ami(""), b"SSH-2.0-x\r\n", "bad", "its first line is not the greeting of Asterisk's manager interface"),
    ],
)
def test_ami(answer: Answer, greeting: bytes, level: str, sentence: str) -> None:
    with peer(answer, greeting) as port:
        assert found(**AMI, AMI_PORT=str(port)) == [(level, f"AMI at 127.0.0.1:{port}: {sentence}")]


@pytest.mark.parametrize(
    ("status", "level", "sentence"),
    [
        ("200 OK", "ok", "the account is accepted and may place calls"),
        ("401 Unauthorized", "bad", "the account was refused"),
        ("404 Not Found", "bad", "it answered 404"),
    ],
)
def test_ari(status: str, level: str, sentence: str) -> None:
    asked: list[bytes] = []

    def answer(data: bytes) -> bytes:
        asked.append(data)
        return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()

    with peer(answer) as port:
        settings = {"ARI_URL": f"http://127.0.0.1:{port}/ari", "ARI_USER": "user", "ARI_PASSWORD": "secret"}
        assert found(**settings) == [(level, f"ARI at 127.0.0.1: {sentence}")]
    assert asked[0].startswith(b"GET /ari/asterisk/ping HTTP/1.1\r\n")
    assert b"Authorization: Basic dXNlcjpzZWNyZXQ=\r\n" in asked[0]


def test_an_ari_account_that_may_read_only() -> None:
    asked: list[bytes] = []

    def answer(data: bytes) -> bytes:
        asked.append(data)
        status = "200 OK" if data.startswith(b"GET ") else "403 Forbidden"
        return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()

    with peer(answer) as port:
        settings = {"ARI_URL": f"http://127.0.0.1:{port}/ari", "ARI_USER": "user", "ARI_PASSWORD": "secret"}
        assert found(**settings) == [
            ("bad", "ARI at 127.0.0.1: the account may read only, so that no call can be placed")
        ]
    assert asked[1].startswith(b"DELETE /ari/channels/audiosocket-doctor-no-such-channel HTTP/1.1\r\n")


def test_a_webhook_is_connected_to_and_asked_nothing() -> None:
    received: list[Any] = []

    def answer(data: bytes) -> bytes:
        received.append(data)
        return b""

    with peer(answer) as port:
        settings = {"WEBHOOK_URL": f"http://127.0.0.1:{port}/ring", "WEBHOOK_SECRET": "key"}
        assert found(**settings) == [("ok", f"WEBHOOK_URL: 127.0.0.1:{port} accepts connections")]
    assert received == []
    ((level, what),) = found(**settings)
    assert level == "bad"
    assert what == f"WEBHOOK_URL: 127.0.0.1:{port}: Connection refused"
