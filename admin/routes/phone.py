"""The route of the browser's telephone, which is taken over as a WebSocket."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from admin.phones.phone import RATES, Dial, Phone, PhoneCall
from admin.phones.resident_phone import ResidentPhone
from admin.phones.resident_phones import ResidentPhones, Ring
from admin.responses import HTTPError, quoted
from admin.site import AdminRequest
from admin.uncancelled import maybe_await
from admin.websocket import ServerWebSocket
from audiosocket.control_interface import Control
from audiosocket.json_shapes import ExtensionStatusJSON
from audiosocket.runtime.event_feed import EventFeed


def add_routes(app: Klein, control: Control, dial: Dial | None, feed: EventFeed, clock: IReactorTime) -> None:
    """Add the telephone to ``app``; without ``dial`` it is switched off."""
    residents = ResidentPhones(control, feed, clock)

    @app.route("/api/phone", methods=["GET"])
    async def phone(request: AdminRequest) -> bytes:
        """Open a WebSocket that is a call to the visitor port of an extension, or waits for return calls."""
        if dial is None:
            raise HTTPError(404, "The telephone in the browser is switched off (PHONE=false).")
        query = parse_qs(request.uri.partition(b"?")[2].decode("latin-1"))
        rate = _rate(query)
        if "ring" in query:
            return await _wait(request, rate, _resident(query))
        number = _number(query)
        channel = request.channel
        socket = _socket(request)
        host, port = _address((await maybe_await(control.status()))["extensions"], number)
        early = channel.take_over(socket)
        one = Phone(socket)
        one.start(dial(host, port, rate, one), early)
        return await Deferred()  # the connection is no longer HTTP: there is no response to finish

    async def _wait(request: AdminRequest, rate: int, number: str) -> bytes:
        """Let a resident's telephone wait."""
        if dial is None:
            raise AssertionError("the telephone is switched off")
        channel = request.channel
        socket = _socket(request)
        kind = (await maybe_await(control.status()))["return_backend"]["kind"]
        if kind != "browser":
            raise HTTPError(409, f"Return calls do not ring here: RETURN_BACKEND is {kind}, not browser.")

        async def place(ring: Ring, phone: Phone) -> PhoneCall:
            host, port = _return_address((await maybe_await(control.status()))["extensions"], ring)
            return dial(host, port, rate, phone, ring.call_id)

        early = channel.take_over(socket)
        ResidentPhone(socket, residents, number, place).start(early)
        return await Deferred()


def _socket(request: AdminRequest) -> ServerWebSocket:
    """Return the WebSocket that the request opens; raise `HTTPError` where it opens none."""
    site, caller = request.site, request.caller
    transport = request.channel.transport
    return ServerWebSocket(request, transport, site.clock, lambda: site.access.is_current(caller))


def _number(query: Mapping[str, Sequence[str]]) -> str:
    """Return the extension's number of the query; raise `HTTPError`."""
    number = "".join(query.get("extension", [])).strip()
    if not number:
        raise HTTPError(400, "Give the number of the extension: /api/phone?extension=1000.", field="extension")
    return number


def _resident(query: Mapping[str, Sequence[str]]) -> str:
    """Return the number that a telephone rings for, empty for every one; raise `HTTPError`."""
    if query["ring"] != ["true"]:
        raise HTTPError(400, "ring is not true; leave it out to call an extension.", field="ring")
    return "".join(query.get("number", [])).strip()


def _rate(query: Mapping[str, Sequence[str]]) -> int:
    """Return the rate in Hz of the query; raise `HTTPError`."""
    rate = "".join(query.get("rate", ["8000"]))
    if not rate.isascii() or not rate.isdecimal() or int(rate[:6]) not in RATES:
        raise HTTPError(400, f"rate is {quoted(rate)}, not one of {', '.join(map(str, RATES))}.", field="rate")
    return int(rate)


def _address(extensions: list[ExtensionStatusJSON], number: str) -> tuple[str, int]:
    """Return where the extension's visitors are answered; raise `HTTPError` where they are not."""
    for one in extensions:
        if one["ramal_ia"] == number:
            port, bind = one["actual_porta_ia"], one["bind"] or "127.0.0.1"
            if port is None:
                raise HTTPError(409, f"Extension {quoted(number)} is not listening: {one['reason']}.")
            return _reachable(bind), port
    raise HTTPError(404, f"No extension {quoted(number)} runs.")


def _return_address(extensions: list[ExtensionStatusJSON], ring: Ring) -> tuple[str, int]:
    """Return where the resident's leg of a call is expected; raise `HTTPError` where nothing listens."""
    for one in extensions:
        if one["id"] == ring.extension_id and one["actual_porta_retorno"] is not None:
            return _reachable(one["bind"] or "127.0.0.1"), one["actual_porta_retorno"]
    raise HTTPError(409, f"The return port of extension {quoted(ring.extension)} is not listening.")


def _reachable(bind: str) -> str:
    """Return the address at which a listener that is bound to ``bind`` is reached from this machine."""
    if not ipaddress.ip_address(bind).is_unspecified:
        return bind
    return "::1" if ":" in bind else "127.0.0.1"
