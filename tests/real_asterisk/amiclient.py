"""A test-side AMI client: actions answered by ActionID, events kept in order of arrival."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping

from twisted.internet import defer, protocol, task
from twisted.internet.interfaces import IReactorTime, ITransport
from twisted.protocols.basic import LineReceiver

Message = dict[str, str]


class AmiError(Exception):
    """An error response of Asterisk to an action."""


class AmiClient(LineReceiver):
    """One AMI connection of the tests' own; a repeated key of a message is joined with newlines."""

    transport: ITransport
    delimiter = b"\r\n"
    MAX_LENGTH = 1 << 20

    def __init__(self) -> None:
        self.events: list[Message] = []
        self.lost: defer.Deferred[None] = defer.Deferred()
        self._lines: list[str] = []
        self._numbers = itertools.count(1)
        self._answers: dict[str, defer.Deferred[Message]] = {}
        self._lists: dict[str, list[Message]] = {}
        self._waiting: list[tuple[Callable[[Message], bool], defer.Deferred[Message]]] = []
        self._greeted = False

    def lineReceived(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace")
        if not self._greeted:
            self._greeted = True  # "Asterisk Call Manager/…"
        elif text:
            self._lines.append(text)
        elif self._lines:
            message: Message = {}
            for entry in self._lines:
                key, _, value = entry.partition(":")
                value = value.strip()
                message[key] = f"{message[key]}\n{value}" if key in message else value
            self._lines = []
            self._received(message)

    def connectionLost(self, reason: object = protocol.connectionDone) -> None:
        waiting = [*self._answers.values(), *(deferred for _, deferred in self._waiting)]
        self._answers, self._waiting = {}, []
        for deferred in waiting:
            deferred.errback(AmiError("the AMI connection was lost"))
        self.lost.callback(None)

    def _received(self, message: Message) -> None:
        number = message.get("ActionID", "")
        if "Response" in message and "Event" not in message:  # an OriginateResponse has both
            answer = self._answers.pop(number, None)
            if answer is None:
                return
            if message["Response"] == "Error":
                answer.errback(AmiError(message.get("Output") or message.get("Message", "?")))
            else:
                answer.callback(message)
            return
        if number in self._lists and number:
            self._lists[number].append(message)
        self.events.append(message)
        for entry in [entry for entry in self._waiting if entry[0](message)]:
            self._waiting.remove(entry)
            entry[1].callback(message)

    def action(
        self, name: str, fields: Mapping[str, str | Iterable[str]] | None = None
    ) -> defer.Deferred[Message]:
        """Send an action; the Deferred fires with the response, or fails with `AmiError`."""
        return self._send(str(next(self._numbers)), name, fields or {})

    def _send(self, number: str, name: str, fields: Mapping[str, str | Iterable[str]]) -> defer.Deferred[Message]:
        if self.lost.called:
            return defer.fail(AmiError("the AMI connection is lost"))
        lines = [f"Action: {name}", f"ActionID: {number}"]
        for key, value in fields.items():
            values = [value] if isinstance(value, str) else value
            lines += [f"{key}: {one}" for one in values]
        answer: defer.Deferred[Message] = defer.Deferred()
        self._answers[number] = answer
        self.transport.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        return answer

    async def listing(self, name: str, fields: Mapping[str, str] | None = None) -> list[Message]:
        """Return the events of an action that responds with a list, without its last event."""
        number = str(next(self._numbers))
        self._lists[number] = []
        complete = self.wait_for(lambda m: m.get("ActionID") == number and m.get("EventList") == "Complete")
        try:
            await self._send(number, name, fields or {})
            await complete
        finally:
            complete.addErrback(lambda _: None)  # the action's own failure says it all
            complete.cancel()
            found = self._lists.pop(number)
        return found[:-1]

    async def command(self, line: str) -> str:
        """Return what Asterisk's console prints for a command."""
        return (await self.action("Command", {"Command": line})).get("Output", "")

    def wait_for(self, wanted: Callable[[Message], bool]) -> defer.Deferred[Message]:
        """Return the next event that is wanted."""
        deferred: defer.Deferred[Message] = defer.Deferred(self._forget)
        self._waiting.append((wanted, deferred))
        return deferred

    def _forget(self, deferred: defer.Deferred[Message]) -> None:
        self._waiting = [entry for entry in self._waiting if entry[1] is not deferred]

    async def close(self, clock: IReactorTime) -> None:
        self.transport.loseConnection()
        await task.deferLater(clock, 0)
        await self.lost
