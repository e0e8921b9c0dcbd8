"""What a node asks the APIs of the others: pages of their calls, and what is wanted of a call of theirs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from inspect import isawaitable
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from audiosocket.control_interface import NODE_HEADER, CallControl, CallSelection, NodeAnswer, PassedRequest
from audiosocket.errors import InvalidSetting, NodeTimeout, NodeUnavailable, SourceUnavailable
from audiosocket.fleet import node_table
from audiosocket.fleet.call_lookups import Database
from audiosocket.fleet.call_statements import OWNER
from audiosocket.fleet.page_order import PageSource, merged_page, place_of
from audiosocket.json_shapes import CallJSON, CallPageJSON, FleetCallPageJSON, NodeJSON
from audiosocket.outbound.http_client import Answer, HTTPClientProtocol, NoAnswerInTime, RequestFailed, checked_url
from audiosocket.outbound.secret import Secret, current

#: Seconds that a node has for all that one page needs of it, and for a request that is passed on.
PAGE_SECONDS, PASSED_SECONDS = 2.0, 5.0
#: Calls that a node is asked for at once.
PER_REQUEST = 50
#: An answer of a node has at most so many bytes.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
#: How a node answers who may not ask it, or asks another node than it is.
_REFUSALS = (401, 403, 421, 429)
_log = Logger()


class _NotThere(Exception):
    """A node does not have the call or the attempt."""


class Peers(Service):
    """Implements `control_interface.PeerControl` for the node called ``own``, whose calls are ``calls``.

    Only addresses in the table of nodes are asked. ``token`` is what each of them has as API_TOKEN.
    """

    def __init__(
        self,
        own: str,
        client: HTTPClientProtocol,
        token: Secret,
        database: Database,
        calls: CallControl,
        clock: IReactorTime,
    ) -> None:
        self._own = own
        self._client = client
        self._token = token
        self._database = database
        self._calls = calls
        self._clock = clock
        #: The other nodes that were not gone, as PostgreSQL had them when it answered last.
        self._known: list[NodeJSON] | None = None
        #: Why a node could not be asked the last time, for those that could not.
        self._troubles: dict[str, str] = {}

    def stopService(self) -> Deferred[None]:
        """End what is asked."""
        super().stopService()
        return self._client.close()

    async def page(self, selection: CallSelection) -> FleetCallPageJSON:
        """See `control_interface.PeerControl.page`."""
        missing: list[str] = []
        nodes = await self._others()
        left = {node["name"]: PAGE_SECONDS for node in nodes}
        sources = [PageSource(partial(self._own_page, selection), selection.cursor)]
        for node in nodes:
            sources.append(PageSource(partial(self._page_of, node, selection, missing, left), selection.cursor))
        page = await merged_page(sources, selection.limit)
        return {**page, "missing_nodes": sorted(missing)}

    async def pass_on(self, request: PassedRequest, call_id: UUID | None) -> NodeAnswer | None:
        """See `control_interface.PeerControl.pass_on`."""
        others = await self._others()
        owner = "" if call_id is None else await self._owner(call_id)
        if owner == self._own:
            return None
        asked = [node for node in others if node["name"] == owner] or others
        answers = [Deferred.fromCoroutine(self._passed(node, request)) for node in asked]
        if not answers:
            return None
        first: Any = await DeferredList(answers, fireOnOneCallback=True, consumeErrors=True)
        if isinstance(first, tuple):
            return cast("NodeAnswer", first[0])
        for _, failure in first:
            if not failure.check(_NotThere):
                failure.raiseException()
        return None

    def learn(self, nodes: Iterable[NodeJSON]) -> list[NodeJSON]:
        """Take the nodes as PostgreSQL has them, for when it does not answer; return those that can be asked."""
        self._known = [node for node in nodes if node["name"] != self._own and node["state"] != "gone"]
        return self._known

    async def _others(self) -> list[NodeJSON]:
        """Return the nodes that can be asked; raises `SourceUnavailable` where PostgreSQL has never said it."""
        try:
            return self.learn(node_table.nodes_json(await self._database.ask(node_table.NODES)))
        except SourceUnavailable:
            if self._known is None:
                raise
            return self._known

    async def _owner(self, call_id: UUID) -> str:
        """Return the name of the node that has a call, an empty text where that is not known."""
        try:
            rows = await self._database.ask(OWNER, [str(call_id)])
        except SourceUnavailable:
            return ""
        return str(rows[0][0]) if rows else ""

    async def _own_page(self, selection: CallSelection, cursor: str) -> CallPageJSON:
        page = self._calls.page(_part(selection, cursor))
        return _named(await page if isawaitable(page) else page, self._own)

    async def _page_of(
        self, node: NodeJSON, selection: CallSelection, missing: list[str], left: dict[str, float], cursor: str
    ) -> CallPageJSON | None:
        """Return a page of another node; None, and its name in ``missing``, when it cannot be had.

        ``left`` has the seconds that each node may still take.
        """
        name, part, began = node["name"], _part(selection, cursor), self._clock.seconds()
        query = {key: value for key, value in vars(part).items() if value not in ("", None)}
        try:
            path, seconds = f"/api/calls?{urlencode(query)}", max(0.01, left[name])
            answer = await self._ask(node, "GET", path, seconds=seconds, keep=True)
            left[name] -= self._clock.seconds() - began
            page = _named(_page_in(answer, name), name)
        except NodeUnavailable as problem:
            missing.append(name)
            self._note(name, str(problem))
            return None
        self._note(name, "")
        return page

    def _note(self, name: str, trouble: str) -> None:
        """Log why a node cannot be asked, when that is another reason than the last time."""
        if trouble and self._troubles.get(name) != trouble:
            _log.warn("{trouble}; lists of calls are without it", trouble=trouble)
        self._troubles[name] = trouble

    async def _passed(self, node: NodeJSON, request: PassedRequest) -> NodeAnswer:
        """Return the node's answer; raises `_NotThere` and `NodeUnavailable`."""
        headers = {"Accept-Language": request.language} if request.language else {}
        if request.body:
            headers["Content-Type"] = "application/json"
        answer = await self._ask(node, request.method, request.path, headers, request.body, seconds=PASSED_SECONDS)
        if answer.status == 404:
            raise _NotThere
        if not answer.body.startswith(b"{"):
            raise NodeUnavailable(f"node {node['name']} answers something else than JSON; check its NODE_URL")
        return NodeAnswer(node["name"], answer.status, answer.body)

    async def _ask(
        self,
        node: NodeJSON,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        seconds: float,
        keep: bool = False,
    ) -> Answer:
        """Return a node's answer; raises `NodeUnavailable` without one, and for one that it gives strangers."""
        name = node["name"]
        try:
            token = await current(self._token)
            answer = await self._client.ask(
                method,
                checked_url(node["url"], "its address") + path,
                {
                    **(headers or {}),
                    NODE_HEADER: name,
                    **({"Authorization": f"Bearer {token}"} if token else {}),
                },
                body or None,
                seconds=seconds,
                keep=keep,
            )
        except NoAnswerInTime:
            raise NodeTimeout(f"node {name} did not answer in time") from None
        except (RequestFailed, InvalidSetting) as problem:
            raise NodeUnavailable(f"node {name} cannot be asked: {problem}") from None
        if answer.status in _REFUSALS:
            raise NodeUnavailable(
                f"node {name} refuses the requests of this one (HTTP {answer.status}); "
                "give all nodes the same API_TOKEN, and each its own NODE_URL"
            )
        return answer


def _part(selection: CallSelection, cursor: str) -> CallSelection:
    """Return what is asked of one node at once."""
    return replace(selection, limit=min(PER_REQUEST, selection.limit + 1), cursor=cursor)


def _named(page: CallPageJSON, node: str) -> CallPageJSON:
    """Return the page with the node in each call."""
    calls = [cast("CallJSON", {**call, "node": node}) for call in page["calls"]]
    return {"total": page["total"], "calls": calls, "next_cursor": page["next_cursor"]}


def _page_in(answer: Answer, node: str) -> CallPageJSON:
    """Return the page in an answer; raises `NodeUnavailable` for one without."""
    if answer.status != 200:
        raise NodeUnavailable(f"node {node} cannot be asked: HTTP {answer.status}")
    try:
        page: CallPageJSON = json.loads(answer.body)
        places = [place_of(call) for call in page["calls"]]
        if not isinstance(page["total"], int) or not isinstance(page["next_cursor"], str | None):
            raise TypeError  # noqa: TRY301 - the same message for all that is wrong
        places.sort()
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NodeUnavailable(
            f"node {node} answers something else than a page of calls; check its NODE_URL"
        ) from None
    return page
