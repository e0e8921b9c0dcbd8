"""The listening sockets of one process as a value and sockets, and in the next process as listeners again.

What waits to be accepted waits in the kernel, and a socket that two processes have is not closed by either.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from audiosocket.calls.protocol.factory import AudioSocketFactory
from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.parsing import parse_json
from audiosocket.provisioning.extension_service import ListenAddress, PortFactory
from audiosocket.provisioning.listeners import Listeners


def save(listeners: Listeners, descriptors: list[int]) -> dict[str, Any]:
    """Return the running extensions and their ports; append their descriptors."""
    ports = []
    for key, service in listeners.services_by_id().items():
        for listener in service.children():
            skt = listener.listening_socket
            if skt is None:
                continue
            ports.append(
                {
                    "extension": key,
                    "role": listener.role.value,
                    "bind": listener.bind,
                    "configured": listener.configured,
                    "port": listener.port,
                    "lingers": listener in service.lingering,
                    "socket": len(descriptors),
                }
            )
            descriptors.append(skt.fileno())
    extensions = [extension.to_json() for extension in listeners.extensions.values()]
    return {"extensions": extensions, "ports": ports}


class InheritedPorts:
    """The listening sockets of the previous process, in ``listeners`` that have not been started."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._factories: dict[tuple[int, Role, int], PortFactory] = {}

    def load(self, saved: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Add the extensions with their ports; the listeners own the descriptors then.

        A port that was missing, or elsewhere than its row wants it, is put right when the configuration is applied
        first.
        """
        listeners = self._listeners
        for row in saved["extensions"]:
            listeners._enter(parse_json(row))
        for port in saved["ports"]:
            self._load_port(port, socket.socket(fileno=descriptors[port["socket"]]))
        for key, service in listeners.services_by_id().items():
            if service.lingering or service.mismatches:
                listeners._unsettled.add(key)
        listeners.applied = True

    def _load_port(self, port: Mapping[str, Any], listening: socket.socket) -> None:
        listeners, key, role = self._listeners, int(port["extension"]), Role(port["role"])
        where = ListenAddress(str(port["bind"]), int(port["configured"]), int(port["port"]))
        service = listeners._changed(listeners._service(key))
        listener = listeners.ports.inherit(service, role, where, listening)
        self._factories[key, role, where.port] = listener.factory
        if port["lingers"]:
            service.linger(listener)
            listener.factory.when_empty(lambda: listeners._stop(service, listener))

    def factory(self, extension: Extension, role: Role, port: int) -> AudioSocketFactory:
        """Return the factory for a connection that came in there; of a port that is closed, one that drains."""
        key = extension.id, role, port
        found = self._factories.get(key)
        if found is None:
            found = self._factories[key] = self._draining(extension, role, port)
        if not isinstance(found, AudioSocketFactory):
            raise TypeError(f"{found!r} takes no connections")
        return found

    def _draining(self, extension: Extension, role: Role, port: int) -> PortFactory:
        listeners = self._listeners
        factory = listeners.ports.make_factory(extension, role)
        listeners.draining[factory] = port
        factory.when_empty(lambda: listeners._drained(factory))
        return factory
