"""Routes for calls: listing, hanging up, and return calls to a resident."""

from __future__ import annotations

from klein import Klein
from twisted.internet.interfaces import IReactorTime

from admin import requests
from admin.forwarding import peers_to_ask
from admin.language import say
from admin.responses import encode_list, quoted, reply, reply_encoded
from admin.shared_answers import SharedAnswers
from admin.site import AdminRequest
from admin.uncancelled import maybe_await
from audiosocket.control_interface import Control
from audiosocket.extensions.model import Role


def add_routes(app: Klein, control: Control, clock: IReactorTime, shared: SharedAnswers) -> None:
    """Add the routes for calls to ``app``."""

    @app.route("/api/calls", methods=["GET"])
    async def list_calls(request: AdminRequest) -> bytes:
        """Return the live calls, then the recently ended ones; with a query one page of them."""
        selection, peers = requests.call_selection(request.uri), peers_to_ask(request, control)

        async def encoded() -> bytes:
            if selection is None:
                calls = await maybe_await(control.calls.all())
                return await encode_list({"total": len(calls)}, "calls", calls, clock)
            page = await maybe_await((peers or control.calls).page(selection))
            first = {key: value for key, value in page.items() if key != "calls"}
            return await encode_list(first, "calls", page["calls"], clock)

        return reply_encoded(request, await shared.get(request, encoded))

    @app.route("/api/calls/<call_id>", methods=["GET"])
    async def get_call(request: AdminRequest, call_id: str) -> bytes:
        """Return one call with its timeline."""
        call = await maybe_await(control.calls.get(requests.parse_call_id(call_id)))
        return reply(request, {"call": call})

    @app.route("/api/calls/<call_id>/return", methods=["POST"])
    async def start_return_call(request: AdminRequest, call_id: str) -> bytes:
        """Call the resident, or several numbers in order; the response does not wait for the resident's answer."""
        parsed_id = requests.parse_call_id(call_id)
        numbers = requests.return_numbers(request.content.read())
        request.remark = f"return call, {len(numbers)} numbers"
        if request.caller.by == "call token":  # a bot, which may ring the numbers of its entry only
            await maybe_await(control.calls.command(parsed_id, Role.VISITOR, "dial", {"numbers": numbers}))
            call = await maybe_await(control.calls.get(parsed_id))
        else:
            call = await maybe_await(control.calls.return_call(parsed_id, numbers))
        message = say(request, "Return call for {call_id} started", call_id=parsed_id)
        return reply(request, {"message": message, "call": call}, 202)

    @app.route("/api/calls/<call_id>/return", methods=["DELETE"])
    async def cancel_return_call(request: AdminRequest, call_id: str) -> bytes:
        """Cancel the return call."""
        parsed_id = requests.parse_call_id(call_id)
        request.remark = "return call cancelled"
        call = await maybe_await(control.calls.cancel_return(parsed_id))
        message = say(request, "Return call for {call_id} cancelled", call_id=parsed_id)
        return reply(request, {"message": message, "call": call})

    @app.route("/api/calls/<call_id>/<command:command>", methods=["POST"])
    async def run_command(request: AdminRequest, call_id: str, command: str) -> bytes:
        """Do with a leg of the call what its bot may do."""
        parsed_id = requests.parse_call_id(call_id)
        role, arguments = requests.command_arguments(request.content.read())
        told = await maybe_await(control.calls.command(parsed_id, role, command, arguments))
        message = say(request, "Command carried out: {command}", command=command)
        return reply(request, {"message": message, **told})

    @app.route("/api/attempts/<attempt_id>", methods=["POST"])
    async def report_attempt(request: AdminRequest, attempt_id: str) -> bytes:
        """Take the report of the webhook's receiver on how one attempt ended."""
        end, reason = requests.attempt_end(request.content.read(), attempt_id)
        await maybe_await(control.calls.attempt_ended(attempt_id, end, reason))
        return reply(request, {"message": say(request, "Attempt ended: {end}", end=end)})

    @app.route("/api/hangup", methods=["POST"])
    async def hang_up(request: AdminRequest) -> bytes:
        """Send the hangup frame to one leg."""
        call_id, role, reason = requests.which_leg(request.content.read())
        request.remark = f"call {call_id} {role.value}" + (f": {quoted(reason, 200)}" if reason else "")
        await maybe_await(control.calls.hang_up(call_id, role))
        message = say(request, "KIND_HANGUP sent to {leg}", leg=f"{call_id} ({role.value})")
        return reply(request, {"message": message})
