"""Routes for the fleet that this node is of: its nodes, and commands to them."""

from __future__ import annotations

from klein import Klein

from admin import requests
from admin.language import say
from admin.responses import HTTPError, encode, reply, reply_encoded
from admin.shared_answers import SharedAnswers
from admin.site import AdminRequest
from audiosocket.control_interface import Control, FleetControl


def add_routes(app: Klein, control: Control, shared: SharedAnswers) -> None:
    """Add the routes for the fleet to ``app``."""

    def fleet() -> FleetControl:
        if control.fleet is None:
            raise HTTPError(404, "This server is no node of a fleet; set FLEET=true.")
        return control.fleet

    @app.route("/api/fleet", methods=["GET"])
    async def list_nodes(request: AdminRequest) -> bytes:
        """Return the nodes of the fleet."""
        asked = fleet()

        async def encoded() -> bytes:
            nodes = await asked.nodes()
            answer = {"node": asked.to_json()["node"], "total": len(nodes), "nodes": nodes}
            return encode({"status": "success", **answer})

        return reply_encoded(request, await shared.get(request, encoded))

    @app.route("/api/fleet/commands", methods=["POST"])
    async def command_nodes(request: AdminRequest) -> bytes:
        """Have one node or all of them hang up a call, drain, take calls again, or read the table."""
        action, node, argument = requests.fleet_command(request.content.read())
        done = await fleet().command(action, node, argument, request.who)
        request.log_change(f"{action} on {node or 'all nodes'}")
        return reply(
            request,
            {
                "message": say(
                    request,
                    "{answered} node(s) answered; {missing} did not",
                    answered=len(done["results"]),
                    missing=len(done["missing"]),
                ),
                "command": done,
            },
        )
