"""The command ``audiosocket haproxy``: a HAProxy configuration for several nodes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import Template

from audiosocket.errors import InvalidSetting

#: What a name of a node or of a HAProxy may look like, and an address.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_ADDRESS = re.compile(r"[A-Za-z0-9._:-]{1,253}", re.ASCII)
#: Where HAProxies tell each other what is in their tables.
PEERS_PORT = 9901
#: Ports in one line of the configuration.
_PER_LINE = 8


@dataclass(frozen=True)
class Named:
    """A node or a HAProxy, and its address."""

    name: str
    address: str


def parse_named(texts: Sequence[str], prefix: str) -> list[Named]:
    """Return what ``NAME=ADDRESS`` or ``ADDRESS`` stands for, then with names like ``prefix`` and a number.

    Raises `InvalidSetting`.
    """
    found: list[Named] = []
    for number, text in enumerate(texts, 1):
        name, equals, address = text.rpartition("=")
        name = name if equals else f"{prefix}{number}"
        if not _NAME.fullmatch(name) or not _ADDRESS.fullmatch(address):
            raise InvalidSetting(f"{text!r} is neither ADDRESS nor NAME=ADDRESS")
        if name in [one.name for one in found]:
            raise InvalidSetting(f"{text!r}: the name {name} is taken")
        found.append(Named(name, address))
    return found


def port_ranges(ports: Iterable[int]) -> list[str]:
    """Return ports as HAProxy binds them, consecutive ones as a range."""
    ranges: list[tuple[int, int]] = []
    for port in sorted(set(ports)):
        if ranges and ranges[-1][1] == port - 1:
            ranges[-1] = (ranges[-1][0], port)
        else:
            ranges.append((port, port))
    return [str(low) if low == high else f"{low}-{high}" for low, high in ranges]


def configuration(
    *,
    nodes: Sequence[Named],
    balancers: Sequence[Named],
    local: Named,
    bind: str,
    ports: Iterable[int],
    api_port: int,
) -> str:
    """Return the configuration of the HAProxy ``local``, one of ``balancers``, in front of ``nodes``.

    It binds ``ports`` at the address ``bind``; ``api_port`` is that of each node's HTTP API.
    """
    where = [f"{bind}:{each}" for each in port_ranges(ports)]
    lines = [where[first : first + _PER_LINE] for first in range(0, len(where), _PER_LINE)]
    return _TEMPLATE.substitute(
        local=local.name,
        balancers=", ".join(one.address for one in balancers),
        peers="\n".join(f"    peer {one.name} {one.address}:{PEERS_PORT}" for one in balancers),
        binds="\n".join(f"    bind {','.join(line)}" for line in lines),
        servers="\n".join(
            f"    server {one.name} {one.address} check port {api_port} send-proxy-v2" for one in nodes
        ),
    )


_TEMPLATE = Template("""\
# HAProxy 2.6 or later in front of several AudioSocket servers. Printed by: audiosocket haproxy
# Check it with haproxy -c -f FILE; a reload (systemctl reload haproxy) cuts no call.
#
# In the .env of every node, all of which have the same table:
#   PROXY_PEERS=$balancers
#   API_HOST=the node's own address   (with API_TOKEN: /livez below is asked over the network)
# A connection costs HAProxy two file descriptors, and it says only at its start that it has too
# few: give the service LimitNOFILE above 2 x maxconn, plus the number of ports times that of its
# threads.
# It costs about as much processor time as a node: give a fleet a second HAProxy before a fourth
# node.

global
    maxconn 10000
    # expose-fd: a reload takes the listening sockets over, so that no connection is refused
    # meanwhile.
    stats socket /run/haproxy/admin.sock mode 660 level admin expose-fd listeners
    # The name below "peers" of this machine.
    localpeer $local

defaults
    mode tcp
    timeout connect 1s
    # A call that nobody speaks in still has a frame every 20 ms; these only end what has been
    # forgotten.
    timeout client 2h
    timeout server 2h
    # How long a node may take to answer /livez: more than it stands still under load.
    timeout check 2s
    retries 2
    # The 1: another node is tried at the first refusal, not after the last retry, each of which
    # takes up to 1 s.
    option redispatch 1

# Without this section a reload forgets which UUID belongs to which node, and residents miss their
# visitors. The line of this machine alone is enough for that. A process that has been up for less
# than 5 s has nothing to hand on: let 5 s pass between a start and a reload, and between two
# reloads.
peers fleet
$peers

frontend audiosocket
    # The servers below have no port: a caller keeps the one that it dialled, which says extension
    # and role. A new row inside the range needs no change here. A row outside it needs one, and is
    # reported by every node if FLEET_PORTS is this range.
$binds
    # With no node left HAProxy would accept and close. For the dialplan that is a call that ended,
    # and the caller is lost; a reset means "try again". Nodes that drain do not count here: never
    # drain all of them.
    # A port of the range without a row is different: HAProxy accepts, and closes because every node
    # refuses.
    tcp-request connection reject if { nbsrv(nodes) eq 0 }
    # The first frame is the UUID: kind 0x01, length 16. Whatever does not send it within 5 s never
    # gets to a node.
    tcp-request inspect-delay 5s
    tcp-request content reject if { req.len ge 3 } !{ req.payload(0,3) -m bin 010010 }
    tcp-request content accept if { req.len ge 19 }
    tcp-request content reject if WAIT_END
    default_backend nodes

backend nodes
    # Not "balance hash req.payload(3,16)": HAProxy takes it and does round robin. A hash would also
    # send one UUID in n elsewhere when a node is added; the table moves nothing.
    balance leastconn
    # Both legs of a UUID, and a caller who comes back, go to one node. payload(3,16) is what the
    # caller sent: the PROXY header that HAProxy adds itself does not shift it. An entry lives
    # longer than the longest call.
    stick-table type binary len 16 size 1m expire 3h peers fleet
    stick on req.payload(3,16)
    # Not /readyz: it is 503 while one row has not its port, and where that is so on all nodes no
    # node would be left. Not /healthz: it is 503 for 10 s after a stall of 1 s. The UUIDs of a node
    # that is down go to other nodes, so that residents would no longer find the calls that still
    # are there.
    option httpchk GET /livez
    # A node drains by answering 404 (audiosocket drain): no new UUIDs, while those that it has
    # still come to it. A node must not be stopped before it is empty, and must not fail its check
    # to become so. The other way is "set server nodes/NAME state drain" on the stats socket.
    http-check disable-on-404
    # send-proxy-v2: the node sees the caller's own address; it must have this machine in
    # PROXY_PEERS.
    # on-marked-down: the callers of a node that stands still hear silence until TCP gives up;
    # reset, they dial again. That is right only together with a check that a busy node passes.
    default-server inter 500ms fastinter 100ms fall 3 rise 1 on-marked-down shutdown-sessions
$servers
""")
