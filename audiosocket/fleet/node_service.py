"""This node as the others see it: its heartbeat, and the commands that it carries out and gives."""

from __future__ import annotations

import hashlib
import operator
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from uuid import UUID

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from audiosocket.control_interface import FLEET_ACTIONS, Control
from audiosocket.errors import AudioSocketError, InvalidCommand, SourceUnavailable
from audiosocket.extensions.model import Extension, Role
from audiosocket.fleet import node_table
from audiosocket.fleet.call_statements import CLEAN_CALLS, CLEAN_GATE
from audiosocket.fleet.database import CHANNEL, FleetDatabase
from audiosocket.fleet.identity import NameWatch, Node
from audiosocket.fleet.peers import Peers
from audiosocket.fleet.writes import Row, Statement
from audiosocket.json_shapes.fleet import CommandJSON, FleetStatusJSON, NodeJSON

BEAT_SECONDS = 1.0
#: Heartbeats between two looks for commands whose notification was lost, and for the states of all nodes; and
#: between two deletions of old rows.
LOOK_BEATS, CLEAN_BEATS = 5, 300
#: How long it is waited for the answers of the nodes, in seconds.
ANSWER_SECONDS = 2.0
#: What deletes rows that are of no use any more.
CLEAN = (node_table.CLEAN, CLEAN_CALLS, CLEAN_GATE)
_log = Logger()


@dataclass(frozen=True)
class Seen:
    """What of this node changes: ``generation`` stands for the extensions that run."""

    generation: str
    calls: int
    state: str


class Generation:
    """A text that is the same on nodes that run the same extensions."""

    def __init__(self) -> None:
        self._extensions: list[Extension] = []
        self._text = ""

    def of(self, extensions: Iterable[Extension]) -> str:
        """Return that of these; made anew only when one of them is another object than at the last time."""
        given = list(extensions)
        same = len(given) == len(self._extensions) and all(map(operator.is_, given, self._extensions))
        if not same or not self._text:
            self._extensions = given
            rows = "\n".join(sorted(map(repr, given)))
            self._text = hashlib.sha256(rows.encode()).hexdigest()[:12]
        return self._text


class FleetNode(Service):
    """Implements `control_interface.FleetControl`.

    ``url`` is where other nodes ask this one; ``url_is_local`` as in `FleetStatusJSON`. ``seen`` returns what of
    the node is shown to others.
    """

    def __init__(
        self,
        node: Node,
        url: str,
        version: str,
        database: FleetDatabase,
        control: Control,
        seen: Callable[[], Seen],
        clock: IReactorTime,
        peers: Peers,
        *,
        url_is_local: bool = False,
    ) -> None:
        self.peers = peers
        self._node = node
        self._url, self._version = url, version
        self._url_is_local = url_is_local
        self._database = database
        self._control = control
        self._seen = seen
        self._clock = clock
        self._watch = NameWatch(node.life)
        self._shared_logged = False
        self._beat = Statement(node_table.BEAT, self._beaten)
        self._answer = Statement(node_table.ANSWER)
        self._beats = 0
        #: The number of nodes by state.
        self._states: dict[str, int] = {}
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock
        #: Ids of the latest commands that were carried out, also where the answer could not be written.
        self._handled: deque[int] = deque(maxlen=1_000)
        self._looking = False
        self._look_again = False
        self._waiting: set[defer.Deferred[None]] = set()
        database.hear("command", lambda _: self._look())
        database.hear("done", lambda _: self._answered())
        database.when_up(self._look)

    def startService(self) -> None:
        """Begin to be seen."""
        super().startService()
        self._loop.start(BEAT_SECONDS)

    def stopService(self) -> None:
        """Tell the others that this node is gone; the database, stopped after it, writes that."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        self._write("gone")
        self._answered()

    def to_json(self) -> FleetStatusJSON:
        """Return what ``/api/status`` shows."""
        return {
            "node": self._node.name,
            "url": self._url,
            "url_is_local": self._url_is_local,
            "name_shared": self._watch.shared,
            "nodes": dict(self._states) if self._database.is_up else {},
            "database": self._database.to_json(),
        }

    async def nodes(self) -> list[NodeJSON]:
        """Return all nodes, by name; raises `SourceUnavailable`."""
        return node_table.nodes_json(await self._database.ask(node_table.NODES))

    async def command(self, action: str, node: str | None, argument: str, asked_by: str) -> CommandJSON:
        """Have a node, or all that live, do something; return what they answered within 2 s.

        Raises `InvalidCommand` for a node that is not there, and `SourceUnavailable`.
        """
        _checked(action, argument)
        live = [each["name"] for each in await self.nodes() if each["state"] != "gone"]
        if node is not None and node not in live:
            raise InvalidCommand(f"there is no node {node!r} now; there are: {', '.join(live) or 'none'}")
        expected = live if node is None else [node]
        rows = await self._database.ask(node_table.COMMAND, [node, action, argument, asked_by, CHANNEL])
        command_id, end = int(rows[0][0]), self._clock.seconds() + ANSWER_SECONDS
        while True:
            results = node_table.results_json(await self._database.ask(node_table.RESULTS, [command_id]))
            missing = [name for name in expected if name not in {each["node"] for each in results}]
            left = end - self._clock.seconds()
            if not missing or left <= 0 or not self.running:
                return {"id": command_id, "results": results, "missing": missing}
            await self._an_answer(min(left, 0.25))

    async def _an_answer(self, seconds: float) -> None:
        """Wait for the next answer of any node, for at most so long: it may have come before."""
        waiting: defer.Deferred[None] = defer.Deferred()
        self._waiting.add(waiting)
        try:
            await waiting.addTimeout(seconds, self._clock)
        except defer.TimeoutError:
            return
        finally:
            self._waiting.discard(waiting)

    def _answered(self) -> None:
        for waiting in tuple(self._waiting):
            if not waiting.called:
                waiting.callback(None)

    def _tick(self) -> None:
        self._write(self._seen().state)
        if self._beats % LOOK_BEATS == 1 and self._database.is_up:
            defer.ensureDeferred(self._count())
        self._beats += 1
        if self._beats % LOOK_BEATS == 0:
            self._look()
        if self._beats % CLEAN_BEATS == 0 and self._database.is_up:
            defer.ensureDeferred(self._clean())

    def _write(self, state: str) -> None:
        seen, node = self._seen(), self._node
        row = (node.name, node.life, node.place, self._url, self._version, seen.generation, seen.calls, state)
        self._database.write(self._beat, row, "beat")

    def _beaten(self, rows: Sequence[Row]) -> None:
        for before, now in rows:
            self._watch.answered(before, now)
        if self._watch.shared != self._shared_logged:
            self._shared_logged = self._watch.shared
            if self._watch.shared:
                _log.error("another node is called {name}, too; give each its own NODE_NAME", name=self._node.name)

    async def _count(self) -> None:
        try:
            nodes = await self.nodes()
            self.peers.learn(nodes)
            self._states = Counter(each["state"] for each in nodes)
        except SourceUnavailable as problem:
            self._states = {}
            _log.debug("the nodes of the fleet could not be counted: {reason}", reason=str(problem))

    async def _clean(self) -> None:
        try:
            for statement in CLEAN:
                await self._database.ask(statement)
        except SourceUnavailable as problem:
            _log.info("old rows of the fleet were not deleted: {reason}", reason=str(problem))

    def _look(self) -> None:
        """Look for commands, once more where that is being done."""
        if self._looking:
            self._look_again = True
        elif self.running and self._database.is_up:
            self._looking = True
            defer.ensureDeferred(self._look_now())

    async def _look_now(self) -> None:
        try:
            for command_id, action, argument, asked_by in await self._database.ask(
                node_table.WAITING, [self._node.name, self._node.life]
            ):
                if command_id not in self._handled:
                    self._handled.append(command_id)
                    await self._carry_out(command_id, action, argument, asked_by)
        except SourceUnavailable as problem:
            _log.info("the commands of the fleet could not be read: {reason}", reason=str(problem))
        finally:
            self._looking = False
        if self._look_again:
            self._look_again = False
            self._look()

    async def _carry_out(self, command_id: int, action: str, argument: str, asked_by: str) -> None:
        try:
            done, message = True, await self._do(action, argument)
        except AudioSocketError as problem:
            done, message = False, str(problem)
        except Exception:  # noqa: BLE001 - a bug here must not keep the other commands from being carried out
            _log.failure("a command of the fleet failed")
            done, message = False, "unexpected error, see the log of the node"
        _log.info(
            "{action} {argument} by {who} through the fleet: {message}",
            action=action,
            argument=argument,
            who=asked_by,
            message=message,
        )
        self._database.write(self._answer, (command_id, self._node.name, done, message[:500]))
        self._database.notify("done", str(command_id))

    async def _do(self, action: str, argument: str) -> str:
        """Carry out a command and return what was done; raises an `AudioSocketError`."""
        _checked(action, argument)
        if action == "drain":
            return "drains" if self._control.drain.begin() else "drained already"
        if action == "undrain":
            return "takes new calls" if self._control.drain.cancel() else "took new calls already"
        if action == "refresh":
            await self._control.extensions.refresh(force=argument == "force", dry_run=False)
            return "refreshed"
        call_id, _, role = argument.partition(" ")
        hanging_up = self._control.calls.hang_up(UUID(call_id), Role(role or "visitor"))
        if isawaitable(hanging_up):
            await hanging_up
        return "hung up"


def _checked(action: str, argument: str) -> None:
    """Raise `InvalidCommand` for what no node can do."""
    if action not in FLEET_ACTIONS:
        raise InvalidCommand(f"{action!r} is no command; there are: {', '.join(FLEET_ACTIONS)}")
    if action == "hang_up":
        call_id, _, role = argument.partition(" ")
        try:
            UUID(call_id), Role(role or "visitor")
        except ValueError:
            raise InvalidCommand("hang_up needs the UUID of a call, and visitor or resident") from None
    elif argument not in ("", "force"):
        raise InvalidCommand(f"{action} takes no argument")
