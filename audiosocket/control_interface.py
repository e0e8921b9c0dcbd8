"""`Control`: all that the HTTP API may ask of the server."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

from audiosocket.asterisk.dialplan import Style
from audiosocket.extensions.model import Extension, Role
from audiosocket.json_shapes import CallJSON, RefreshJSON, RowsJSON, StatusJSON

T = TypeVar("T")
#: Had at once, or to be awaited: with several workers the answer comes from another process.
Soon: TypeAlias = T | Awaitable[T]


class Control(Protocol):
    """All that the HTTP API may ask of the server. Errors are those of ``errors``.

    Whatever concerns calls may be `Soon`, and raise `WorkerGone`.
    """

    def status(self) -> Soon[StatusJSON]:
        """Extensions, listeners, calls, source and database state; answered from memory."""

    def calls(self) -> Soon[list[CallJSON]]:
        """Live calls, then the recently ended ones."""

    def call(self, call_id: UUID) -> Soon[CallJSON]:
        """One call with its timeline; raises `UnknownCall`."""

    def dialplan(
        self, extension_id: int | None, style: Style, wideband: bool, host: str = "", asked_at: str = ""
    ) -> str:
        """Asterisk's dialplan for a running extension, for all of them where ``extension_id`` is None.

        ``host`` is where Asterisk reaches the server, by default the row's address; for a row without one
        ``asked_at``, where the API was asked, is the last resort. Raises `UnknownExtension`, and
        `InvalidExtension` for a host or one row with a value no dialplan can take; of all, such a row is left out.
        """

    def hang_up(self, call_id: UUID, role: Role) -> Soon[None]:
        """Send the hangup frame to that leg; raises `UnknownCall`."""

    def return_call(self, call_id: UUID, numbers: Sequence[str]) -> Soon[CallJSON]:
        """Ring these numbers, one after the other, for that call; returns the call.

        Raises `UnknownCall`, `ReturnTaken`, `InvalidNumber` and `ReturnUnavailable`.
        """

    def cancel_return(self, call_id: UUID) -> Soon[CallJSON]:
        """Stop the return call of that call; returns the call. Raises `UnknownCall` and `ReturnTaken`."""

    def attempt_ended(self, attempt_id: str, end: str, reason: str) -> Soon[None]:
        """Who places return calls for a webhook says how one attempt ended; ``reason`` is for people.

        Raises `UnknownAttempt`, also where no webhook is asked, and `InvalidReport`.
        """

    def vouches(self, signature: str, body: bytes) -> bool:
        """Whether a report with this body was signed with the webhook's secret: then it needs no token."""

    def ready(self) -> tuple[bool, str]:
        """Whether the listeners match the desired state and we are not stopping, and if not why."""

    def healthy(self) -> tuple[bool, str]:
        """Whether the reactor keeps up, and if not why."""

    async def refresh(self, *, force: bool, dry_run: bool) -> RefreshJSON:
        """Read the table and apply it (or say what would change); raises `SourceUnavailable`."""

    async def rows(self) -> RowsJSON:
        """``total`` and ``extensions``, the rows as they stand in the database; raises `SourceUnavailable`.

        A table larger than one answer should be shows its first rows, and ``truncated``.
        """

    async def restart(self, *, extension_id: int | None, number: str | None) -> Extension:
        """Reopen an extension's listeners; raises `UnknownExtension`."""

    async def add(self, fields: Mapping[str, Any]) -> Extension:
        """Insert and apply; raises `InvalidExtension`, `ExtensionTaken`, `SourceUnavailable`."""

    async def change(self, extension_id: int, fields: Mapping[str, Any]) -> Extension:
        """Update the given fields and apply; raises as `add`, and `UnknownExtension`."""

    async def remove(self, extension_id: int) -> None:
        """Delete and drain; raises `UnknownExtension`, `SourceUnavailable`."""
