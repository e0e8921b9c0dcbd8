"""Which connections are accepted, and how many may wait for their UUID."""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from uuid import UUID

from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from audiosocket.calls.protocol.connection import AudioSocketProtocol
from audiosocket.calls.traffic import Traffic
from audiosocket.runtime.histograms import Histograms
from audiosocket.runtime.rate_limit import KeyedRateLimit, RateLimit
from audiosocket.setting_kinds import Network

#: Connections that may wait for their UUID; beyond it the one that has waited longest is aborted.
MAX_WAITING = 2_048
#: Addresses for which the result of the check is kept.
MAX_KNOWN_HOSTS = 4_096
#: Log lines per second about rejected connections and protocol errors, of all peers; the rest is counted.
LINES_PER_SECOND = 5
#: The same of one peer, so that it does not hide the others.
LINES_PER_PEER = 3


class ConnectionAdmission:
    """Accepts or rejects connections before they become legs; implements `protocol.interfaces.ConnectionObserver`.

    ``allowed_peers`` are the networks of ALLOWED_PEERS, ``proxy_peers`` those of PROXY_PEERS; ``seconds`` is a
    steady clock, in seconds. ``traffic`` counts errors of peers. ``most`` and ``most_per_peer`` are how many
    connections there may be, in all and from one caller's address; 0 is no limit.
    """

    _log = Logger()

    def __init__(
        self,
        allowed_peers: Sequence[Network],
        seconds: Callable[[], float],
        traffic: Traffic | None = None,
        *,
        proxy_peers: Sequence[Network] = (),
        most: int = 0,
        most_per_peer: int = 0,
    ) -> None:
        self._traffic = traffic or Traffic()
        #: How evenly frames arrive, as ``jitter``.
        self.timings = Histograms()
        # The networks do not change while the process runs.
        self._allowed = KnownHosts(allowed_peers)
        self._proxies = KnownHosts(proxy_peers)
        self._most, self._most_per_peer = most, most_per_peer
        #: Open connections by address of the caller, and as what each is counted; only where there is a limit.
        self._by_peer: Counter[str] = Counter()
        self._counted: dict[AudioSocketProtocol, str] = {}
        #: Connections without a UUID, the oldest first.
        self._waiting: OrderedDict[AudioSocketProtocol, None] = OrderedDict()
        self._lines = RateLimit(LINES_PER_SECOND, 1.0, seconds)
        self._lines_by_peer = KeyedRateLimit(LINES_PER_PEER, 1.0, seconds)
        #: Every open connection, with a leg or without.
        self.connections: set[AudioSocketProtocol] = set()
        #: Connections that a limit rejected.
        self.reached_total = {"connections": 0, "peer_connections": 0}
        #: Connections that never became a leg, by reason.
        self.rejected_total = {"peer": 0, "handshake": 0, "crowded": 0}

    def may_connect(self, address: IAddress) -> bool:
        host = str(getattr(address, "host", ""))
        if self._most and len(self.connections) >= self._most:
            self.reached_total["connections"] += 1
            self.reject("crowded", f"{host}: there are {self._most} connections (MAX_CONNECTIONS)", host)
            return False
        return self._proxies.have(host) or self._may_call(host)

    def is_proxy(self, connection: AudioSocketProtocol) -> bool:
        return bool(self._proxies) and self._proxies.have(_host(connection))

    def may_call(self, connection: AudioSocketProtocol) -> bool:
        host = _host(connection)
        if not self._may_call(host):
            return False
        self._count(connection, host)
        return True

    def _may_call(self, host: str) -> bool:
        if self._allowed.have(host):
            return self._has_room(host)
        self.reject("peer", f"{host} is in none of the networks of ALLOWED_PEERS", host)
        return False

    def _has_room(self, host: str) -> bool:
        if self._most_per_peer and self._by_peer[host] >= self._most_per_peer:
            self.reached_total["peer_connections"] += 1
            why = f"{host} has {self._most_per_peer} connections (MAX_CONNECTIONS_PER_PEER)"
            self.reject("crowded", why, host)
            return False
        return True

    def connected(self, connection: AudioSocketProtocol) -> None:
        self.connections.add(connection)
        if self._most_per_peer and not self.is_proxy(connection):  # a proxy's are counted as those of its callers
            self._count(connection, _host(connection))
        self._waiting[connection] = None
        if len(self._waiting) > MAX_WAITING:
            oldest = next(iter(self._waiting))
            self.identified(oldest)
            self.reject("crowded", f"more than {MAX_WAITING} connections without a UUID", _host(oldest))
            oldest.abort()

    def _count(self, connection: AudioSocketProtocol, host: str) -> None:
        if self._most_per_peer:
            self._counted[connection] = host
            self._by_peer[host] += 1

    def identified(self, connection: AudioSocketProtocol) -> None:
        self._waiting.pop(connection, None)

    def disconnected(self, connection: AudioSocketProtocol) -> None:
        host = self._counted.pop(connection, None)
        if host is not None:
            self._by_peer[host] -= 1
            if not self._by_peer[host]:
                del self._by_peer[host]
        self.connections.discard(connection)
        self._waiting.pop(connection, None)

    def rejected(self, connection: AudioSocketProtocol, why: str) -> None:
        where = f"{connection.peer} on port {connection.transport.getHost().port}"
        self.reject("handshake", f"{where}: {why}", _host(connection))

    def refused(self, connection: AudioSocketProtocol, call_id: UUID, why: str) -> None:
        factory = connection.factory
        self._warn(
            f"refused the {factory.role.value} leg of {call_id} from {connection.peer} on extension "
            f"{factory.extension.id}: {why}",
            _host(connection),
        )

    def misbehaved(self, connection: AudioSocketProtocol, why: str) -> None:
        self._warn(f"{connection.peer} on port {connection.transport.getHost().port}: {why}", _host(connection))

    def protocol_error(self, kind: str) -> None:
        self._traffic.protocol_errors[kind] += 1

    def blocked(self) -> None:
        self._traffic.blocked += 1

    def paced(self, difference: float) -> None:
        self.timings.measure("jitter", difference * 1000)

    def warn(self, peer: str, what: str) -> None:
        """Log what concerns a peer, within its share of lines."""
        self._warn(what, peer.rpartition(":")[0])

    def reject(self, kind: str, why: str, host: str = "") -> None:
        """Count and log a connection that became no leg; ``kind`` is a key of `rejected_total`."""
        self.rejected_total[kind] += 1
        self._warn(f"rejected a connection ({sum(self.rejected_total.values())} so far): {why}", host)

    def abort_waiting(self) -> None:
        """Abort all connections that have not sent a UUID."""
        for connection in list(self._waiting):
            connection.abort()

    def _warn(self, what: str, host: str) -> None:
        """Log what ``host`` did, unless it or all peers together have used their lines of this second."""
        own = self._lines_by_peer.of(host)
        if not own.allow() or not self._lines.allow():
            return
        same, all_peers = own.take_suppressed(), self._lines.take_suppressed()
        more = f" (and {same:,} more of this peer)" if same else ""
        more += f" ({all_peers} similar lines were suppressed)" if all_peers else ""
        self._log.warn("{what}{more}", what=what, more=more)


class KnownHosts:
    """The addresses of some networks; the result of each check is kept."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def have(self, host: str) -> bool:
        """Return whether an address is in one of the networks."""
        if not self._networks:
            return False
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= MAX_KNOWN_HOSTS:
                self._known.clear()
            known = self._known[host] = _is_in(host, self._networks)
        return known


def _host(connection: AudioSocketProtocol) -> str:
    return connection.peer.rpartition(":")[0]


def _is_in(host: str, networks: tuple[Network, ...]) -> bool:
    try:
        peer = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return any(peer in network for network in networks)
