"""The file of API_TOKENS_FILE in force: looked at every 2 s, the last good one kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from audiosocket.api_tokens import ApiToken, KnownTokens, read_tokens
from audiosocket.errors import InvalidSetting
from audiosocket.json_shapes import ApiTokensJSON

LOOK_SECONDS = 2.0
#: A wrong file is reported when it is found wrong by so many looks in a row: it may be half written.
WRONG_LOOKS = 2

#: What changes whenever the file does: time of change in nanoseconds, size, inode; None for a missing file.
_Signature = tuple[int, int, int] | None
_Found = tuple[_Signature, tuple[ApiToken, ...] | str]


class TokensFile(Service):
    """Keeps ``tokens`` equal to the file at ``path`` and ``always``, the tokens that are in no file.

    ``in_thread`` runs blocking work off the reactor. Without a ``path`` nothing is read.
    """

    _log = Logger()

    def __init__(
        self,
        path: str,
        always: Sequence[ApiToken],
        tokens: KnownTokens,
        in_thread: Callable[..., Deferred[Any]],
        clock: IReactorTime,
    ) -> None:
        self._path = str(Path(path).expanduser().absolute()) if path else ""
        self._always = tuple(always)
        self._tokens = tokens
        self._in_thread = in_thread
        self._signature: _Signature = None
        self._reason = ""
        self._wrong = 0
        self._looking: Deferred[None] | None = None
        self._looks = LoopingCall(self.look)
        self._looks.clock = clock

    def startService(self) -> None:
        super().startService()
        if self._path:
            self._looks.start(LOOK_SECONDS)

    def stopService(self) -> None:
        super().stopService()
        if self._looks.running:
            self._looks.stop()

    def read_again(self) -> None:
        """Read the file at once, even if it does not seem to have changed."""
        self._signature = None
        if self._path and self.running:
            self.look()

    def look(self) -> Deferred[None]:
        """Read the file if it has changed; fires when that is done."""
        if self._looking is not None:
            waiting: Deferred[None] = Deferred()
            self._looking.addBoth(lambda _: waiting.callback(None))
            return waiting
        looking: Deferred[Any] = self._in_thread(_look, self._path, self._signature)
        looking.addCallback(self._looked)
        looking.addErrback(lambda failure: self._log.failure("API_TOKENS_FILE could not be looked at", failure))
        looking.addBoth(self._done)
        if not looking.called:
            self._looking = looking
        return looking

    def to_json(self) -> ApiTokensJSON:
        """As shown under ``api_tokens`` in ``/api/status``; ``reason`` says why the file is not used."""
        names = [token.name for token in self._tokens]
        state = "absent" if not self._path else "rejected" if self._reason else "used"
        return {"file": self._path, "state": state, "reason": self._reason, "names": names}

    def _done(self, _: object) -> None:
        self._looking = None

    def _looked(self, found: _Found | None) -> None:
        if found is None:
            return
        signature, tokens = found
        if isinstance(tokens, str):
            self._wrong += 1
            if self._wrong >= WRONG_LOOKS and tokens != self._reason:
                self._reason = tokens
                self._log.error("{reason}; the tokens that were read before stay in force", reason=tokens)
            return
        before = {*self._tokens}
        self._tokens.replace([*self._always, *tokens])
        changed = {*self._tokens} != before
        if changed or self._reason:
            self._log.info("API_TOKENS_FILE: {n} tokens are in force", n=len(tokens))
        self._signature, self._reason, self._wrong = signature, "", 0


def _look(path: str, known: _Signature) -> _Found | None:
    """Runs in a thread; None when nothing has changed."""
    try:
        found = os.stat(path)
        signature: _Signature = (found.st_mtime_ns, found.st_size, found.st_ino)
    except OSError:
        signature = None
    if signature is not None and signature == known:
        return None
    try:
        return signature, read_tokens(path)
    except InvalidSetting as problem:
        return signature, str(problem)
