"""Every setting of the server, with default, check and explanation.

`Settings.parse` is pure: it takes a mapping of names to text and returns a frozen value; a wrong value raises
`InvalidSetting` with the name of the setting and the value. The programs pass it the environment; the options of
``twistd audiosocket`` and ``.env.example`` follow this table.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from audiosocket import setting_kinds as kinds
from audiosocket.errors import InvalidSetting

PRIVATE_NETWORKS = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,::1/128,fc00::/7,fe80::/10"
#: The backends in the order in which ``auto`` tries them, with the settings that each needs.
RETURN_BACKENDS = {
    "ami": ("AMI_HOST", "AMI_USER", "AMI_SECRET"),
    "ari": ("ARI_URL", "ARI_USER", "ARI_PASSWORD"),
    "webhook": ("WEBHOOK_URL", "WEBHOOK_SECRET"),
}
#: The settings with a secret; each can be given as a file instead, in the setting of the same name with _FILE.
SECRETS = (
    "DB_PASSWORD",
    "API_TOKEN",
    "AMI_SECRET",
    "ARI_PASSWORD",
    "WEBHOOK_SECRET",
    "GATE_WEBHOOK_SECRET",
    "EVENTS_WEBHOOK_SECRET",
)
#: The backend that rings on the operator page; ``auto`` never chooses it.
BROWSER = "browser"
#: What a rejected value may look like to be repeated: a URL or key=value in the wrong setting may hold a password.
_MAY_BE_SHOWN = re.compile(r"(?!.*://)[^@=]*", re.DOTALL)
_HOST_LIKE = re.compile(r"[\w.:,/%\[\]-]*", re.ASCII)
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def _setting(default: str, parse: Callable[[str], Any], help: str, *, secret: bool = False) -> Any:
    """Define one setting; the default is text, so that it passes the same check as a given value."""
    return field(repr=not secret, metadata={"default": default, "parse": parse, "help": help, "secret": secret})


@dataclass(frozen=True)
class Settings:
    """All settings, checked. Field names are the setting names in lower case."""

    db_host: str = _setting("", kinds.database_host, "PostgreSQL server; empty = no database")
    db_port: int = _setting("5432", kinds.port, "PostgreSQL port")
    db_name: str = _setting("postgres", kinds.plain_name, "database that holds extension_ia")
    db_user: str = _setting("", kinds.plain_name, "database user")
    db_password: str = _setting("", kinds.text, "password of DB_USER", secret=True)
    db_password_file: str = _setting(
        "", kinds.text, "file whose first line is the password, instead of DB_PASSWORD"
    )
    db_sslmode: str = _setting("prefer", kinds.choice(*SSL_MODES), "TLS towards PostgreSQL, libpq's values")
    db_sslrootcert: str = _setting(
        "",
        kinds.text,
        "file of the authorities that may sign PostgreSQL's certificate; needs DB_SSLMODE=verify-full",
    )
    api_host: str = _setting(
        "127.0.0.1", kinds.address, "address of the HTTP API; any but loopback needs API_TOKEN"
    )
    api_port: int = _setting("8082", kinds.port, "port of the HTTP API")
    api_token: str = _setting("", kinds.text, "bearer token that every request under /api must carry", secret=True)
    api_token_file: str = _setting(
        "", kinds.text, "file whose first line is the token, instead of API_TOKEN; read again when it changes"
    )
    api_tokens_file: str = _setting(
        "", kinds.text, "file of named tokens, a line each: name, SHA-256, scope (read, operate or admin)"
    )
    api_allowed_hosts: tuple[str, ...] = _setting(
        "", kinds.names, "further host names, comma separated, under which the API may be addressed"
    )
    phone: bool = _setting("true", kinds.flag, "allow calls from the operator page: a telephone in the browser")
    auto_refresh: bool = _setting("true", kinds.flag, "poll the table and LISTEN for changes")
    refresh_interval_seconds: int = _setting(
        "30", kinds.whole(1, 86_400, "a number of seconds"), "seconds between two reads of the table"
    )
    bind_address: str = _setting(
        "",
        lambda value: kinds.address(value) if value else "",
        "address all listeners bind, whatever the rows say",
    )
    allowed_peers: tuple[kinds.Network, ...] = _setting(
        PRIVATE_NETWORKS, kinds.networks, "networks that may open an AudioSocket connection"
    )
    proxy_peers: tuple[kinds.Network, ...] = _setting(
        "",
        kinds.networks,
        "networks of load balancers, whose connections must begin with a PROXY header; empty = none, and such a "
        "header is refused",
    )
    fleet_ports: range | None = _setting(
        "",
        kinds.ports,
        "ports that the balancer in front of several nodes passes on, like 8101-8300; "
        "a row outside is reported; empty = any",
    )
    fleet: bool = _setting(
        "false", kinds.flag, "share nodes, commands and calls with equal nodes through PostgreSQL; needs DB_HOST"
    )
    node_name: str = _setting(
        "", kinds.node_name, "name of this node in a fleet; empty = host name and a hash of the path of DATA_DIR"
    )
    node_url: str = _setting(
        "",
        kinds.text,
        "URL under which the other nodes reach this node's API; empty = from API_HOST and API_PORT",
    )
    visitor_app: str = _setting("porteiro", kinds.text, "app of visitor legs; a+b runs both on one leg")
    resident_app: str = _setting("porteiro", kinds.text, "app of resident legs")
    apps_file: str = _setting(
        "", kinds.text, "which extension runs which app; empty = apps.toml in DATA_DIR; it need not exist"
    )
    accept_unexpected_resident: bool = _setting(
        "false", kinds.flag, "accept resident legs that no call is waiting for (they may open a gate)"
    )
    return_backend: str = _setting(
        "auto",
        kinds.choice("auto", "none", *RETURN_BACKENDS, BROWSER),
        "what places return calls; auto = ami, ari or webhook, the first whose host or URL is set, else none; "
        "browser = they ring on the operator page",
    )
    ami_host: str = _setting("", kinds.host, "Asterisk's manager interface (AMI); empty = not used")
    ami_port: int = _setting("5038", kinds.port, "port of AMI")
    ami_user: str = _setting("", kinds.plain_name, "AMI user, the section of manager.conf")
    ami_secret: str = _setting("", kinds.text, "secret of AMI_USER", secret=True)
    ami_secret_file: str = _setting(
        "", kinds.text, "file whose first line is the secret, instead of AMI_SECRET; read at each use"
    )
    ari_url: str = _setting(
        "", kinds.text, "URL of ARI (Asterisk over HTTP), like http://127.0.0.1:8088; empty = not used"
    )
    ari_user: str = _setting("", kinds.plain_name, "ARI user, the section of ari.conf")
    ari_password: str = _setting("", kinds.text, "password of ARI_USER", secret=True)
    ari_password_file: str = _setting(
        "", kinds.text, "file whose first line is the password, instead of ARI_PASSWORD; read at each use"
    )
    webhook_url: str = _setting("", kinds.text, "URL of a program that places return calls; empty = not used")
    webhook_secret: str = _setting("", kinds.text, "key that requests to WEBHOOK_URL are signed with", secret=True)
    webhook_secret_file: str = _setting(
        "", kinds.text, "file whose first line is the key, instead of WEBHOOK_SECRET; read at each use"
    )
    return_channel: str = _setting(
        "PJSIP/{number}",
        kinds.text,
        "channel that rings a resident; must contain {number}, may contain {ramal}, {retorno}, {condominio}",
    )
    return_context: str = _setting(
        "audiosocket-return",
        kinds.text,
        "dialplan context of the return extensions; may contain the same placeholders",
    )
    return_caller_id: str = _setting(
        "", kinds.text, "caller id that residents see; may contain the same placeholders; empty = Asterisk's own"
    )
    return_ring_seconds: int = _setting(
        "25", kinds.whole(1, 600, "a number of seconds"), "seconds that each number of a return call rings"
    )
    return_window_seconds: int = _setting(
        "10",
        kinds.whole(1, 600, "a number of seconds"),
        "seconds after the answer within which the resident's leg must arrive",
    )
    return_confirm: bool = _setting(
        "false",
        kinds.flag,
        "who answers a return call must press a key before the leg counts as the resident's; a mailbox does not",
    )
    porteiro_language: str = _setting(
        "pt_BR", kinds.language, f"language of the app porteiro: {' or '.join(kinds.PORTEIRO_LANGUAGES)}"
    )
    porteiro_concierge: str = _setting(
        "",
        kinds.text,
        "number that porteiro rings when no resident answers or the visitor presses 0; {ramal}, {retorno} and "
        "{condominio} may be in it; empty = none",
    )
    gate_webhook_url: str = _setting(
        "", kinds.text, "program that opens the gate when a resident has authorised; empty = not used"
    )
    gate_webhook_secret: str = _setting(
        "", kinds.text, "what requests to GATE_WEBHOOK_URL are signed with", secret=True
    )
    gate_webhook_secret_file: str = _setting(
        "", kinds.text, "file whose first line is that key, instead of GATE_WEBHOOK_SECRET; read at each use"
    )
    gate_dtmf: str = _setting(
        "", kinds.keys, "keys played on the visitor's channel through AMI to open the gate; empty = none"
    )
    events_webhook_url: str = _setting(
        "", kinds.text, "program that is sent the events of the server, in batches; empty = not used"
    )
    events_webhook_secret: str = _setting(
        "", kinds.text, "key that requests to EVENTS_WEBHOOK_URL are signed with", secret=True
    )
    events_webhook_secret_file: str = _setting(
        "", kinds.text, "file whose first line is that key, instead of EVENTS_WEBHOOK_SECRET"
    )
    resume_seconds: int = _setting(
        "60",
        kinds.whole(0, 3_600, "a number of seconds"),
        "seconds after a restart within which calls may resume",
    )
    drain_seconds: int = _setting(
        "5",
        kinds.whole(0, 86_400, "a number of seconds"),
        "seconds that live calls have to end by themselves after SIGTERM",
    )
    play_file: str = _setting("", kinds.text, "WAV of the play app; empty = a short built-in chime")
    play_then: str = _setting(
        "continue",
        kinds.choice("continue", "hangup", "loop"),
        "what the play app does at its end: continue, hangup or loop",
    )
    record_dir: str = _setting("", kinds.text, "where the record app writes; empty = recordings/ in DATA_DIR")
    max_extensions: int = _setting(
        "1000", kinds.whole(1, 30_000, "a number of extensions"), "rows beyond this many are rejected"
    )
    max_connections: int = _setting(
        "20000", kinds.limit("connections"), "open connections; more are closed; 0 = no limit"
    )
    max_connections_per_peer: int = _setting(
        "10000", kinds.limit("connections"), "the same from one address: an Asterisk with all its calls"
    )
    max_calls: int = _setting("10000", kinds.limit("calls"), "live calls; more are refused; 0 = no limit")
    max_calls_per_peer: int = _setting("5000", kinds.limit("calls"), "the same from one address")
    max_calls_per_extension: int = _setting("5000", kinds.limit("calls"), "the same on one extension")
    max_calls_per_second: int = _setting(
        "1000", kinds.limit("calls"), "calls that may begin in a second, in all; 0 = no limit"
    )
    max_call_seconds: int = _setting(
        "86400", kinds.limit("seconds", 31_536_000), "a call that lasts longer is ended; 0 = no limit"
    )
    max_idle_seconds: int = _setting(
        "3600",
        kinds.limit("seconds", 31_536_000),
        "a leg that has sent nothing and was sent only silence for so long is ended; 0 = no limit",
    )
    workers: int = _setting(
        "1",
        kinds.whole(1, 64, "a number of processes"),
        "processes that share the ports and the calls; 1 = a single process",
    )
    leg_transport: str = _setting(
        "auto",
        kinds.choice("auto", "stock"),
        "stock = Twisted's own transports and timers for legs, which are slower",
    )
    data_dir: str = _setting("./data", kinds.text, "directory of ramais_config.json, calls.journal and recordings")
    log_dir: str = _setting("./logs", kinds.text, "directory of audiosocket.log")
    log_format: str = _setting("text", kinds.choice("text", "json"), "one line of text, or of JSON, per event")
    log_level: str = _setting(
        "info",
        kinds.choice("debug", "info", "warn", "error"),
        "least severe level that is written: debug, info, warn or error",
    )
    log_max_mb: int = _setting(
        "10", kinds.whole(1, 10_000, "a number of megabytes"), "size at which the log rotates"
    )
    log_files: int = _setting("10", kinds.whole(1, 1_000, "a number of files"), "rotated log files kept")

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> Settings:
        """Return the settings in ``values`` (names in capitals); blank and missing ones have their defaults.

        Raises `InvalidSetting`; the text never contains the value of a secret.
        """
        parsed: dict[str, Any] = {}
        for spec in fields(cls):
            name = spec.name.upper()
            given = values.get(name, "")
            given = given if spec.metadata["secret"] and not given.isspace() else given.strip()
            try:
                parsed[spec.name] = spec.metadata["parse"](given or spec.metadata["default"])
            except ValueError as error:
                form = _HOST_LIKE if isinstance(error, kinds.HostError) else _MAY_BE_SHOWN
                hidden = spec.metadata["secret"] or not form.fullmatch(given)
                shown = "(not shown)" if hidden else repr(given)
                raise InvalidSetting(f"{name}: {shown} {error}") from None
        settings = cls(**parsed)
        settings._check_combinations()
        return settings

    def _check_combinations(self) -> None:
        for name in SECRETS:
            if getattr(self, name.lower()) and getattr(self, f"{name.lower()}_file"):
                raise InvalidSetting(f"{name}_FILE: {name} is set too; keep one of them")
        tokens = self.api_token or self.api_token_file or self.api_tokens_file
        if not tokens and not ipaddress.ip_address(self.api_host).is_loopback:
            raise InvalidSetting(
                f"API_HOST: '{self.api_host}' is not loopback; set API_TOKEN first, "
                "or any host that can connect to it can change extensions"
            )
        if self.db_sslrootcert:
            # with prefer, libpq goes on without TLS where the certificate is refused
            enough = (
                ("verify-full",) if self.db_sslrootcert == "system" else ("require", "verify-ca", "verify-full")
            )
            if self.db_sslmode not in enough:
                raise InvalidSetting(
                    f"DB_SSLROOTCERT: with DB_SSLMODE={self.db_sslmode} no connection has to have a certificate "
                    "that it vouches for; set DB_SSLMODE=verify-full"
                )
        if self.fleet and not self.db_host:
            raise InvalidSetting("DB_HOST: '' is empty; FLEET=true needs the database that the nodes share")
        if self.gate_webhook_url and not self._is_given("GATE_WEBHOOK_SECRET"):
            raise InvalidSetting("GATE_WEBHOOK_SECRET: '' is empty; requests to GATE_WEBHOOK_URL must be signed")
        if self.events_webhook_url and not self._is_given("EVENTS_WEBHOOK_SECRET"):
            raise InvalidSetting(
                "EVENTS_WEBHOOK_SECRET: '' is empty; requests to EVENTS_WEBHOOK_URL must be signed"
            )
        if self.gate_dtmf and not self.ami_host:
            raise InvalidSetting(f"GATE_DTMF: {self.gate_dtmf!r} needs AMI_HOST, which plays the keys")
        if self.ami_host:
            self._check_given(*RETURN_BACKENDS["ami"])
        if self.return_kind == BROWSER and not self.phone:
            raise InvalidSetting("RETURN_BACKEND: 'browser' needs PHONE=true, the telephone of the operator page")
        if self.return_kind in RETURN_BACKENDS:
            self._check_given(*RETURN_BACKENDS[self.return_kind])

    def _check_given(self, *needed: str) -> None:
        for name in needed:
            if not self._is_given(name):
                first = needed[0] if getattr(self, needed[0].lower()) else f"RETURN_BACKEND={self.return_backend}"
                raise InvalidSetting(f"{name}: '' is empty; {first} needs {', '.join(needed)}")

    def _is_given(self, name: str) -> bool:
        """Return whether the setting is not empty; of a secret also whether its file is given."""
        return bool(getattr(self, name.lower()) or (name in SECRETS and getattr(self, f"{name.lower()}_file")))

    @property
    def return_kind(self) -> str:
        """The backend of return calls: one of `RETURN_BACKENDS`, `BROWSER` or "none"."""
        if self.return_backend != "auto":
            return self.return_backend
        given = (kind for kind, (first, *_) in RETURN_BACKENDS.items() if getattr(self, first.lower()))
        return next(given, "none")


@dataclass(frozen=True)
class SettingInfo:
    """One setting, for help texts and documentation."""

    name: str
    default: str
    help: str
    secret: bool


def catalogue() -> tuple[SettingInfo, ...]:
    """Return all settings in the order of the documentation."""
    return tuple(
        SettingInfo(s.name.upper(), s.metadata["default"], s.metadata["help"], s.metadata["secret"])
        for s in fields(Settings)
    )
