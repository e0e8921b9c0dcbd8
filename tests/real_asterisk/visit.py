"""Common parts of visits: settings for return calls, the dialplan, and a check of what is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer, interfaces, task
from twisted.protocols import portforward

from tests.real_asterisk import shipped
from tests.real_asterisk.product import Server
from tests.real_asterisk.rig import Asterisk

BACKENDS = ("ami", "ari")


def settings(asterisk: Asterisk, backend: str = "ami", **more: str) -> dict[str, str]:
    """Return the server's settings for a shipped account of this Asterisk."""
    ports = asterisk.ports
    known = {
        "ami": {
            "AMI_HOST": "127.0.0.1",
            "AMI_PORT": str(ports.ami),
            "AMI_USER": "audiosocket",
            "AMI_SECRET": asterisk.secret,
        },
        "ari": {
            "ARI_URL": f"http://127.0.0.1:{ports.http}",
            "ARI_USER": "audiosocket",
            "ARI_PASSWORD": asterisk.secret,
        },
    }
    return {**known[backend], **more}


async def connected(server: Server) -> None:
    """Wait until AMI answers, or ARI, and sends its events: it repeats none of those before."""

    async def is_up() -> bool:
        backend = (await server.ask("GET", "/api/status"))[1]["return_backend"]
        return (backend["state"], backend["reason"]) == ("up", "")

    await server.until(is_up)


async def load(asterisk: Asterisk, server: Server, more: str = "", **settings: str) -> None:
    """Load the shipped dialplan with a block for each row of the server, and ``more`` at its end."""
    given = {"AUDIOSOCKET_HOST": server.host, **settings}
    await asterisk.dialplan(shipped.with_rows(shipped.load("extensions.conf", **given), server.rows) + more)


async def ring(server: Server, call_id: str, *numbers: str) -> None:
    """Make the server call these numbers for that call."""
    status, answer = await server.ask("POST", f"/api/calls/{call_id}/return", {"numbers": list(numbers)})
    assert status == 202, answer


async def ended(server: Server, call_id: str, state: str, seconds: float = 10) -> dict[str, Any]:
    """Wait for the end of a call's return call, which must have this state; return it."""
    over = {"connected", "failed", "cancelled"}
    call = await server.until_call(call_id, lambda call: call["return"]["state"] in over, seconds)
    found: dict[str, Any] = call["return"]
    assert found["state"] == state, found
    return found


def events(call: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the events of that name in a call's timeline."""
    return [event for event in call["timeline"] if event["event"] == name]


#: Outcomes of a leg whose side hung up: Asterisk closes, which is a reset where a frame of ours is unread.
HUNG_UP = frozenset({"caller_hangup", "connection_lost"})


def leg(call: dict[str, Any], role: str) -> dict[str, Any]:
    """Return a call's leg of that role."""
    (found,) = [leg for leg in call["legs"] if leg["role"] == role]
    return dict(found)


async def nothing_left(asterisk: Asterisk, server: Server) -> None:
    """Check that Asterisk has no channel, the server no call, and each call ended exactly once."""
    await asterisk.no_channels()
    _, status = await server.ask("GET", "/api/status")
    assert status["live_calls"] == 0
    _, answer = await server.ask("GET", "/api/calls")
    for listed in answer["calls"]:
        call = await server.call(listed["call_id"])
        assert call["state"] == "ended"
        (end,) = events(call, "call.ended")
        assert call["outcome"] == end["outcome"] is not None
        assert all(leg["state"] == "ended" for leg in call["legs"])


class _Pair(portforward.ProxyServer):
    factory: Cable

    def connectionMade(self) -> None:
        self.factory.pairs.append(self)
        super().connectionMade()


#: Connects a backend through a `Cable` and returns the settings for that.
CutOff = Callable[[str], tuple["Cable", dict[str, str]]]


class Cable(portforward.ProxyFactory):
    """A proxy between the server and a port of Asterisk that a test can cut and mend."""

    protocol = _Pair

    def __init__(self, reactor: Any, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self.pairs: list[_Pair] = []
        self._reactor = reactor
        self._port: interfaces.IListeningPort = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.entrance: int = self._port.getHost().port

    async def cut(self) -> None:
        """Abort every connection, and accept no other."""
        await defer.maybeDeferred(self._port.stopListening)
        for pair in self.pairs:
            for end in (pair, pair.peer):
                if end is not None and interfaces.ITCPTransport.providedBy(end.transport):
                    end.transport.abortConnection()
        self.pairs = []
        await task.deferLater(self._reactor, 0)

    def mend(self) -> None:
        """Accept connections again."""
        self._port = self._reactor.listenTCP(self.entrance, self, interface="127.0.0.1")
