"""All extensions' listeners: opens and closes ports until they are as desired, and leaves calls alone.

The steps come from ``reconcile.plan_changes``; here they are carried out under a lock, row by row, with a turn of
the reactor in between. Closing a listener never touches its connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from audiosocket.errors import UnknownExtension
from audiosocket.extensions import reconcile
from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.reconcile import (
    Placed,
    Plan,
    Slot,
    SocketAddress,
    claimed_ports,
    only,
)
from audiosocket.provisioning.extension_service import (
    ExtensionService,
    ListenAddress,
    Listener,
    MakeFactory,
    PortFactory,
    is_local,
)
from audiosocket.provisioning.port_opener import PortOpener, named
from audiosocket.provisioning.port_retries import PortRetries

#: Ports opened or closed between two turns of the reactor.
PER_TURN = 4
#: Rows whose values are taken between two turns of the reactor.
ENTERED_PER_TURN = 100


class IListeningReactor(IReactorTCP, IReactorTime):
    """The reactor, as far as listeners need it."""


class Listeners(MultiService):
    """The `ExtensionService` of every extension, and the closed ports that still have connections."""

    _log = Logger()

    def __init__(
        self,
        make_factory: MakeFactory,
        reactor: IListeningReactor,
        *,
        bind_address: str = "",
        reserved_ports: frozenset[int] = frozenset(),
        local: Callable[[str], bool] = is_local,
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._reserved = reserved_ports
        #: Opens the ports.
        self.ports = PortOpener(
            make_factory, reactor, bind_address=bind_address, reserved=reserved_ports, local=local
        )
        self._lock = DeferredLock()
        #: Extensions with a port that is not, or not only, where their row wants it.
        self._unsettled: set[int] = set()
        self._retries = PortRetries(self.retry, reactor)
        #: The factories of closed ports that still have connections, and those ports.
        self.draining: dict[PortFactory, int] = {}
        #: True once the first configuration has been applied.
        self.applied = False
        #: Counts the changes of anything the status shows, so that it need not be made anew for each request.
        self.generation = 0

    def startService(self) -> None:
        self._retries.start()
        super().startService()

    def stopService(self) -> Deferred[None]:
        self._retries.stop()
        return maybeDeferred(super().stopService)

    @property
    def lock(self) -> DeferredLock:
        """Held while ports are opened or closed."""
        return self._lock

    @property
    def extensions(self) -> dict[int, Extension]:
        """The running extensions, by id."""
        return {key: service.extension for key, service in self.services_by_id().items()}

    def services_by_id(self) -> dict[int, ExtensionService]:
        """Return the services, by extension id."""
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
            changed = self._to_change(by_id)
            claimed = self._claimed(by_id, changed)
            wanted = self.ports.addresses(only(by_id, changed), warn=True)
            plan = self._plan(by_id, changed, wanted, claimed)
            if not changed:
                self.applied = True
                return plan
            self._unsettled |= changed  # until it is done: the next apply completes one that was cancelled
            await self._close(plan.close)
            await self._close_lingering(claimed)
            for count, key in enumerate(plan.removed):
                await self._remove(key)
                if count % PER_TURN == PER_TURN - 1:
                    await deferLater(self._reactor, 0)
            for count, key in enumerate((*plan.relabel, *plan.added)):
                self._enter(by_id[key])
                if count % ENTERED_PER_TURN == ENTERED_PER_TURN - 1:
                    await deferLater(self._reactor, 0)
            # Ports that were just closed come first: Asterisk is calling them.
            for count, slot in enumerate(sorted(plan.open, key=lambda slot: slot not in plan.close)):
                self._open(slot, wanted[slot], claimed)
                if count % PER_TURN == PER_TURN - 1:
                    await deferLater(self._reactor, 0)
            for slot in plan.retry:
                await self._retry(slot, claimed)
            self._note_unsettled(changed)
            self.applied = True
            return plan

    def preview(self, desired: Sequence[Extension]) -> Plan:
        """Return what `apply` would do now."""
        by_id = {extension.id: extension for extension in desired}
        changed = self._to_change(by_id)
        wanted = self.ports.addresses(only(by_id, changed), warn=False)
        return self._plan(by_id, changed, wanted, self._claimed(by_id, changed))

    async def restart(self, extension_id: int) -> Extension:
        """Close and reopen an extension's ports; its calls go on. Raises `UnknownExtension`."""
        async with self._lock:
            service = self.services_by_id().get(extension_id)
            if service is None:
                raise UnknownExtension(f"no extension with id {extension_id} is running")
            extension = service.extension
            self._log.info("restarting the listeners of extension {id} ({number})", **named(extension))
            await self._close(tuple((extension_id, role) for role in service.listeners))
            claimed = claimed_ports(self.extensions.values(), self._reserved)
            for slot, want in self.ports.addresses({extension_id: extension}, warn=True).items():
                self._open(slot, want, claimed)
            self._note_unsettled({extension_id})
            return extension

    async def stop_accepting(self, role: Role) -> None:
        """Close every port of ``role`` and open no more; the connections that came in there go on."""
        self._retries.stop()
        async with self._lock:
            for count, service in enumerate(list(self.services_by_id().values())):
                for listener in service.children():
                    if listener.role is role:
                        self._stop(service, listener)
                if count % PER_TURN == PER_TURN - 1:
                    await deferLater(self._reactor, 0)

    def _to_change(self, desired: Mapping[int, Extension]) -> set[int]:
        """Return the ids to look at: a change concerns few of thousands of extensions."""
        running = self.extensions
        differ = {key for key in desired.keys() | running.keys() if desired.get(key) != running.get(key)}
        return differ | self._unsettled

    def _note_unsettled(self, changed: set[int]) -> None:
        """Remember which of these are not as their rows want them, to try again."""
        self.generation += 1
        services = self.services_by_id()
        for key in changed:
            service = services.get(key)
            if service is not None:
                service.generation = self.generation
            if service is not None and (service.lingering or service.mismatches):
                self._unsettled.add(key)
            else:
                self._unsettled.discard(key)
        self._retries.schedule(len(self._slots_to_retry()))

    def _claimed(self, desired: Mapping[int, Extension], changed: set[int]) -> frozenset[int]:
        return claimed_ports(desired.values(), self._reserved) if changed else frozenset()

    def _plan(
        self,
        desired: Mapping[int, Extension],
        changed: set[int],
        wanted: Mapping[Slot, SocketAddress],
        claimed: frozenset[int],
    ) -> Plan:
        running = self.extensions
        placed: dict[Slot, Placed] = {}
        for key in changed & running.keys():
            placed.update({(key, role): listener for role, listener in self._service(key).placed.items()})
        return reconcile.plan_changes(desired, running, changed, wanted, placed, claimed)

    # the steps

    def _changed(self, service: ExtensionService) -> ExtensionService:
        """Count a change of the service, which is returned."""
        self.generation += 1
        service.generation = self.generation
        return service

    def _open(self, slot: Slot, want: SocketAddress, claimed: frozenset[int]) -> None:
        key, role = slot
        self.ports.open(self._changed(self._service(key)), role, want, claimed)

    def _try(self, service: ExtensionService, role: Role, want: SocketAddress) -> CannotListenError | None:
        return self.ports.open_exactly(
            self._changed(service), role, ListenAddress(want.bind, want.port, want.port)
        )

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

    async def _close_lingering(self, claimed: frozenset[int]) -> None:
        """Close alternative ports, kept for their calls, that a row wants now."""
        for key in self._unsettled & self.extensions.keys():
            service = self._service(key)
            for listener in service.lingering:
                if listener.port in claimed:
                    await self._stop(service, listener)

    def _enter(self, extension: Extension) -> None:
        """Take the values of a new or changed row; its ports come later."""
        name = f"extension-{extension.id}"
        if name in self.namedServices:
            self._changed(self._service(extension.id)).relabel(extension)
            return
        service = self._changed(ExtensionService(extension))
        service.setName(name)
        service.setServiceParent(self)

    async def _remove(self, extension_id: int) -> None:
        service = self._service(extension_id)
        await DeferredList([self._stop(service, listener) for listener in service.children()])
        await maybeDeferred(service.disownServiceParent)

    def _stop(self, service: ExtensionService, listener: Listener) -> Deferred[None]:
        self._changed(service)
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
            **named(service.extension),
        )
        return listener.close()

    def _drained(self, factory: PortFactory) -> None:
        self.draining.pop(factory, None)

    async def retry(self) -> None:
        """Try to open the configured port of every role that has none or an alternative one."""
        async with self._lock:
            slots = self._slots_to_retry()
            for count, slot in enumerate(slots):
                if self._retries.stopped:
                    return
                await self._retry_configured(slot)
                if count % PER_TURN == PER_TURN - 1:
                    await deferLater(self._reactor, 0)
            self._note_unsettled({key for key, _ in slots})

    def _slots_to_retry(self) -> list[Slot]:
        services = self.services_by_id()
        return [
            (key, role) for key in sorted(self._unsettled & services.keys()) for role in services[key].unsettled
        ]

    async def _retry_configured(self, slot: Slot) -> None:
        key, role = slot
        service = self._service(key)
        failed = service.failed.get(role)
        if failed is None:
            await self._regain(service, service.listeners[role])
            return
        want = SocketAddress(failed.bind, failed.configured)
        error = self._try(service, role, want)
        if error is not None:
            self.ports.fail(service, role, want, error)

    async def _retry(self, slot: Slot, claimed: frozenset[int]) -> None:
        key, role = slot
        service = self._service(key)
        failed = service.failed.get(role)
        if failed is None:
            await self._regain(service, service.listeners[role])
        else:
            self._open(slot, SocketAddress(failed.bind, failed.configured), claimed)

    async def _regain(self, service: ExtensionService, listener: Listener) -> None:
        """Try to open the configured port; an alternative port stays open until its calls have ended."""
        role = listener.role
        service.linger(listener)
        error = self._try(service, role, SocketAddress(listener.bind, listener.configured))
        if error is not None:
            service.keep(listener)
        elif not listener.factory.connections:
            await self._stop(service, listener)
        else:
            listener.factory.when_empty(lambda: self._stop(service, listener))

    # state

    def mismatches(self) -> list[str]:
        """Return what differs from the desired state, one sentence each."""
        return [
            f"extension {key}: {reason}"
            for key in sorted(self._unsettled & self.extensions.keys())
            for reason in self._service(key).mismatches
        ]
