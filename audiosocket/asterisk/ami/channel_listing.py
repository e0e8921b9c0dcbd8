"""Questions to Asterisk about its channels: a list of all, and the number that one of them dialled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.asterisk.ami.client import AMIClient
from audiosocket.asterisk.ami.session import AMIDown, AMIRefused
from audiosocket.asterisk.ami.wire import Message

#: Seconds for a list.
LIST_SECONDS = 2.0
#: Values that Asterisk gives where there is none.
NO_VALUE = frozenset({"", "<unknown>", "<null>"})

_log = Logger()


class ChannelListing:
    """Lists all channels, one list at a time; requests made while one is in progress share the next.

    ``listed`` is given the channels and the ids that the request was made for; ``finished`` is called after each
    list, also after one that failed.
    """

    def __init__(
        self,
        ami: AMIClient,
        listed: Callable[[Sequence[Message], set[str]], None],
        finished: Callable[[], None],
    ) -> None:
        self._ami = ami
        self._listed = listed
        self._finished = finished
        self._waiting: list[Deferred[None]] = []
        self._in_progress = False
        self._error = ""

    def request(self, ids: set[str] | None = None) -> Deferred[None]:
        """Fire after a list that began now or later, `LIST_SECONDS` after its beginning at the latest.

        ``ids`` are passed to ``listed``, unless a list is in progress.
        """
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if not self._in_progress:
            self._begin(ids or set())
        return waiting

    def _begin(self, ids: set[str]) -> None:
        self._in_progress = True
        waiting, self._waiting = self._waiting, []

        def done(_: object) -> None:
            self._in_progress = False
            for each in waiting:
                if not each.called:
                    each.callback(None)
            if self._waiting:
                self._begin(set())
            self._finished()

        listing = self._ami.collect("CoreShowChannels", seconds=LIST_SECONDS).addCallback(self._take, ids)
        listing.addErrback(self._not_listed)
        listing.addErrback(lambda failure: _log.failure("a list of channels was not understood", failure))
        listing.addCallback(done)

    def _take(self, channels: Sequence[Message], ids: set[str]) -> None:
        self._listed(channels, ids)
        self._error = ""

    def _not_listed(self, failure: Failure) -> None:
        failure.trap(AMIDown, AMIRefused)
        reason = failure.getErrorMessage()
        if reason != self._error:  # an account that may not list is asked as often as callers arrive
            _log.warn("AMI does not list the channels: {reason}", reason=reason)
        self._error = reason


def ask_dialled(ami: AMIClient, channel_id: str) -> Deferred[str]:
    """Return the number that a channel dialled, empty where Asterisk does not tell; fails with nothing.

    The extension at which a channel is now need not be the one that was dialled.
    """

    def answered(message: Message) -> str:
        value = message.get("Value")
        return "" if value in NO_VALUE else value

    def failed(failure: Failure) -> str:
        failure.trap(AMIDown, AMIRefused)
        _log.debug("AMI does not tell the dialled number: {reason}", reason=failure.getErrorMessage())
        return ""

    asked = ami.ask("Getvar", [("Channel", channel_id), ("Variable", "CALLERID(dnid)")])
    return asked.addCallback(answered).addErrback(failed)
