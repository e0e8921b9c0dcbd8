"""Who places return calls: the backend that the settings choose, as one service with one state."""

from __future__ import annotations

from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint

from audiosocket.ami import Ami
from audiosocket.amichannels import CallChannels
from audiosocket.amioriginate import AMIOriginator
from audiosocket.amiwire import action
from audiosocket.errors import InvalidSetting, LocalProtocolError
from audiosocket.numbers import Route, check_landing
from audiosocket.originate import Originator
from audiosocket.settings import Settings


class ReturnBackend(MultiService):
    """The connection to Asterisk's manager interface, when there is one, and what uses it.

    ``kind`` is "none" or "ami". With ``RETURN_BACKEND=none`` AMI still tells who is calling. Raises
    `InvalidSetting` for an AMI user or secret that cannot be sent.
    """

    def __init__(self, settings: Settings, reactor: Any) -> None:
        super().__init__()
        self.kind = "none"
        self.originator: Originator | None = None
        self.channels: CallChannels | None = None
        self._ami: Ami | None = None
        self._placing: AMIOriginator | None = None
        if not settings.ami_host:
            return
        endpoint = HostnameEndpoint(reactor, settings.ami_host, settings.ami_port)
        self._ami = Ami(endpoint, settings.ami_user, settings.ami_secret, reactor)
        self._ami.setServiceParent(self)
        self.channels = CallChannels(self._ami, reactor)
        if settings.return_backend != "none":
            self.kind = "ami"
            self.originator = self._placing = AMIOriginator(self._ami, reactor, route_of(settings))

    def stopService(self) -> Deferred[Any]:
        """Stop what rings while AMI is still there, then log off."""
        if self._placing is not None:
            self._placing.close()
        if self.channels is not None:
            self.channels.close()
        stopped: Deferred[Any] = super().stopService()
        return stopped

    def as_json(self) -> dict[str, str]:
        """``kind``, ``state`` (off, up, connecting, down) and ``reason``, as shown by the API."""
        if self.originator is not None:
            state, reason = self.originator.state
        elif self._ami is not None:
            state, reason = "off", "RETURN_BACKEND is none"
        else:
            state, reason = "off", "AMI_HOST is not set"
        return {"kind": self.kind, "state": state, "reason": reason}


def route_of(settings: Settings) -> Route:
    """Where return calls go out and land; raises `InvalidSetting` for what Asterisk must not be sent."""
    try:
        route = Route(settings.return_channel, settings.return_context)
    except InvalidSetting as problem:
        raise InvalidSetting(f"RETURN_CHANNEL, RETURN_CONTEXT: {problem}") from None
    return route


def check(settings: Settings) -> None:
    """Raises `InvalidSetting` for a setting of return calls that could not be sent to Asterisk."""
    route_of(settings)
    try:
        check_landing("1", settings.return_ring_seconds, settings.return_caller_id, {})
    except LocalProtocolError as problem:
        raise InvalidSetting(f"RETURN_CALLER_ID: {problem}") from None
    try:
        action("Login", [("Username", settings.ami_user), ("Secret", settings.ami_secret)])
    except LocalProtocolError:
        raise InvalidSetting("AMI_USER, AMI_SECRET: one of them cannot be sent in a line of AMI") from None
