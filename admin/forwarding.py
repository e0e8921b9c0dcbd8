"""Requests about a call that this node does not have, passed on to the node that has it; never twice."""

from __future__ import annotations

from urllib.parse import unquote
from uuid import UUID

from admin import requests
from admin.responses import HTTPError, quoted, reply_encoded
from admin.site import AdminRequest
from audiosocket.control_interface import NODE_HEADER, Control, PassedRequest, PeerControl, fleet_status
from audiosocket.errors import UnknownAttempt, UnknownCall

#: The most of an Accept-Language that is passed on, in characters.
MAX_LANGUAGE = 200
#: The paths below ``/api`` that begin so are about calls and attempts.
_PASSED_ON = ("calls", "hangup", "attempts")


def peers_to_ask(request: AdminRequest, control: Control) -> PeerControl | None:
    """Return the other nodes where the query wants the calls of all, None where it does not.

    Raises `HTTPError`: 421 for a request of another node that is meant for a third one, 422 without a fleet and
    where another node asks for the calls of all.
    """
    from_a_node = is_of_another_node(request, control)
    if not requests.of_fleet(request.uri):
        return None
    if from_a_node:
        raise HTTPError(422, "A node answers another one for itself only; leave out fleet.", field="fleet")
    if control.fleet is None:
        raise HTTPError(422, "This server is no node of a fleet; set FLEET=true.", field="fleet")
    return control.fleet.peers


def is_of_another_node(request: AdminRequest, control: Control) -> bool:
    """Return whether another node sent the request; raise `HTTPError` (421) if it is meant for a third one."""
    own, wanted = fleet_status(control.fleet)["node"], request.getHeader(NODE_HEADER)
    if wanted is not None and wanted != own:
        raise HTTPError(421, f"This is node {quoted(own)}, not node {quoted(wanted)}; give each its own NODE_URL.")
    return wanted is not None


def may_be_passed_on(request: AdminRequest, error: BaseException | None) -> bool:
    """Return whether a request that failed may be asked of other nodes.

    It must be about a call or an attempt that is not known here, and not come from a bot, whose token allows less
    than that of a node.
    """
    if not isinstance(error, UnknownCall | UnknownAttempt) or _segments(request)[0] not in _PASSED_ON:
        return False
    return request.caller.by != "call token"


async def answer_of_another(request: AdminRequest, control: Control, error: BaseException | None) -> bytes | None:
    """Return the answer of the node that has the call or attempt which this node does not know.

    None when no node has it, or the request is not one to pass on: what another node has passed on never is.
    Raises `NodeUnavailable`, `SourceUnavailable` if no node is known, and `HTTPError` (421) as `peers_to_ask`.
    """
    if control.fleet is None or not may_be_passed_on(request, error) or is_of_another_node(request, control):
        return None
    body = request.content.getvalue()
    language = (request.getHeader("Accept-Language") or "")[:MAX_LANGUAGE]
    passed = PassedRequest(request.method.decode("ascii"), request.uri.decode("latin-1"), body, language)
    answer = await control.fleet.peers.pass_on(passed, _call_of(_segments(request), body))
    if answer is None:
        return None
    request.remark = f"{request.remark} on node {answer.node}".strip()
    request.setHeader(NODE_HEADER, answer.node)
    return reply_encoded(request, answer.body, answer.status)


def _segments(request: AdminRequest) -> list[str]:
    """Return the path below ``/api``; one empty text for any other path."""
    before, first, *rest = unquote(request.path.decode("latin-1")).split("/")
    return rest if (before, first) == ("", "api") and rest else [""]


def _call_of(segments: list[str], body: bytes) -> UUID | None:
    """Return the call that a request is about, None for a report on an attempt."""
    if segments[0] == "calls":
        return requests.parse_call_id(segments[1])
    return requests.which_leg(body)[0] if segments[0] == "hangup" else None
