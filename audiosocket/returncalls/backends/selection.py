"""The backend of return calls that the settings choose, as one service with one state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint

from audiosocket.asterisk.ami.channels import ChannelTracker
from audiosocket.asterisk.ami.client import AMIClient
from audiosocket.asterisk.ami.telephony import AMITelephony
from audiosocket.asterisk.ami.wire import action
from audiosocket.asterisk.ari.channels import ARIChannels
from audiosocket.errors import InvalidSetting, LocalProtocolError, UnknownAttempt
from audiosocket.json_shapes import BackendJSON
from audiosocket.outbound.endpoints import IConnectingReactor
from audiosocket.outbound.http_client import HTTPClient, checked_url
from audiosocket.outbound.secret import secret_from
from audiosocket.returncalls.backends.ami import AMIOriginator
from audiosocket.returncalls.backends.ari import ARIOriginator
from audiosocket.returncalls.backends.browser import BrowserOriginator, Publish
from audiosocket.returncalls.backends.webhook import WebhookOriginator
from audiosocket.returncalls.dial_string import Route, check_landing, checked_number
from audiosocket.returncalls.originator import NOT_CONFIGURED
from audiosocket.returncalls.templates import PLACES_OF_ROWS, check_template, filled
from audiosocket.settings import Settings


class ReturnBackend(MultiService):
    """The backend, and the connection to Asterisk's manager interface (AMI) where one is configured.

    ``kind`` is "none", "ami", "ari", "webhook" or "browser". AMI identifies callers whatever the kind is;
    without it ARI does. ``wall`` is Unix time in seconds; ``publish`` takes what rings on the operator page.
    Raises `InvalidSetting` for what `check` would refuse.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: IConnectingReactor,
        wall: Callable[[], float],
        publish: Publish = lambda record: None,
    ) -> None:
        super().__init__()
        self.kind = settings.return_kind
        self.originator: AMIOriginator | ARIOriginator | WebhookOriginator | BrowserOriginator | None = None
        self.channels: ChannelTracker | None = None
        self.telephony: AMITelephony | None = None
        self._ami: AMIClient | None = None
        if settings.ami_host:
            endpoint = HostnameEndpoint(reactor, settings.ami_host, settings.ami_port)
            secret = secret_from("AMI_SECRET", settings.ami_secret, settings.ami_secret_file, reactor)
            name = f"AMI at {settings.ami_host}:{settings.ami_port}"
            self._ami = AMIClient(endpoint, settings.ami_user, secret, reactor, name=name)
            self._ami.setServiceParent(self)
            self.channels = ChannelTracker(self._ami)
            self.telephony = AMITelephony(self._ami, reactor)
        if self.kind == "ami" and self._ami is not None:
            self.originator = AMIOriginator(self._ami, reactor, route_of(settings))
        elif self.kind == "ari":
            web = HTTPClient(reactor)
            self.originator = ARIOriginator(
                web,
                reactor,
                settings.ari_url,
                settings.ari_user,
                secret_from("ARI_PASSWORD", settings.ari_password, settings.ari_password_file, reactor),
                route_of(settings),
                endpoint=web.endpoint,
            )
        elif self.kind == "webhook":
            key = secret_from("WEBHOOK_SECRET", settings.webhook_secret, settings.webhook_secret_file, reactor)
            self.originator = WebhookOriginator(HTTPClient(reactor), reactor, wall, settings.webhook_url, key)
        elif self.kind == "browser":
            self.originator = BrowserOriginator(publish, reactor)

    def startService(self) -> None:
        super().startService()
        if isinstance(self.originator, ARIOriginator | WebhookOriginator):
            self.originator.start()

    def read_key(self) -> None:
        """Read the key of reports, for a process that only verifies them and is never started."""
        if isinstance(self.originator, WebhookOriginator):
            self.originator.start()

    def stopService(self) -> Deferred[Any]:
        """Stop what rings, then disconnect; takes a few seconds at most."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if isinstance(self.originator, AMIOriginator):
            self.originator.close()
        elif self.originator is not None:
            await self.originator.close()
        if self.channels is not None:
            self.channels.close()
        await maybeDeferred(super().stopService)

    @property
    def callers(self) -> ChannelTracker | ARIChannels | None:
        """What knows the channels of callers: AMI, else ARI, else nothing."""
        if self.channels is None and isinstance(self.originator, ARIOriginator):
            return self.originator.channels
        return self.channels

    @property
    def ami(self) -> AMIClient | None:
        """The connection to AMI, where it is set."""
        return self._ami

    def arrived(self, call_id: UUID) -> None:
        """End the attempt of this call as answered, reported or not: its leg has arrived."""
        if self.originator is not None:
            self.originator.answered(call_id)

    def report(self, attempt_id: str, end: str, reason: str) -> None:
        """End an attempt as a webhook's program or a page reports; raises `UnknownAttempt` and `InvalidReport`."""
        if not isinstance(self.originator, WebhookOriginator | BrowserOriginator):
            raise UnknownAttempt(
                f"only a webhook or a page reports on attempts, and return calls are placed by {self.kind}"
            )
        if not self.originator.report(attempt_id, end, reason):
            raise UnknownAttempt("no attempt with this id is in progress; it may have ended already")

    def vouches(self, header: str, attempt_id: str, body: bytes) -> bool:
        """Return whether ``header`` is a signature with ``WEBHOOK_SECRET`` of this report on this attempt."""
        return isinstance(self.originator, WebhookOriginator) and self.originator.vouches(header, attempt_id, body)

    def to_json(self) -> BackendJSON:
        """Return ``kind``, ``state`` (off, connecting, up, failing, down) and ``reason`` for the API.

        "failing" is a webhook whose last request failed; the next call tries it again. Where AMI only identifies
        callers, its state is under ``ami``.
        """
        state, reason = "off", NOT_CONFIGURED
        if self.originator is not None:
            state, reason = self.originator.state
        elif self._ami is not None:
            reason = "RETURN_BACKEND is none"
        shown: BackendJSON = {"kind": self.kind, "state": state, "reason": reason}
        if self._ami is not None and self.kind != "ami":
            state, reason = self._ami.state
            shown["ami"] = {"state": state, "reason": reason}
        return shown


def route_of(settings: Settings) -> Route:
    """Return the route of return calls; raises `InvalidSetting` for what must not reach Asterisk."""
    return Route(settings.return_channel, settings.return_context)


def check(settings: Settings) -> None:
    """Raise `InvalidSetting` for a setting of return calls that cannot be used."""
    route_of(settings)
    check_template(settings.return_caller_id, "RETURN_CALLER_ID")
    try:
        check_landing("1", settings.return_ring_seconds, settings.return_caller_id, {})
    except LocalProtocolError as problem:
        raise InvalidSetting(f"RETURN_CALLER_ID: {problem}") from None
    try:
        action("Login", [("Username", settings.ami_user), ("Secret", settings.ami_secret)])
    except LocalProtocolError:
        raise InvalidSetting("AMI_USER, AMI_SECRET: one of them cannot be sent in a line of AMI") from None
    for name, url in (("ARI_URL", settings.ari_url), ("NODE_URL", settings.node_url)):
        if url and "?" in checked_url(url, name):
            raise InvalidSetting(f"{name}: a path is added to it; leave out the ? and what follows")
    if ":" in settings.ari_user:  # not repeated: user and password are often written so, in one text
        raise InvalidSetting(
            "ARI_USER: there is a colon in it, which HTTP does not allow in a user; the password is ARI_PASSWORD"
        )
    if settings.webhook_url:
        checked_url(settings.webhook_url, "WEBHOOK_URL")
    if settings.gate_webhook_url:
        checked_url(settings.gate_webhook_url, "GATE_WEBHOOK_URL")
    if settings.events_webhook_url:
        checked_url(settings.events_webhook_url, "EVENTS_WEBHOOK_URL")
    check_template(settings.porteiro_concierge, "PORTEIRO_CONCIERGE", places=PLACES_OF_ROWS)
    try:
        checked_number(filled(settings.porteiro_concierge or "1", dict.fromkeys(PLACES_OF_ROWS, "1")))
    except LocalProtocolError as problem:
        raise InvalidSetting(f"PORTEIRO_CONCIERGE: {problem}") from None
