"""Where the ports of extensions are opened, and what becomes of one that cannot be had."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTCP
from twisted.logger import Logger

from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.reconcile import Slot, SocketAddress, alternatives, wanted_addresses
from audiosocket.provisioning.extension_service import (
    ExtensionService,
    ListenAddress,
    Listener,
    ListenFailure,
    MakeFactory,
    explained,
    is_taken,
)

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - rows often carry the public side of a NAT

_log = Logger()


class PortOpener:
    """Opens ports of extensions on ``reactor``.

    ``bind_address`` is BIND_ADDRESS: where everything listens, empty for each row's own. ``reserved`` are ports
    that are never opened, ``local`` says whether an address is one of this machine.
    """

    def __init__(
        self,
        make_factory: MakeFactory,
        reactor: IReactorTCP,
        *,
        bind_address: str,
        reserved: frozenset[int],
        local: Callable[[str], bool],
    ) -> None:
        #: Makes the protocol factory of a port.
        self.make_factory = make_factory
        self._reactor = reactor
        self.bind_address = bind_address
        self._reserved = reserved
        self._local = local
        self._warned: set[tuple[int, str]] = set()

    def addresses(self, desired: Mapping[int, Extension], *, warn: bool) -> dict[Slot, SocketAddress]:
        """Return where each port of these extensions should be; ``warn`` of addresses of other machines, once."""
        is_local = cache(self._local)  # called once for each address: rows share few
        return wanted_addresses(desired, lambda extension: self._bind(extension, is_local, warn=warn))

    def _bind(self, extension: Extension, is_local: Callable[[str], bool], *, warn: bool) -> str:
        if self.bind_address:
            return self.bind_address
        address = extension.server_ip
        if is_local(address):
            return address
        if warn and (extension.id, address) not in self._warned:
            self._warned.add((extension.id, address))
            _log.warn(
                "extension {id} ({number}): {address} is not an address of this machine; binding all "
                "addresses (set BIND_ADDRESS to choose one)",
                address=address,
                **named(extension),
            )
        return ANY_ADDRESS

    def open(self, service: ExtensionService, role: Role, want: SocketAddress, claimed: frozenset[int]) -> None:
        """Open a port, an alternative where it is taken; ``claimed`` are the ports that rows want."""
        error = self.open_exactly(service, role, ListenAddress(want.bind, want.port, want.port))
        if error is not None and is_taken(error):
            for port in alternatives(want.port, claimed):
                if self.open_exactly(service, role, ListenAddress(want.bind, want.port, port)) is None:
                    return
        if error is not None:
            self.fail(service, role, want, error)

    def open_exactly(
        self, service: ExtensionService, role: Role, place: ListenAddress
    ) -> CannotListenError | None:
        """Open this port and log it; return the error when it cannot be had."""
        if place.port in self._reserved:
            # it may be free now, but the API opens it later
            return CannotListenError(place.bind, place.port, OSError(errno.EADDRINUSE, "reserved for the API"))
        try:
            service.open(self.make_factory, role, place, self._reactor)
        except CannotListenError as error:
            return error
        fields = dict(bind=place.bind, port=place.port, role=role.value, **named(service.extension))
        if place.port == place.configured:
            _log.info("extension {id} ({number}): listening on {bind}:{port} for {role}s", **fields)
        else:
            _log.error(
                "extension {id} ({number}): listening on {bind}:{port} for {role}s instead of {configured}, which "
                "is in use; Asterisk does not know this port, free the configured one",
                configured=place.configured,
                **fields,
            )
        return None

    def inherit(
        self, service: ExtensionService, role: Role, place: ListenAddress, listening: socket.socket
    ) -> Listener:
        """Go on with a listening socket of the previous process."""
        return service.open(self.make_factory, role, place, self._reactor, listening)

    def fail(self, service: ExtensionService, role: Role, want: SocketAddress, error: CannotListenError) -> None:
        """Note that a port cannot be had; a reason is logged once."""
        before = service.failed.get(role)
        service.failed[role] = ListenFailure(want.bind, want.port, explained(error))
        if before is None or before.reason != explained(error):
            _log.error(
                "extension {id} ({number}): not listening for {role}s: {reason}; trying again until it can",
                role=role.value,
                reason=explained(error),
                **named(service.extension),
            )


def named(extension: Extension) -> dict[str, Any]:
    """Return how an extension is called in log lines."""
    return {"id": extension.id, "number": extension.number}
