"""The routes: contract section 7, each a few lines on `Control`.

Success messages are Portuguese, word for word those of the service this one replaces: scripts grep them.
"""

from __future__ import annotations

from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure

from admin import requests as bodies
from admin.access import asked_at
from admin.responses import HTTPError, refuse, reply, reply_text, to_http_error
from admin.site import AdminRequest
from admin.uncancelled import maybe_await, shielded
from audiosocket.control_interface import Control


class AdminAPI:
    """The API over one server; ``app.resource()`` is its Twisted resource."""

    app = Klein()
    # A doubled slash is no redirect to somewhere: the gate has already refused it.
    app.url_map.merge_slashes = False
    _log = Logger()

    def __init__(self, control: Control) -> None:
        self._control = control

    @app.route("/api/status", methods=["GET"])
    async def status(self, request: AdminRequest) -> bytes:
        """Everything at one glance, from memory."""
        return reply(request, await maybe_await(self._control.status()))

    @app.route("/api/refresh", methods=["POST"])
    async def refresh(self, request: AdminRequest) -> bytes:
        """Read the table and apply it, or say what would change."""
        wishes = bodies.refresh_wishes(request.content.read(), request.uri)
        work = self._control.extensions.refresh(force=wishes["force"], dry_run=wishes["dry_run"])
        result = await shielded(work, "POST /api/refresh")
        if wishes["dry_run"]:
            done = "Simulação concluída, nada foi alterado"
        elif result.get("result") == "held_back":
            done = f"Nada foi alterado: {result.get('reason')}"
        else:
            done = "Configurações atualizadas com sucesso"
        return reply(request, {"message": done, **result})

    @app.route("/api/restart", methods=["POST"])
    async def restart(self, request: AdminRequest) -> bytes:
        """Reopen an extension's listeners."""
        extension_id, number = bodies.which_extension(request.content.read())
        work = self._control.extensions.restart(extension_id=extension_id, number=number)
        await shielded(work, "POST /api/restart")
        name = number if extension_id is None else f"ID {extension_id}"
        return reply(request, {"message": f"Ramal {name} reiniciado com sucesso"})

    @app.route("/api/extensions", methods=["GET"])
    async def extensions(self, request: AdminRequest) -> bytes:
        """The rows as they stand in the database."""
        rows = await shielded(self._control.extensions.rows(), "GET /api/extensions")
        return reply(request, rows)

    @app.route("/api/extensions", methods=["POST"])
    async def add(self, request: AdminRequest) -> bytes:
        """Insert an extension and apply it."""
        fields = bodies.extension_fields(request.content.read())
        extension = await shielded(self._control.extensions.add(fields), "POST /api/extensions")
        request.setHeader("Location", f"/api/extensions/{extension.id}")
        message = f"Ramal {extension.number} adicionado com sucesso"
        return reply(request, {"message": message, "extension": extension.to_json()}, 201)

    @app.route("/api/extensions/<extension_id>", methods=["PUT"])
    async def change(self, request: AdminRequest, extension_id: str) -> bytes:
        """Change the given fields of an extension and apply them."""
        known_id = bodies.parse_extension_id(extension_id)
        fields = bodies.changed_fields(request.content.read(), known_id)
        extension = await shielded(
            self._control.extensions.change(known_id, fields), f"PUT /api/extensions/{known_id}"
        )
        message = f"Ramal ID {known_id} atualizado com sucesso"
        return reply(request, {"message": message, "extension": extension.to_json()})

    @app.route("/api/extensions/<extension_id>", methods=["DELETE"])
    async def remove(self, request: AdminRequest, extension_id: str) -> bytes:
        """Delete an extension; its calls go on to their own end."""
        known_id = bodies.parse_extension_id(extension_id)
        await shielded(self._control.extensions.remove(known_id), f"DELETE /api/extensions/{known_id}")
        return reply(request, {"message": f"Ramal ID {known_id} removido com sucesso"})

    @app.route("/api/extensions/<extension_id>/dialplan", methods=["GET"])
    def dialplan(self, request: AdminRequest, extension_id: str) -> bytes:
        """The lines of Asterisk's dialplan for one extension, ready to paste."""
        return self._dialplan(request, bodies.parse_extension_id(extension_id))

    @app.route("/api/extensions/dialplan", methods=["GET"])
    def whole_dialplan(self, request: AdminRequest) -> bytes:
        """The lines of all extensions that run, in one text, with what they share once."""
        return self._dialplan(request, None)

    @app.route("/api/extensions/<extension_id>/apps", methods=["GET"])
    def extension_apps(self, request: AdminRequest, extension_id: str) -> bytes:
        """What an extension's legs run, and from which entry of ``apps.toml``."""
        return reply(request, self._control.extensions.apps_of(bodies.parse_extension_id(extension_id)))

    def _dialplan(self, request: AdminRequest, extension_id: int | None) -> bytes:
        style, wideband, host = bodies.dialplan_wishes(request.uri)
        text = self._control.extensions.dialplan(extension_id, style, wideband, host, asked_at(request))
        return reply_text(request, text)

    @app.route("/api/calls", methods=["GET"])
    async def calls(self, request: AdminRequest) -> bytes:
        """Live calls, then the recently ended ones."""
        calls = await maybe_await(self._control.calls.all())
        return reply(request, {"total": len(calls), "calls": calls})

    @app.route("/api/calls/<call_id>", methods=["GET"])
    async def call(self, request: AdminRequest, call_id: str) -> bytes:
        """One call with its timeline."""
        return reply(request, {"call": await maybe_await(self._control.calls.get(bodies.parse_call_id(call_id)))})

    @app.route("/api/calls/<call_id>/return", methods=["POST"])
    async def return_call(self, request: AdminRequest, call_id: str) -> bytes:
        """Ring the resident, or several in their order; the answer does not wait for theirs."""
        known_id = bodies.parse_call_id(call_id)
        numbers = bodies.return_numbers(request.content.read())
        call = await maybe_await(self._control.calls.return_call(known_id, numbers))
        return reply(request, {"message": f"Chamada de retorno iniciada para {known_id}", "call": call}, 202)

    @app.route("/api/calls/<call_id>/return", methods=["DELETE"])
    async def cancel_return(self, request: AdminRequest, call_id: str) -> bytes:
        """Stop the ringing."""
        known_id = bodies.parse_call_id(call_id)
        call = await maybe_await(self._control.calls.cancel_return(known_id))
        return reply(request, {"message": f"Chamada de retorno cancelada para {known_id}", "call": call})

    @app.route("/api/attempts/<attempt_id>", methods=["POST"])
    async def report(self, request: AdminRequest, attempt_id: str) -> bytes:
        """Whoever rings residents for a webhook says how one attempt ended."""
        end, reason = bodies.attempt_end(request.content.read())
        await maybe_await(self._control.calls.attempt_ended(attempt_id, end, reason))
        return reply(request, {"message": f"Tentativa encerrada: {end}"})

    @app.route("/api/hangup", methods=["POST"])
    async def hang_up(self, request: AdminRequest) -> bytes:
        """Send the hangup frame to one leg."""
        call_id, role = bodies.which_leg(request.content.read())
        await maybe_await(self._control.calls.hang_up(call_id, role))
        return reply(request, {"message": f"KIND_HANGUP enviado com sucesso para {call_id} ({role.value})"})

    @app.route("/healthz", methods=["GET"])
    def healthz(self, request: AdminRequest) -> bytes:
        """Is the process alive and its reactor on time?"""
        return self._probe(request, *self._control.healthy())

    @app.route("/readyz", methods=["GET"])
    def readyz(self, request: AdminRequest) -> bytes:
        """Do the listeners match the desired state, and are we not stopping?"""
        return self._probe(request, *self._control.ready())

    def _probe(self, request: AdminRequest, good: bool, why: str) -> bytes:
        if not good:
            raise HTTPError(503, why or "Not ready.")
        return reply(request, {"status": "ok"})

    @app.handle_errors(Exception)  # type: ignore[arg-type]  # Klein means any IRequest, ours is one
    def _failed(self, request: AdminRequest, failure: Failure) -> bytes:
        """Every error ends here: the expected ones by their own status, the others as one logged 500."""
        path = request.path.decode("latin-1")
        refusal = to_http_error(failure.value, path)
        if refusal is None:
            self._log.failure("{method} {path} failed", failure, method=request.method.decode("ascii"), path=path)
            refusal = HTTPError(500, "The server failed; its log says why.")
        return refuse(request, refusal)
