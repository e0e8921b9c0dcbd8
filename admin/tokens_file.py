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

#: Of each file what changes whenever it does: time of change in nanoseconds, size, inode; None for a missing one.
_Signature = tuple[tuple[int, int, int] | None, ...]
_Found = tuple[_Signature, tuple[ApiToken, ...] | str]


class TokensFile(Service):
    """Keeps ``tokens`` equal to the file at ``path`` and ``always``, the tokens that are in no file.

    ``token_path`` is a file with one token, that of API_TOKEN_FILE. ``in_thread`` runs blocking work off the
    reactor. Without a path nothing is read.
    """

    _log = Logger()

    def __init__(
        self,
        path: str,
        always: Sequence[ApiToken],
        tokens: KnownTokens,
        in_thread: Callable[..., Deferred[Any]],
        clock: IReactorTime,
        token_path: str = "",
    ) -> None:
        self._path = str(Path(path).expanduser().absolute()) if path else ""
        self._token_path = token_path
        self._read_any = bool(path or token_path)
        self._always = tuple(always)
        self._tokens = tokens
        self._in_thread = in_thread
        self._signature: _Signature = ()
        self._reason = ""
        self._wrong = 0
        self._looking: Deferred[None] | None = None
        self._looks = LoopingCall(self.look)
        self._looks.clock = clock

    def startService(self) -> None:
        super().startService()
        if self._read_any:
            self._looks.start(LOOK_SECONDS)

    def stopService(self) -> None:
        super().stopService()
        if self._looks.running:
            self._looks.stop()

    def read_again(self) -> None:
        """Read the file at once, even if it does not seem to have changed."""
        self._signature = ()
        if self._read_any and self.running:
            self.look()

    def look(self) -> Deferred[None]:
        """Read the file if it has changed; fires when that is done."""
        if self._looking is not None:
            waiting: Deferred[None] = Deferred()
            self._looking.addBoth(lambda _: waiting.callback(None))
            return waiting
        looking: Deferred[Any] = self._in_thread(_look, self._path, self._token_path, self._signature)
        looking.addCallback(self._looked)
        looking.addErrback(lambda why: self._log.failure("the files of API tokens could not be looked at", why))
        looking.addBoth(self._done)
        if not looking.called:
            self._looking = looking
        return looking

    def to_json(self) -> ApiTokensJSON:
        """As shown under ``api_tokens`` in ``/api/status``; ``reason`` says why the file is not used."""
        names = [token.name for token in self._tokens]
        state = "absent" if not self._read_any else "rejected" if self._reason else "used"
        return {"file": self._path or self._token_path, "state": state, "reason": self._reason, "names": names}

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
            self._log.info("API tokens: {n} from files are in force", n=len(tokens))
        self._signature, self._reason, self._wrong = signature, "", 0


def _look(path: str, token_path: str, known: _Signature) -> _Found | None:
    """Runs in a thread; None when nothing has changed."""
    signature = tuple(_signature_of(each) for each in (path, token_path) if each)
    if None not in signature and signature == known:
        return None
    try:
        return signature, read_tokens(path, token_path)
    except InvalidSetting as problem:
        return signature, str(problem)


def _signature_of(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
