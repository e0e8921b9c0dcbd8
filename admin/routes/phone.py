"""The route of the browser's telephone, which is taken over as a WebSocket."""

from __future__ import annotations

import ipaddress
from urllib.parse import parse_qs

from klein import Klein
from twisted.internet.defer import Deferred

from admin.phone import RATES, Dial, Phone
from admin.responses import HTTPError, quoted
from admin.site import AdminRequest
from admin.uncancelled import maybe_await
from admin.websocket import ServerWebSocket
from audiosocket.control_interface import Control
from audiosocket.json_shapes import ExtensionStatusJSON


def add_routes(app: Klein, control: Control, dial: Dial | None) -> None:
    """Add the telephone to ``app``; without ``dial`` it is switched off."""

    @app.route("/api/phone", methods=["GET"])
    async def phone(request: AdminRequest) -> bytes:
        """Open a WebSocket that is a call to the visitor port of an extension."""
        if dial is None:
            raise HTTPError(404, "The telephone in the browser is switched off (PHONE=false).")
        number, rate = _options(request)
        channel = request.channel
        socket = ServerWebSocket(request, channel.transport, channel.site.clock)
        host, port = _address((await maybe_await(control.status()))["extensions"], number)
        early = channel.take_over(socket)
        one = Phone(socket)
        one.start(dial(host, port, rate, one), early)
        return await Deferred()  # the connection is no longer HTTP: there is no response to finish


def _options(request: AdminRequest) -> tuple[str, int]:
    """Return the extension's number and the rate in Hz of the query; raise `HTTPError`."""
    query = parse_qs(request.uri.partition(b"?")[2].decode("latin-1"))
    number = "".join(query.get("extension", [])).strip()
    if not number:
        raise HTTPError(400, "Give the number of the extension: /api/phone?extension=1000.", field="extension")
    rate = "".join(query.get("rate", ["8000"]))
    if not rate.isascii() or not rate.isdecimal() or int(rate[:6]) not in RATES:
        raise HTTPError(400, f"rate is {quoted(rate)}, not one of {', '.join(map(str, RATES))}.", field="rate")
    return number, int(rate)


def _address(extensions: list[ExtensionStatusJSON], number: str) -> tuple[str, int]:
    """Return where the extension's visitors are answered; raise `HTTPError` where they are not."""
    for one in extensions:
        if one["ramal_ia"] == number:
            port, bind = one["actual_porta_ia"], one["bind"] or "127.0.0.1"
            if port is None:
                raise HTTPError(409, f"Extension {quoted(number)} is not listening: {one['reason']}.")
            return _reachable(bind), port
    raise HTTPError(404, f"No extension {quoted(number)} runs.")


def _reachable(bind: str) -> str:
    """Return the address at which a listener that is bound to ``bind`` is reached from this machine."""
    if not ipaddress.ip_address(bind).is_unspecified:
        return bind
    return "::1" if ":" in bind else "127.0.0.1"
