"""Whether the database, AMI, ARI and the webhook can be reached with the accounts of the settings.

Blocking, for programs that run beside the server. Nothing is changed there, and no request is sent to a webhook.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg2

from audiosocket.cli.ami import AMIConversation, AMIFailed
from audiosocket.cli.findings import Finding
from audiosocket.errors import InvalidSetting, describe_cause
from audiosocket.postgres.connect_errors import connect_error
from audiosocket.postgres.connection import one_line
from audiosocket.settings import Settings
from audiosocket.settings_files import read_password, read_secret

#: How long each connection may take, in seconds.
TIMEOUT_SECONDS = 5.0
_WEBHOOKS = ("webhook_url", "gate_webhook_url", "events_webhook_url")
_RIGHTS = ("select", "insert", "update", "delete")
#: The bits of pg_trigger.tgtype (catalog/pg_trigger.h of PostgreSQL) of what must be announced.
_TRIGGER_BITS = (("INSERT", 1 << 2), ("UPDATE", 1 << 4), ("DELETE", 1 << 3))
_TRIGGERS = (
    "select coalesce(bit_or(tgtype::integer), 0) from pg_trigger "
    "where tgrelid = %s and not tgisinternal and tgenabled <> 'D'"
)
#: Actions that return calls through AMI need, and those that tell who is calling.
_RETURN_ACTIONS = ("Originate", "Hangup", "CoreShowChannels")
_CALLER_ACTIONS = ("CoreShowChannels",)
_AMI_CURE = "check AMI_HOST and AMI_PORT, and enabled, bindaddr and port in manager.conf"
#: A channel that does not exist: hanging it up shows whether the account may change anything, and changes nothing.
_NO_CHANNEL = "audiosocket-doctor-no-such-channel"


def reach(settings: Settings) -> Iterator[Finding]:
    """Yield a finding, or more, for each connection that the settings ask for."""
    if not any(getattr(settings, name) for name in ("db_host", "ami_host", "ari_url", *_WEBHOOKS)):
        yield Finding("ok", "no database, AMI, ARI or webhook is configured: there is nothing to reach")
    if settings.db_host:
        yield from database(settings)
    if settings.ami_host:
        yield from ami(settings)
    if settings.ari_url:
        yield from ari(settings)
    yield from webhooks(settings)


def webhooks(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each URL that requests are sent to."""
    for name in _WEBHOOKS:
        url = getattr(settings, name)
        if url:
            yield _webhook(name.upper(), url)


def database(settings: Settings) -> Iterator[Finding]:
    """Yield what is found of the database: account, table, rights and triggers."""
    where = f"the database {settings.db_name} at {settings.db_host}:{settings.db_port}"
    try:
        connection = psycopg2.connect(
            host=settings.db_host,
            port=settings.db_port,
            dbname=settings.db_name,
            user=settings.db_user or None,
            password=read_password(settings) or None,
            sslmode=settings.db_sslmode,
            sslrootcert=settings.db_sslrootcert or None,
            connect_timeout=int(TIMEOUT_SECONDS),
            application_name="audiosocket-check",
        )
    except InvalidSetting as error:
        yield Finding("bad", str(error))
        return
    except psycopg2.Error as error:
        yield Finding(
            "bad",
            f"{where}: {connect_error(one_line(error))}",
            "correct DB_HOST, DB_USER and DB_PASSWORD, or start it",
        )
        return
    try:
        connection.set_session(readonly=True, autocommit=True)
        with connection.cursor() as cursor:
            cursor.execute("set statement_timeout = 5000")
            cursor.execute("select to_regclass('public.extension_ia')::oid")
            (table,) = cursor.fetchone() or (None,)
            if table is None:
                yield Finding("bad", f"{where} has no table extension_ia", "run audiosocket schema")
                return
            cursor.execute(_TRIGGERS, (table,))
            (kinds,) = cursor.fetchone() or (0,)
            rights = ", ".join("has_table_privilege(%s::oid, %s)" for _ in _RIGHTS)
            cursor.execute(f"select {rights}", [each for right in _RIGHTS for each in (table, right)])
            missing = [right for right, has in zip(_RIGHTS, cursor.fetchone() or (), strict=True) if not has]
    except psycopg2.Error as error:
        yield Finding("bad", f"{where}: {one_line(error)}")
        return
    finally:
        connection.close()
    yield from _of_table(where, missing, [name for name, bit in _TRIGGER_BITS if not kinds & bit])


def _of_table(where: str, missing: list[str], unheard: list[str]) -> Iterator[Finding]:
    if "select" in missing:
        yield Finding("bad", f"{where}: DB_USER may not read extension_ia", "grant select on extension_ia to it")
    elif missing:
        rights = ", ".join(missing)
        yield Finding(
            "warn",
            f"{where}: DB_USER lacks {rights} on extension_ia, so that the API cannot change extensions",
            f"grant {rights} on extension_ia to it, if the API shall",
        )
    if unheard:
        lacks = (
            "triggers" if len(unheard) == len(_TRIGGER_BITS) else f"enabled trigger for {' and '.join(unheard)}"
        )
        yield Finding(
            "warn",
            f"{where}: extension_ia has no {lacks}, so that changes are seen at the next poll only",
            "run audiosocket schema",
        )
    if not missing and not unheard:
        yield Finding("ok", f"{where}: table, rights and triggers are there")


def ami(settings: Settings) -> Iterator[Finding]:
    """Yield what is found of AMI: the account, and the actions that it may use."""
    where = f"AMI at {settings.ami_host}:{settings.ami_port}"
    try:
        with AMIConversation(settings.ami_host, settings.ami_port) as conversation:
            if not conversation.log_in(settings.ami_user, read_secret(settings, "AMI_SECRET")):
                cure = "compare AMI_USER and AMI_SECRET with manager.conf, also its permit and deny"
                yield Finding("bad", f"{where}: the account was refused", cure)
                return
            allowed = conversation.ask("ListCommands")
            needed: tuple[str, ...] = _RETURN_ACTIONS if settings.return_kind == "ami" else _CALLER_ACTIONS
            needed += ("PlayDTMF",) if settings.gate_dtmf else ()
            missing = [name for name in needed if not allowed.get(name)]
    except InvalidSetting as error:
        yield Finding("bad", str(error))
        return
    except AMIFailed as error:
        yield Finding("bad", f"{where}: {error}", _AMI_CURE)
        return
    except OSError as error:
        yield Finding("bad", f"{where}: {describe_cause(error)}", _AMI_CURE)
        return
    if missing:
        cure = "give the account write = originate,call,reporting in manager.conf"
        yield Finding("bad", f"{where}: the account may not {', '.join(missing)}", cure)
    else:
        yield Finding("ok", f"{where}: the account is accepted and may do what is needed")


def ari(settings: Settings) -> Iterator[Finding]:
    """Yield what is found of ARI: the account, and whether it may place calls."""
    parts = urlsplit(settings.ari_url)
    try:
        password = read_secret(settings, "ARI_PASSWORD")
    except InvalidSetting as error:
        yield Finding("bad", str(error))
        return
    account = b64encode(f"{settings.ari_user}:{password}".encode()).decode("ascii")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    where = f"ARI at {parts.hostname}"
    base = parts.path.rstrip("/").removesuffix("/ari")

    def ask(method: str, path: str) -> int:
        connection.request(method, f"{base}/ari/{path}", headers={"Authorization": f"Basic {account}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    try:
        status = ask("GET", "asterisk/ping")
        may_write = status != 200 or ask("DELETE", f"channels/{_NO_CHANNEL}") not in {401, 403}
    except OSError as error:
        yield Finding("bad", f"{where}: {describe_cause(error)}", "check ARI_URL, and http.conf and ari.conf")
        return
    except http.client.HTTPException:
        yield Finding("bad", f"{where}: it does not speak HTTP", "check ARI_URL")
        return
    finally:
        connection.close()
    if status in {401, 403}:
        cure = "compare ARI_USER and ARI_PASSWORD with ari.conf"
        yield Finding("bad", f"{where}: the account was refused", cure)
    elif status != 200:
        yield Finding("bad", f"{where}: it answered {status}", "check ARI_URL, and enabled in ari.conf")
    elif not may_write:
        cure = "set read_only = no for the account in ari.conf"
        yield Finding("bad", f"{where}: the account may read only, so that no call can be placed", cure)
    else:
        yield Finding("ok", f"{where}: the account is accepted and may place calls")


def _webhook(name: str, url: str) -> Finding:
    """Connect, with TLS where the URL says so; a request would do something."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((host, port), TIMEOUT_SECONDS) as connection:
            if parts.scheme == "https":
                with ssl.create_default_context().wrap_socket(connection, server_hostname=host):
                    pass
    except OSError as error:
        return Finding(
            "bad", f"{name}: {host}:{port}: {describe_cause(error)}", "start the program, or correct the URL"
        )
    return Finding("ok", f"{name}: {host}:{port} accepts connections")
