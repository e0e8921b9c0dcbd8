"""A strict imitation of Asterisk's manager interface (AMI), and a fixture that connects our client to it.

What Asterisk 22 would reject is recorded in ``violations``. What the imitation sends has the form of what Asterisk
22 sent in ``tests/real_asterisk/test_ami.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from hashlib import md5
from typing import Any

from twisted.internet import defer, error, interfaces, task
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.test import iosim
from zope.interface import implementer

from audiosocket.asterisk.ami.client import AMIClient, Timeouts

USER, SECRET = "audiosocket", "a secret of the tests"
GREETING = "Asterisk Call Manager/9.0.0"
MAX_LINE = 1022


class Action(dict[str, str]):
    """One action of the client; of a repeated key it has the first value, `values_of` returns all."""

    def __init__(self, lines: list[tuple[str, str]]) -> None:
        super().__init__(reversed(lines))
        self.lines = lines

    def values_of(self, key: str) -> list[str]:
        return [value for name, value in self.lines if name == key]


class FakeAMIConnection(Protocol):
    """Asterisk's end of one connection."""

    asterisk: FakeAMIServer
    transport: interfaces.ITransport

    def connectionMade(self) -> None:
        self.rest = b""
        self.user = ""
        self.logged_in = False
        self.open = True
        self.challenge = f"{next(self.asterisk.numbers)}0815"
        self.asterisk.connections.append(self)
        if self.asterisk.greeting is not None:
            self.transport.write(self.asterisk.greeting)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.open = False

    def dataReceived(self, data: bytes) -> None:
        if self.asterisk.frozen:
            return
        self.rest += data
        while b"\r\n\r\n" in self.rest:
            block, _, self.rest = self.rest.partition(b"\r\n\r\n")
            self.block(block)

    def block(self, block: bytes) -> None:
        lines = []
        for line in block.split(b"\r\n"):
            key, colon, value = line.decode().partition(": ")
            if not colon or b"\n" in line or b"\r" in line or b"\0" in line or len(line) + 2 > MAX_LINE:
                self.asterisk.violations.append(repr(line))
            lines.append((key, value))
        action = Action(lines)
        if lines[0][0] != "Action" or len(action.values_of("Action")) != 1 or len(lines) > 128:
            self.asterisk.violations.append(repr(block))
        if not self.logged_in and action["Action"] not in ("Challenge", "Login", "Logoff"):
            self.asterisk.violations.append(f"{action['Action']} before the login")
        self.asterisk.actions.append(action)
        reply = self.asterisk.replies.get(action["Action"])
        if reply is not None:
            reply(self, action)
        else:
            getattr(self, f"on_{action['Action']}", self.unknown_action)(action)

    def unknown_action(self, action: Action) -> None:
        self.error(action, "Invalid/unknown command")

    def send(self, *lines: tuple[str, str]) -> None:
        if self.open and not self.asterisk.frozen:
            text = "".join(f"{key}: {value}\r\n" for key, value in lines)
            self.transport.write(f"{text}\r\n".encode())

    def answer(self, action: Action, **fields: str) -> None:
        """Send ``Response: Success`` with these fields."""
        self.send(("Response", "Success"), ("ActionID", action.get("ActionID", "")), *fields.items())

    def error(self, action: Action, message: str) -> None:
        self.send(("Response", "Error"), ("ActionID", action.get("ActionID", "")), ("Message", message))

    def on_Challenge(self, action: Action) -> None:
        self.answer(action, Challenge=self.challenge)

    def on_Login(self, action: Action) -> None:
        proof = md5((self.challenge + self.asterisk.secret).encode()).hexdigest()
        good = action.get("Key") == proof if "Key" in action else action.get("Secret") == self.asterisk.secret
        if action.get("Username") != self.asterisk.user or not good:
            self.error(action, "Authentication failed")
            self.transport.loseConnection()
            return
        self.logged_in = True
        self.answer(action, Message="Authentication accepted")

    def on_Logoff(self, action: Action) -> None:
        self.send(("Response", "Goodbye"), ("Message", "Thanks for all the fish."))
        self.transport.loseConnection()

    def on_Ping(self, action: Action) -> None:
        self.answer(action, Ping="Pong", Timestamp="1795376508.527401")

    def on_Originate(self, action: Action) -> None:
        self.answer(action, Message="Originate successfully queued")

    def on_Hangup(self, action: Action) -> None:
        if action["Channel"] in self.asterisk.channels:
            self.answer(action, Message="Channel Hungup")
        else:
            self.error(action, "No such channel")

    def on_Getvar(self, action: Action) -> None:
        channel = self.asterisk.channels.get(action["Channel"])
        if channel is None:
            self.error(action, "No such channel")
        else:
            self.answer(action, Variable=action["Variable"], Value=channel.get(action["Variable"], ""))

    def on_CoreShowChannels(self, action: Action) -> None:
        self.answer(action, EventList="start", Message="Channels will follow")
        number = action["ActionID"]
        for channel in self.asterisk.channels.values():
            shown = {key: value for key, value in channel.items() if "(" not in key}
            self.send(("Event", "CoreShowChannel"), ("ActionID", number), *shown.items())
        self.send(
            ("Event", "CoreShowChannelsComplete"),
            ("ActionID", number),
            ("EventList", "Complete"),
            ("ListItems", str(len(self.asterisk.channels))),
        )


class FakeAMIServer(Factory):
    """The state that all connections share. ``replies`` replace the default response to an action, by its name."""

    def __init__(self, user: str = USER, secret: str = SECRET) -> None:
        self.user = user
        self.secret = secret
        self.greeting: bytes | None = f"{GREETING}\r\n".encode()
        self.frozen = False
        self.numbers = itertools.count(1)
        self.connections: list[FakeAMIConnection] = []
        self.actions: list[Action] = []
        self.violations: list[str] = []
        self.replies: dict[str, Callable[[FakeAMIConnection, Action], None]] = {}
        #: What CoreShowChannels lists, by Uniqueid; a key with parentheses is only for Getvar.
        self.channels: dict[str, dict[str, str]] = {}

    def buildProtocol(self, addr: object) -> FakeAMIConnection:
        connection = FakeAMIConnection()
        connection.asterisk = self
        return connection

    def actions_named(self, name: str) -> list[Action]:
        """Return the actions of this name so far."""
        return [action for action in self.actions if action["Action"] == name]

    def event(self, name: str, **fields: str) -> None:
        """Send an event to every connection that is logged in; ``_`` in a key stands for ``-``."""
        for connection in self.connections:
            if connection.logged_in:
                connection.send(("Event", name), *((key.replace("_", "-"), v) for key, v in fields.items()))


@implementer(interfaces.IStreamClientEndpoint)
class FakeAMIEndpoint:
    """An endpoint that connects to a `FakeAMIServer` in memory, or fails with ``problem``."""

    def __init__(self, asterisk: FakeAMIServer) -> None:
        self.asterisk = asterisk
        self.problem: Exception | None = None
        self.silent = False  # neither connects nor fails
        self.attempts = 0
        self.pumps: list[iosim.IOPump] = []

    def connect(self, factory: Any) -> defer.Deferred[Any]:
        self.attempts += 1
        if self.silent:
            return defer.Deferred()
        if self.problem is not None:
            return defer.fail(self.problem)
        client, server = factory.buildProtocol(None), self.asterisk.buildProtocol(None)
        pump = iosim.connect(
            server, iosim.makeFakeServer(server), client, iosim.makeFakeClient(client), greet=False
        )
        self.pumps.append(pump)
        return defer.succeed(client)


class AMIFixture:
    """A `FakeAMIServer`, our client, and a clock that the test moves."""

    def __init__(self, **client: Any) -> None:
        self.clock = task.Clock()
        self.asterisk = FakeAMIServer()
        self.endpoint = FakeAMIEndpoint(self.asterisk)
        settings: dict[str, Any] = {"timeouts": Timeouts(), "uniform": lambda low, high: 1.0, **client}
        secret = settings.pop("secret", SECRET)
        self.ami = AMIClient(self.endpoint, USER, secret, self.clock, **settings)

    def start(self) -> None:
        self.ami.startService()
        self.flush()

    def flush(self) -> None:
        """Deliver everything that was written by either side."""
        moved = True
        while moved:
            moved = any([pump.flush() for pump in self.endpoint.pumps])

    def run(self, seconds: float, step: float = 0.1) -> None:
        """Let time pass in steps of ``step`` seconds."""
        self.flush()
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end - 1e-9:
            self.clock.advance(min(step, end - self.clock.seconds()))
            self.flush()

    def event(self, name: str, **fields: str) -> None:
        self.asterisk.event(name, **fields)
        self.flush()

    def lose_connection(self) -> None:
        """Close all connections."""
        for connection in self.asterisk.connections:
            if connection.open:
                connection.transport.loseConnection()
        self.flush()

    def stop(self) -> list[None]:
        """Stop the client; the returned list gets one item when it has stopped."""
        ended: list[None] = []
        self.ami.stopService().addCallback(ended.append)
        self.flush()
        return ended

    def finish(self) -> None:
        """Stop; check that the client broke no rule and left no timer and no connection."""
        assert self.stop() == [None]
        assert self.asterisk.violations == []
        assert self.clock.getDelayedCalls() == []
        assert not any(connection.open for connection in self.asterisk.connections)


def connection_refused() -> Exception:
    return error.ConnectionRefusedError()
