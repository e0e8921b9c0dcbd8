"""All extensions' listeners: makes what is open equal what is desired, and leaves calls alone.

The steps come from ``reconcile.plan``; here they are carried out under a lock, row by row, with a turn
of the reactor in between. Closing a listener never touches its connections.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from audiosocket.errors import UnknownExtension
from audiosocket.extensions import reconcile
from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.reconcile import Plan, Slot, SocketAddress
from audiosocket.provisioning.extension_service import (
    ExtensionService,
    ListenAddress,
    Listener,
    ListenFailure,
    MakeFactory,
    PortFactory,
    is_local,
    is_taken,
    why,
)

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - rows often carry the public side of a NAT
#: Ports opened or closed between two turns of the reactor.
PER_TURN = 4
#: Rows whose values are taken between two turns of the reactor.
ENTERED_PER_TURN = 100


class Listeners(MultiService):
    """The `ExtensionService` of every extension, and the ports that are being left."""

    _log = Logger()

    def __init__(
        self,
        make_factory: MakeFactory,
        reactor: Any,
        *,
        bind_address: str = "",
        reserved_ports: frozenset[int] = frozenset(),
        local: Callable[[str], bool] = is_local,
    ) -> None:
        super().__init__()
        self._make_factory = make_factory
        self._reactor = reactor
        #: BIND_ADDRESS: where everything listens, empty for each row's own.
        self.bind_address = bind_address
        self._reserved = reserved_ports
        self._local = local
        self._lock = DeferredLock()
        self._warned: set[tuple[int, str]] = set()
        #: Extensions with a port that is not, or not only, where their row wants it.
        self._uneasy: set[int] = set()
        #: Closed ports whose connections go on, with the port they came in through.
        self.draining: dict[PortFactory, int] = {}
        #: True once the first configuration has been applied.
        self.applied = False
        #: Counts the changes of anything that can be seen, so that what is shown need not be made anew each time.
        self.generation = 0

    @property
    def extensions(self) -> dict[int, Extension]:
        """What runs, by id."""
        return {key: service.extension for key, service in self.services_by_id().items()}

    def services_by_id(self) -> dict[int, ExtensionService]:
        """The services, by extension id."""
        return {child.extension.id: child for child in self if isinstance(child, ExtensionService)}

    def _service(self, extension_id: int) -> ExtensionService:
        found = self.namedServices[f"extension-{extension_id}"]
        assert isinstance(found, ExtensionService)  # noqa: S101 - for mypy; nothing else is ever added
        return found

    # reconciliation

    async def apply(self, desired: Sequence[Extension]) -> Plan:
        """Make what is open equal ``desired``; a port that cannot be had costs only its own listener."""
        async with self._lock:
            by_id = {extension.id: extension for extension in desired}
            touched = self._touched(by_id)
            wanted = self._wanted(_only(by_id, touched))
            plan = self._plan(by_id, touched, wanted)
            if not touched:
                self.applied = True
                return plan
            self._uneasy |= touched  # until it is done: an apply that is cut off is made whole by the next
            claimed = self._claimed(by_id)
            await self._close(plan.close)
            await self._make_way(claimed)
            for count, key in enumerate(plan.removed):
                await self._remove(key)
                if count % PER_TURN == PER_TURN - 1:
                    await deferLater(self._reactor, 0)
            for count, key in enumerate((*plan.relabel, *plan.added)):
                self._enter(by_id[key])
                if count % ENTERED_PER_TURN == ENTERED_PER_TURN - 1:
                    await deferLater(self._reactor, 0)
            # What was just closed first: those callers know the port.
            for count, slot in enumerate(sorted(plan.open, key=lambda slot: slot not in plan.close)):
                self._open(slot, wanted[slot], claimed)
                if count % PER_TURN == PER_TURN - 1:
                    await deferLater(self._reactor, 0)
            for slot in plan.retry:
                await self._retry(slot, claimed)
            self._look_after(touched)
            self.applied = True
            return plan

    def preview(self, desired: Sequence[Extension]) -> Plan:
        """What `apply` would do now."""
        by_id = {extension.id: extension for extension in desired}
        touched = self._touched(by_id)
        return self._plan(by_id, touched, self._wanted(_only(by_id, touched), warn=False))

    async def restart(self, extension_id: int) -> Extension:
        """Close and reopen an extension's ports; its calls go on. Raises `UnknownExtension`."""
        async with self._lock:
            service = self.services_by_id().get(extension_id)
            if service is None:
                raise UnknownExtension(f"no extension with id {extension_id} is running")
            extension = service.extension
            self._log.info("restarting the listeners of extension {id} ({number})", **_named(extension))
            await self._close(tuple((extension_id, role) for role in service.listeners))
            claimed = self._claimed(self.extensions)
            for slot, want in self._wanted({extension_id: extension}).items():
                self._open(slot, want, claimed)
            self._look_after({extension_id})
            return extension

    async def stop_accepting(self, role: Role) -> None:
        """Close every port of ``role``; the connections that came in there go on."""
        async with self._lock:
            for count, service in enumerate(list(self.services_by_id().values())):
                for listener in service.children():
                    if listener.role is role:
                        self._stop(service, listener)
                if count % PER_TURN == PER_TURN - 1:
                    await deferLater(self._reactor, 0)

    def _touched(self, desired: Mapping[int, Extension]) -> set[int]:
        """The ids that have to be looked at: among thousands of extensions a change touches few."""
        running = self.extensions
        differ = {key for key in desired.keys() | running.keys() if desired.get(key) != running.get(key)}
        return differ | self._uneasy

    def _look_after(self, touched: set[int]) -> None:
        """Remember which of these are not as their rows want them, to try again next time."""
        self.generation += 1
        services = self.services_by_id()
        for key in touched:
            service = services.get(key)
            if service is not None and (service.lingering or service.wrong):
                self._uneasy.add(key)
            else:
                self._uneasy.discard(key)

    def _wanted(self, desired: Mapping[int, Extension], *, warn: bool = True) -> dict[Slot, SocketAddress]:
        is_ours = cache(self._local)  # asked once for each address: rows share few
        return {
            (extension.id, role): SocketAddress(bind, port)
            for extension in desired.values()
            for bind in [self._bind(extension, is_ours, warn=warn)]
            for role, port in extension.ports().items()
        }

    def _plan(
        self, desired: Mapping[int, Extension], touched: set[int], wanted: Mapping[Slot, SocketAddress]
    ) -> Plan:
        claimed = self._claimed(desired) if touched else frozenset()
        placed: dict[Slot, SocketAddress] = {}
        unsettled: set[Slot] = set()
        running = self.extensions
        for key in touched & running.keys():
            service = self._service(key)
            for role, listener in service.listeners.items():
                squats = not listener.settled and listener.port in claimed
                placed[key, role] = SocketAddress(listener.bind, 0 if squats else listener.configured)
                if not listener.settled:
                    unsettled.add((key, role))
            for role, failed in service.failed.items():
                placed[key, role] = SocketAddress(failed.bind, failed.configured)
                unsettled.add((key, role))
        parts = _only(desired, touched), _only(running, touched)
        plan = reconcile.plan(*parts, wanted, placed, frozenset(unsettled))
        return replace(plan, kept=tuple(sorted((running.keys() - touched) | set(plan.kept))))

    def _claimed(self, desired: Mapping[int, Extension]) -> frozenset[int]:
        ports = {extension.port for extension in desired.values()}
        ports.update(extension.return_port for extension in desired.values() if extension.return_port is not None)
        return self._reserved.union(ports)

    def _bind(self, extension: Extension, is_ours: Callable[[str], bool], *, warn: bool) -> str:
        if self.bind_address:
            return self.bind_address
        address = extension.server_ip
        if is_ours(address):
            return address
        if warn and (extension.id, address) not in self._warned:
            self._warned.add((extension.id, address))
            self._log.warn(
                "extension {id} ({number}): {address} is not an address of this machine; binding all "
                "addresses (set BIND_ADDRESS to choose one)",
                address=address,
                **_named(extension),
            )
        return ANY_ADDRESS

    # the steps

    async def _close(self, slots: Sequence[Slot]) -> None:
        closing = []
        for key, role in slots:
            service = self._service(key)
            service.failed.pop(role, None)
            listener = service.listeners.get(role)
            if listener is not None:
                closing.append(self._stop(service, listener))
            if len(closing) >= PER_TURN:
                await DeferredList(closing)
                closing.clear()
        await DeferredList(closing)

    async def _make_way(self, claimed: frozenset[int]) -> None:
        """Give up ports we linger on as soon as a row wants them."""
        for key in self._uneasy & self.extensions.keys():
            service = self._service(key)
            for listener in service.lingering:
                if listener.port in claimed:
                    await self._stop(service, listener)

    def _enter(self, extension: Extension) -> None:
        """Take the values of a new or changed row; its ports come later."""
        self.generation += 1
        name = f"extension-{extension.id}"
        if name in self.namedServices:
            self._service(extension.id).relabel(extension)
            return
        service = ExtensionService(extension)
        service.setName(name)
        service.setServiceParent(self)

    async def _remove(self, extension_id: int) -> None:
        service = self._service(extension_id)
        await DeferredList([self._stop(service, listener) for listener in service.children()])
        await maybeDeferred(service.disownServiceParent)

    def _stop(self, service: ExtensionService, listener: Listener) -> Deferred[None]:
        self.generation += 1
        factory = listener.factory
        if factory.connections:
            self.draining[factory] = listener.port
            factory.when_empty(lambda: self._drained(factory))
        self._log.info(
            "extension {id} ({number}): stopped listening on {bind}:{port} for {role}s; {live} connections go on",
            bind=listener.bind,
            port=listener.port,
            role=listener.role.value,
            live=len(factory.connections),
            **_named(service.extension),
        )
        return listener.close()

    def _drained(self, factory: PortFactory) -> None:
        self.draining.pop(factory, None)

    def _open(self, slot: Slot, want: SocketAddress, claimed: frozenset[int]) -> None:
        key, role = slot
        service = self._service(key)
        error = self._try(service, role, ListenAddress(want.bind, want.port, want.port))
        if error is not None and is_taken(error):
            for port in reconcile.alternatives(want.port, claimed):
                if self._try(service, role, ListenAddress(want.bind, want.port, port)) is None:
                    return
        if error is not None:
            self._fail(service, role, want, error)

    def _try(self, service: ExtensionService, role: Role, place: ListenAddress) -> CannotListenError | None:
        self.generation += 1
        if place.port in self._reserved:
            # It may be free for a moment, and then we would keep ourselves from opening it.
            return CannotListenError(place.bind, place.port, OSError(errno.EADDRINUSE, "reserved for the API"))
        try:
            service.open(self._make_factory, role, place, self._reactor)
        except CannotListenError as error:
            return error
        said = dict(bind=place.bind, port=place.port, role=role.value, **_named(service.extension))
        if place.port == place.configured:
            self._log.info("extension {id} ({number}): listening on {bind}:{port} for {role}s", **said)
        else:
            self._log.error(
                "extension {id} ({number}): listening on {bind}:{port} for {role}s instead of {configured}, which "
                "is in use; Asterisk does not know this port, free the configured one",
                configured=place.configured,
                **said,
            )
        return None

    def _fail(self, service: ExtensionService, role: Role, want: SocketAddress, error: CannotListenError) -> None:
        before = service.failed.get(role)
        service.failed[role] = ListenFailure(want.bind, want.port, why(error))
        if before is None or before.reason != why(error):
            self._log.error(
                "extension {id} ({number}): not listening for {role}s: {why}; trying again at each refresh",
                role=role.value,
                why=why(error),
                **_named(service.extension),
            )

    async def _retry(self, slot: Slot, claimed: frozenset[int]) -> None:
        """Try for the configured port; an alternative stays open until its calls have ended."""
        key, role = slot
        service = self._service(key)
        listener = service.listeners.get(role)
        if listener is None:
            failed = service.failed[role]
            self._open(slot, SocketAddress(failed.bind, failed.configured), claimed)
            return
        service.linger(listener)
        error = self._try(service, role, ListenAddress(listener.bind, listener.configured, listener.configured))
        if error is not None:
            service.stay(listener)
        elif not listener.factory.connections:
            await self._stop(service, listener)
        else:
            listener.factory.when_empty(lambda: self._stop(service, listener))

    # what it looks like

    def mismatches(self) -> list[str]:
        """What differs from the desired state, one sentence each."""
        return [
            f"extension {key}: {reason}"
            for key in sorted(self._uneasy & self.extensions.keys())
            for reason in self._service(key).wrong
        ]


def _only(extensions: Mapping[int, Extension], keys: set[int]) -> dict[int, Extension]:
    return {key: extensions[key] for key in keys if key in extensions}


def _named(extension: Extension) -> dict[str, Any]:
    return {"id": extension.id, "number": extension.number}
