"""A blocking conversation with AMI, for commands that run beside the server."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType

from audiosocket.asterisk.ami.wire import Message, Parser, Violation, action
from audiosocket.errors import AudioSocketError

#: How long the connection, and then each answer, may take, in seconds.
TIMEOUT_SECONDS = 5.0
#: Most events of one listing; the dialplan of a large FreePBX has some ten thousand.
MAX_EVENTS = 200_000
#: Messages that may come before the one that is waited for.
_MAX_OTHERS = 100


class AMIFailed(AudioSocketError):
    """The peer does not speak AMI, or did not answer; the text says what happened."""


class AMIConversation:
    """One connection, an action after the other; as a context manager it is closed at the end."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = socket.create_connection((host, port), TIMEOUT_SECONDS)
        self._parser = Parser()
        self._messages: deque[Message] = deque()

    def __enter__(self) -> AMIConversation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def log_in(self, user: str, secret: str) -> bool:
        """Return whether the account is accepted. Raises `OSError` and `AMIFailed`."""
        account = [("Username", user), ("Secret", secret), ("Events", "off")]
        return self.ask("Login", account).response == "Success"

    def ask(self, name: str, fields: Sequence[tuple[str, str]] = ()) -> Message:
        """Return the response to an action. Raises `OSError` and `AMIFailed`."""
        self._connection.sendall(action(name, fields))
        for _ in range(_MAX_OTHERS):
            message = self._next()
            if message.response:
                return message
        raise AMIFailed(f"it did not answer {name}")

    def listing(self, name: str, fields: Sequence[tuple[str, str]], last: str) -> Iterator[Message]:
        """Yield the events with which an action is answered, until the one named ``last``.

        Raises `OSError`, and `AMIFailed` also where the action is refused.
        """
        response = self.ask(name, fields)
        if response.response != "Success":
            raise AMIFailed(f"it refused {name}: {response.get('Message')}")
        for _ in range(MAX_EVENTS):
            message = self._next()
            if message.event == last:
                return
            if message.event:
                yield message
        raise AMIFailed(f"its answer to {name} has more than {MAX_EVENTS} events")

    def _next(self) -> Message:
        while not self._messages:
            data = self._connection.recv(65_536)
            if not data:
                raise AMIFailed("it closed the connection")
            for event in self._parser.receive(data):
                if isinstance(event, Violation):
                    raise AMIFailed(event.why)
                if isinstance(event, Message):
                    self._messages.append(event)
        return self._messages.popleft()
