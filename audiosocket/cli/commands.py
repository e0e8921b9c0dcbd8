"""The commands that ask the HTTP API: what each asks, and its answer as JSON and as text."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from audiosocket.apps import registry
from audiosocket.cli import views
from audiosocket.cli.api import APIClient, Refused
from audiosocket.cli.texts import Style

#: What a command prints: with ``--json`` the first, else the lines of the second.
Answer = tuple[Any, Iterable[str]]
Command = Callable[[APIClient, argparse.Namespace, Style], Answer]


def status(api: APIClient, given: argparse.Namespace, style: Style) -> Answer:
    """Ask for the status and for what is wrong now; ``problems`` is added to the former."""
    answer = api.get("/api/status")
    try:
        problems = api.get("/api/problems")["problems"]
    except Refused as error:
        if error.status != 404:  # an older server does not know the route
            raise
        problems = []
    return {**answer, "problems": problems}, views.status(answer, problems, style)


def calls(api: APIClient, given: argparse.Namespace, style: Style) -> Answer:
    """Ask for one call, or for the live and suspended ones, with ``--all`` also for those that have ended."""
    if given.call_id is not None:
        one = api.get(f"/api/calls/{given.call_id}")
        return one, views.call(one["call"], style)
    answer = api.get("/api/calls")
    found = [call for call in answer["calls"] if given.all or call["state"] != "ended"]
    return {**answer, "calls": found, "total": len(found)}, views.calls(found, style)


def hangup(api: APIClient, given: argparse.Namespace, style: Style) -> Answer:
    """Hang up one leg."""
    body = {"call_id": str(given.call_id), "role": given.role}
    answer = api.post("/api/hangup", {**body, "reason": given.reason} if given.reason else body)
    return answer, [f"The {given.role}'s leg of call {given.call_id} was hung up."]


def refresh(api: APIClient, given: argparse.Namespace, style: Style) -> Answer:
    """Have the table read."""
    answer = api.post("/api/refresh", {"dry_run": given.dry_run, "force": given.force})
    return answer, views.refresh(answer, style)


def drain(api: APIClient, given: argparse.Namespace, style: Style) -> Answer:
    """Have the balancer send this node no new calls, or with ``--cancel`` send it calls again."""
    if given.cancel:
        return api.delete("/api/drain"), ["The balancer sends new calls to this node again."]
    answer, live = api.post("/api/drain", {}), api.get("/api/status?extensions=false")["live_calls"]
    calls = "It has no live call." if not live else f"It has {live} live call{'s'[: live != 1]}, which go on."
    return answer, [f"The balancer sends no new calls to this node. {calls}"]


def fleet(api: APIClient, given: argparse.Namespace, style: Style) -> Answer:
    """Ask for the nodes of a fleet, or give a command to one of them or to all."""
    if given.action == "nodes":
        answer = api.get("/api/fleet")
        return answer, views.nodes(answer["nodes"], answer["node"], style)
    body: dict[str, Any] = {
        "action": given.action.replace("-", "_"),
        **({"node": given.node} if given.node else {}),
    }
    if given.call_id is not None:
        body |= {"call_id": str(given.call_id), "role": given.role}
    if given.force:
        body["force"] = True
    answer = api.post("/api/fleet/commands", body)
    return answer, views.node_answers(answer["command"], style)


def dialplan(api: APIClient, given: argparse.Namespace, style: Style) -> Answer:
    """Ask for the dialplan of one extension or of all."""
    query = {"style": given.style, **({"wideband": "true"} if given.wideband else {})}
    query.update({"host": given.host} if given.host else {})
    place = "" if given.id is None else f"{given.id}/"
    text = api.get(f"/api/extensions/{place}dialplan?{urlencode(query)}")
    return {"status": "success", "dialplan": text}, text.splitlines()


def apps(api: APIClient, given: argparse.Namespace, style: Style) -> Answer:
    """List the installed apps, without the server, or ask what one extension's legs run."""
    if given.id is None:
        origins = registry.known()
        return {"status": "success", "apps": origins}, views.apps(origins, style)
    answer = api.get(f"/api/extensions/{given.id}/apps")
    return answer, views.extension_apps(answer, style)


#: By name.
COMMANDS: Mapping[str, Command] = {
    "status": status,
    "calls": calls,
    "hangup": hangup,
    "refresh": refresh,
    "drain": drain,
    "fleet": fleet,
    "dialplan": dialplan,
    "apps": apps,
}


def succeeded(given: argparse.Namespace, answer: Any) -> bool:
    """Whether the server did what it was asked; a refresh may hold a table back, and nodes may refuse.

    A call is hung up by the one node that has it.
    """
    if given.command == "fleet" and given.action != "nodes":
        done = [each["done"] for each in answer["command"]["results"]]
        return any(done) if given.action == "hang-up" else all(done) and not answer["command"]["missing"]
    return given.command != "refresh" or bool(answer["result"] != "held_back")
