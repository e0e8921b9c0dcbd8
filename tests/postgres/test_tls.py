"""TLS towards PostgreSQL: which certificates each DB_SSLMODE accepts, what is said of the others, recovery."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from audiosocket import schema
from audiosocket.cli.reach import database as reach_database
from audiosocket.postgres.database import Database, DatabaseState, Timeouts
from audiosocket.settings import Settings
from tests.support.certificates import Authority, ServerTLS
from tests.support.loopback_server import until
from tests.support.postgres_tls import PostgresTLS
from tests.support.reactor import reactor

pytestmark = [pytest.mark.usefixtures("no_traceback"), pytest.mark.deadline(60)]

TIMEOUTS = Timeouts(heartbeat=0.3, first_pause=0.05, longest_pause=0.2, steady=0.2)

Front = Callable[[ServerTLS | None], PostgresTLS]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that nobody trusts."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    return Authority(folder)


@pytest_twisted.async_yield_fixture
async def front(database_with_table: str, database_settings: dict[str, str]) -> AsyncIterator[Front]:
    """Put TLS in front of the server of ``database_settings``."""
    fronts: list[PostgresTLS] = []

    def begin(tls: ServerTLS | None) -> PostgresTLS:
        fronts.append(PostgresTLS(database_settings["DB_HOST"], int(database_settings["DB_PORT"]), tls))
        database_settings["DB_PORT"] = str(fronts[-1].front_port)
        return fronts[-1]

    yield begin
    for each in fronts:
        await each.close()


async def attempt(values: dict[str, str]) -> DatabaseState:
    """Return the state after the first attempt to connect."""
    database = made(values)
    database.startService()
    try:
        await until(lambda: database.state.state != "connecting")
        return database.state
    finally:
        await database.stopService()


def made(values: dict[str, str], listen: bool = False) -> Database:
    settings = Settings.parse(values)
    return Database(
        settings,
        settings.db_password,
        reactor,
        listen=listen,
        changed=lambda: None,
        state_changed=lambda _: None,
        timeouts=TIMEOUTS,
    )


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_right_certificate_is_accepted(
    mode: str, authority: Authority, front: Front, database_settings: dict[str, str]
) -> None:
    front(authority.server("127.0.0.1"))
    verified = {"DB_SSLROOTCERT": str(authority.path)} if mode != "require" else {}
    database = made({**database_settings, "DB_SSLMODE": mode, **verified}, listen=True)
    database.startService()
    try:
        await until(lambda: database.state.listening)
        assert await database.read(lambda rows: None) == 0
        assert database.state.reason == ""
    finally:
        await database.stopService()


async def test_require_alone_takes_any_certificate_and_no_plain_connection(
    stranger: Authority, front: Front, database_settings: dict[str, str]
) -> None:
    tls = front(stranger.server("elsewhere.example", expired=True))
    values = {**database_settings, "DB_SSLMODE": "require"}
    assert (await attempt(values)).state == "up"
    tls.tls = None
    state = await attempt(values)
    assert state.state == "down"
    assert "does not support SSL" in state.reason
    assert "DB_SSLMODE=prefer" in state.reason


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
@pytest.mark.parametrize("wrong", ["authority", "expired"])
async def test_a_certificate_that_is_not_vouched_for_is_refused(
    mode: str,
    wrong: str,
    authority: Authority,
    stranger: Authority,
    front: Front,
    database_settings: dict[str, str],
) -> None:
    """A file of authorities makes ``require`` verify, too."""
    front(authority.server("127.0.0.1", expired=True) if wrong == "expired" else stranger.server("127.0.0.1"))
    state = await attempt({**database_settings, "DB_SSLMODE": mode, "DB_SSLROOTCERT": str(authority.path)})
    assert state.state == "down"
    assert "certificate verify failed" in state.reason
    assert "DB_SSLROOTCERT" in state.reason


async def test_a_certificate_of_another_host_is_refused_by_verify_full_only(
    authority: Authority, front: Front, database_settings: dict[str, str]
) -> None:
    front(authority.server("elsewhere.example"))
    verified = {**database_settings, "DB_SSLROOTCERT": str(authority.path)}
    assert (await attempt({**verified, "DB_SSLMODE": "verify-ca"})).state == "up"
    state = await attempt({**verified, "DB_SSLMODE": "verify-full"})
    assert state.state == "down"
    assert "elsewhere.example" in state.reason
    assert "set DB_HOST to a name that is in the certificate" in state.reason


async def test_a_host_is_verified_by_its_name_and_not_by_its_address(
    authority: Authority, front: Front, database_settings: dict[str, str]
) -> None:
    front(authority.server("localhost"))
    full = {"DB_SSLMODE": "verify-full", "DB_SSLROOTCERT": str(authority.path)}
    assert (await attempt({**database_settings, **full, "DB_HOST": "localhost"})).state == "up"


async def test_a_missing_and_an_unreadable_file_of_authorities_are_named(
    authority: Authority, front: Front, database_settings: dict[str, str], tmp_path: Path
) -> None:
    front(authority.server("127.0.0.1"))
    full = {**database_settings, "DB_SSLMODE": "verify-full"}
    state = await attempt({**full, "DB_SSLROOTCERT": str(tmp_path / "none.pem")})
    assert "none.pem" in state.reason
    assert "in DB_SSLROOTCERT" in state.reason
    (tmp_path / "text.pem").write_text("no certificate")
    state = await attempt({**full, "DB_SSLROOTCERT": str(tmp_path / "text.pem")})
    assert "DB_SSLROOTCERT must name" in state.reason


@pytest.mark.parametrize("mended", ["certificate", "file"])
async def test_it_connects_again_when_certificate_or_file_is_mended(
    mended: str, authority: Authority, stranger: Authority, front: Front, database_settings: dict[str, str]
) -> None:
    right = authority.server("127.0.0.1")
    tls = front(right)
    database = made({**database_settings, "DB_SSLMODE": "verify-full", "DB_SSLROOTCERT": str(authority.path)})
    database.startService()
    try:
        await until(lambda: database.state.state == "up")
        tls.tls = stranger.server("127.0.0.1")
        tls.drop()
        await until(lambda: "certificate verify failed" in database.state.reason)
        if mended == "certificate":
            tls.tls = right
        else:
            authority.path.write_bytes(stranger.path.read_bytes())
        await until(lambda: database.state.state == "up")
        assert database.state.reason == ""
    finally:
        await database.stopService()


async def test_the_commands_verify_and_name_the_setting_too(
    authority: Authority, stranger: Authority, front: Front, database_settings: dict[str, str]
) -> None:
    tls = front(authority.server("127.0.0.1"))
    full = {**database_settings, "DB_SSLMODE": "verify-full", "DB_SSLROOTCERT": str(authority.path)}
    settings = Settings.parse(full)
    (found,) = await deferToThread(lambda: list(reach_database(settings)))
    assert found.level == "ok"
    assert "are in place" in await deferToThread(schema.apply, settings)
    tls.tls = stranger.server("127.0.0.1")
    (found,) = await deferToThread(lambda: list(reach_database(settings)))
    assert found.level == "bad"
    assert "DB_SSLROOTCERT" in found.what
