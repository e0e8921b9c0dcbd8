"""`Control`: all that the HTTP API may ask of the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

from audiosocket.asterisk.dialplan import Style
from audiosocket.extensions.model import Extension, Role
from audiosocket.json_shapes import (
    ApartmentPageJSON,
    CallJSON,
    CallPageJSON,
    CommandJSON,
    ExtensionAppsJSON,
    FleetCallPageJSON,
    FleetStatusJSON,
    MediaFileJSON,
    NodeDrainJSON,
    NodeJSON,
    RefreshJSON,
    RowJSON,
    RowsJSON,
    StatusJSON,
)

T = TypeVar("T")
#: A value, or an awaitable of it: with several workers the answer comes from another process.
Soon: TypeAlias = T | Awaitable[T]


#: Names of `CallControl.command`: those of `bots.commands.TOOLS`, and other names of theirs.
COMMAND_NAMES = (
    "hang_up",
    "call_resident",
    "cancel_call",
    "bridge",
    "unbridge",
    "transfer",
    "send_digits",
    "set_outcome",
    "note",
    "hangup",
    "dial",
    "cancel",
    "digits",
    "outcome",
)


#: Ends of an attempt that the program behind a webhook may report, as ``returncalls.backends.pending.REPORTABLE``.
REPORTABLE_ENDS = ("answered", "busy", "no_answer", "refused", "failed")

Note = Callable[[str], object]


def ignore(change: str) -> None:
    """Do not note a change."""


class ExtensionControl(Protocol):
    """What may be asked about extensions. Errors are those of ``errors``."""

    def dialplan(
        self, extension_id: int | None, style: Style, wideband: bool, host: str = "", asked_at: str = ""
    ) -> str:
        """Return Asterisk's dialplan for a running extension, for all of them where ``extension_id`` is None.

        ``host`` is where Asterisk reaches the server, by default the row's address; for a row without one
        ``asked_at``, the host of the API request, is used. Raises `UnknownExtension`, and `InvalidExtension` for a
        host or a single row with a value that a dialplan cannot hold; of all, such a row is left out.
        """

    def apps_of(self, extension_id: int) -> ExtensionAppsJSON:
        """Return the apps of an extension's legs and where they are chosen, secrets masked.

        Raises `UnknownExtension`.
        """

    async def refresh(self, *, force: bool, dry_run: bool) -> RefreshJSON:
        """Read the table and apply it (or return what would change); raises `SourceUnavailable`."""

    async def rows(self) -> RowsJSON:
        """Return ``total`` and ``extensions``, the rows of the database; raises `SourceUnavailable`.

        Of a table that is too large for one answer the first rows are returned, and ``truncated``.
        """

    async def row(self, extension_id: int) -> RowJSON:
        """Return the row of one extension, as in `rows`; raises `SourceUnavailable` and `UnknownExtension`."""

    async def restart(self, *, extension_id: int | None, number: str | None) -> Extension:
        """Reopen an extension's listeners; raises `UnknownExtension`."""

    async def add(self, fields: Mapping[str, Any], note: Note = ignore) -> Extension:
        """Insert and apply; ``note`` is given what changed, as text.

        Raises `InvalidExtension`, `ExtensionTaken`, `ChangeNotAllowed`, `SourceUnavailable`.
        """

    async def change(self, extension_id: int, fields: Mapping[str, Any], note: Note = ignore) -> Extension:
        """Update the given fields and apply; raises as `add`, and `UnknownExtension`."""

    async def remove(self, extension_id: int, note: Note = ignore) -> None:
        """Delete and drain; raises `UnknownExtension`, `SourceUnavailable`."""


@dataclass(frozen=True)
class CallSelection:
    """Which calls are asked for: live ones before ended ones, each the latest started first.

    ``state`` is "live" (suspended ones included), "ended", or empty for both; ``extension`` is an id or None for
    all; ``limit`` is the most calls in one answer; ``cursor`` is the ``next_cursor`` of the page before, or empty;
    ``search`` is a part of the UUID, the AI number, the caller, the visitor's address or the outcome, or empty;
    upper and lower case are the same.
    """

    state: str = ""
    extension: int | None = None
    limit: int = 100
    cursor: str = ""
    search: str = ""


class CallControl(Protocol):
    """What may be asked about calls. Every method but `vouches` may be `Soon`, and raise `WorkerGone`."""

    def all(self) -> Soon[list[CallJSON]]:
        """Return the live calls, then the recently ended ones."""

    def page(self, selection: CallSelection) -> Soon[CallPageJSON]:
        """Return some of the calls; made in pieces, so that the audio is not held up."""

    def get(self, call_id: UUID) -> Soon[CallJSON]:
        """Return one call with its timeline; raises `UnknownCall`."""

    def hang_up(self, call_id: UUID, role: Role) -> Soon[None]:
        """Send the hangup frame to that leg; raises `UnknownCall`."""

    def return_call(self, call_id: UUID, numbers: Sequence[str]) -> Soon[CallJSON]:
        """Ring these numbers, one after the other, for that call; return the call.

        Raises `UnknownCall`, `ReturnTaken`, `InvalidNumber` and `ReturnUnavailable`.
        """

    def cancel_return(self, call_id: UUID) -> Soon[CallJSON]:
        """Stop the return call of that call; return the call. Raises `UnknownCall` and `ReturnTaken`."""

    def command(self, call_id: UUID, role: Role, name: str, arguments: Mapping[str, Any]) -> Soon[dict[str, Any]]:
        """Do with a leg what a bot may do, see `bots.commands`; return what the bot is told.

        Raises `UnknownCall`, `InvalidCommand` and `CommandRefused`.
        """

    def call_of_token(self, token: str) -> UUID | None:
        """Return the call whose bot was given ``token``; None for any other text."""

    def attempt_ended(self, attempt_id: str, end: str, reason: str) -> Soon[None]:
        """Take the report of a webhook's program that an attempt ended; ``reason`` is for people.

        Raises `UnknownAttempt`, also where return calls are not placed by a webhook, and `InvalidReport`.
        """

    def vouches(self, signature: str, attempt_id: str, body: bytes) -> bool:
        """Return whether this body was signed with the webhook's secret and names the attempt.

        Such a report on the attempt needs no token.
        """


class RecordControl(Protocol):
    """What may be asked about what is kept of visits: apartments, the audit file, recordings."""

    def apartments(self, condominium_id: int | None, limit: int, offset: int) -> ApartmentPageJSON:
        """Return a page of the known apartments, of one condominium or of all; numbers are masked."""

    async def audit(self, since: datetime | None, limit: int) -> list[dict[str, Any]]:
        """Return the first ``limit`` audit lines at or after ``since``, without it the last ones; oldest first.

        Raises `SourceUnavailable`.
        """

    async def media(self, call_id: UUID) -> list[MediaFileJSON]:
        """Return the recordings and transcripts of a call; raises `SourceUnavailable`."""

    async def erase_media(self, call_id: UUID) -> list[MediaFileJSON]:
        """Erase them, and return what they were; raises `SourceUnavailable`."""


class DrainControl(Protocol):
    """Emptying this node, as the balancer in front of several ones sees it."""

    def begin(self) -> bool:
        """Have the balancer send no new calls; return false when that was so already."""

    def cancel(self) -> bool:
        """Have the balancer send calls again; return false when it did."""

    def leaving(self) -> str:
        """Return why the balancer should send no new call, an empty text when it should."""

    def unable(self) -> str:
        """Return why no call can be taken at all, an empty text when they can."""

    def to_json(self) -> NodeDrainJSON:
        """Return whether the node drains, and since when."""


#: The header of a request that a node sends to another: the name of that one, which answers it alone. An answer
#: that was passed on has it, too.
NODE_HEADER = "X-Audiosocket-Node"


@dataclass(frozen=True)
class PassedRequest:
    """A request about a call of another node; ``path`` has the query, ``language`` is its Accept-Language."""

    method: str
    path: str
    body: bytes = b""
    language: str = ""


@dataclass(frozen=True)
class NodeAnswer:
    """The HTTP status and the JSON that a node has answered."""

    node: str
    status: int
    body: bytes


class PeerControl(Protocol):
    """What may be asked of the other nodes."""

    async def page(self, selection: CallSelection) -> FleetCallPageJSON:
        """Return some of the calls of all nodes, each with its node, and which nodes did not answer within 2 s.

        Raises `SourceUnavailable` if the nodes are not known.
        """

    async def pass_on(self, request: PassedRequest, call_id: UUID | None) -> NodeAnswer | None:
        """Return the answer of the node that has the call; without ``call_id`` of the first that knows the rest.

        None when no node has it. Raises `SourceUnavailable` as `page`, and `NodeUnavailable` when a node that may
        have it could not be asked.
        """


#: What a node of a fleet can be told.
FLEET_ACTIONS = ("drain", "undrain", "refresh", "hang_up")


class FleetControl(Protocol):
    """What may be asked of a node about the fleet."""

    @property
    def peers(self) -> PeerControl:
        """The other nodes."""

    def to_json(self) -> FleetStatusJSON:
        """Return the part of the status that is about the fleet."""

    async def nodes(self) -> list[NodeJSON]:
        """Return all nodes, by name; raises `SourceUnavailable`."""

    async def command(self, action: str, node: str | None, argument: str, asked_by: str) -> CommandJSON:
        """Have a node, or all that live, do something; return what they answered within 2 s.

        ``argument`` is "force" or empty for ``refresh``, UUID and role for ``hang_up``. Raises
        `SourceUnavailable`, and `InvalidCommand` for a node that is not there.
        """


def fleet_status(fleet: FleetControl | None) -> FleetStatusJSON:
    """Return the part of the status that is about the fleet, also without one."""
    if fleet is None:
        return {"node": "", "url": "", "url_is_local": False, "name_shared": False, "nodes": {}, "database": None}
    return fleet.to_json()


class Control(Protocol):
    """All that the HTTP API may ask of the server."""

    @property
    def extensions(self) -> ExtensionControl:
        """The extensions: the table, and what runs of it."""

    @property
    def calls(self) -> CallControl:
        """The calls of all processes."""

    @property
    def records(self) -> RecordControl:
        """What is kept of visits."""

    @property
    def drain(self) -> DrainControl:
        """Emptying this node."""

    @property
    def fleet(self) -> FleetControl | None:
        """The fleet that this node is of; None without FLEET."""

    def status(self) -> Soon[StatusJSON]:
        """Return extensions, listeners, calls, source and database state, from memory."""

    def ready(self) -> tuple[bool, str]:
        """Return whether the listeners match the desired state and no stop is in progress, and if not why.

        When they do, the text says which files cannot be written, and is empty for none.
        """

    def healthy(self) -> tuple[bool, str]:
        """Return whether the reactor keeps up, and if not why."""
