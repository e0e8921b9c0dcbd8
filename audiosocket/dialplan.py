"""The lines of Asterisk's dialplan for extensions, as an administrator pastes them. Pure.

They are those of ``examples/asterisk`` with a row's own values: its host and ports stand in its own lines
and not in settings, so that the lines of many rows can stand in one file and no row gets another's port.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from string import Template
from typing import Literal

from audiosocket.errors import InvalidExtension
from audiosocket.extensions import Extension

Style = Literal["plain", "freepbx"]
STYLES: tuple[Style, ...] = ("plain", "freepbx")

#: Stands for the address of a row that has none; the administrator has to replace it.
PLACEHOLDER = "SERVER_ADDRESS"
WIDEBAND_CODEC = "slin16"

_NUMBER = re.compile(r"[0-9A-Za-z*#+][0-9A-Za-z*#+_.-]*", re.ASCII)
_HOST = re.compile(r"[0-9A-Za-z]([0-9A-Za-z._-]*[0-9A-Za-z])?", re.ASCII)
#: Extensions that Asterisk goes to by itself, at a hangup or a time-out.
_SPECIAL = frozenset({"a", "e", "h", "i", "o", "s", "t", "T"})


class _Lines(Template):
    """Text with ``@name`` for a value: ``$`` is the dialplan's own."""

    delimiter = "@"


def lines(
    *extensions: Extension, style: Style, host: str = "", wideband: bool = False, survive: bool = True
) -> str:
    """The dialplan of these extensions, with what they share at the end.

    ``host`` is where Asterisk reaches the server, the rows' own address by default. ``wideband`` asks for
    16 kHz. Without ``survive`` a call ends with its connection. Raises `InvalidExtension` for a value that
    would mean something else to Asterisk, and for a number that two of the extensions have.
    """
    _refuse_twice((extension.number, extension.id, "ramal_ia") for extension in extensions)
    returning = [extension for extension in extensions if extension.return_number and extension.return_port]
    _refuse_twice((extension.return_number, extension.id, "ramal_retorno") for extension in returning)
    freepbx = style == "freepbx"
    parts = [_INTRODUCTION_FREEPBX if freepbx else _INTRODUCTION]
    if any(_host(extension, host) == PLACEHOLDER for extension in extensions):
        parts.append(_REPLACE)
    parts.append(_VISITORS_FREEPBX if freepbx else _VISITORS)
    settings = _USE_SETTINGS if freepbx and survive else ""
    for extension in extensions:
        values = {
            "id": str(extension.id),
            "condominium": str(extension.condominium_id),
            "number": _number(extension.number, "ramal_ia"),
            "settings": settings,
            "leg": _leg("${UUID()}", f"{_host(extension, host)}:{extension.port}", wideband, survive),
            "status": _STATUS if survive else "",
        }
        parts.append(_Lines(_VISITOR).substitute(values))
    parts.append(_RESIDENTS)
    for extension in extensions:
        if extension not in returning:
            parts.append(_Lines(_NO_RETURN).substitute(id=str(extension.id)))
            continue
        where = f"{_host(extension, host)}:{extension.return_port}"
        values = {
            "id": str(extension.id),
            "number": _number(extension.return_number, "ramal_retorno"),
            "settings": settings,
            "leg": _leg("${AUDIOSOCKET_CALL_ID}", where, wideband, survive),
        }
        parts.append(_Lines(_RESIDENT).substitute(values))
    shared = (_INCLUDED if freepbx else "") + (_SURVIVAL if survive else "")
    if shared:
        parts.append(_ONCE)
        if survive:
            parts.append(_SETTINGS_FREEPBX if freepbx else _SETTINGS)
        parts.append(shared)
    return "".join(parts)


def _leg(call_id: str, where: str, wideband: bool, survive: bool) -> str:
    codec = WIDEBAND_CODEC if wideband else ""
    if survive:
        return f"Gosub(audiosocket-call,s,1({call_id},{where},{codec}))"
    if wideband:
        return f"Answer()\n same => n,Dial(AudioSocket/{where}/{call_id}/c({codec}),,g)"
    return f"Answer()\n same => n,AudioSocket({call_id},{where})"


def _number(number: str, key: str) -> str:
    if not _NUMBER.fullmatch(number):
        raise InvalidExtension(
            f"{key} is {number!r}, which cannot stand in a dialplan; it may have letters, digits and * # + and, "
            "but for its beginning, _ . -",
            key,
        )
    if number in _SPECIAL:
        raise InvalidExtension(f"{key} is {number!r}, which Asterisk keeps for its own purposes", key)
    return number


def _host(extension: Extension, host: str) -> str:
    """What stands before the port; an IPv6 address in brackets."""
    given = host or extension.server_ip
    try:
        address = ipaddress.ip_address(given[1:-1] if given[:1] + given[-1:] == "[]" else given)
    except ValueError:
        address = None
    if not given or (address is not None and address.is_unspecified):
        return PLACEHOLDER
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is None:
        return f"[{address}]"
    if not _HOST.fullmatch(given):
        raise InvalidExtension(
            f"ip_servidor is {given!r}, which is neither an IP address nor a host name", "ip_servidor"
        )
    return given


def _refuse_twice(numbers: Iterable[tuple[str, int, str]]) -> None:
    owners: dict[str, int] = {}
    for number, extension_id, key in numbers:
        if number in owners:
            raise InvalidExtension(
                f"{key} {number} belongs to extension {owners[number]} and to extension {extension_id}; "
                "Asterisk would send the calls of both to the first",
                key,
            )
        owners[number] = extension_id


_INTRODUCTION = """\
; Dialplan of AI extensions, for plain Asterisk.
; Paste into extensions.conf, then: asterisk -rx "dialplan reload"
; Modules beside the usual ones: res_audiosocket, app_audiosocket, chan_audiosocket, app_chanisavail, app_exec,
; app_stack, func_lock, func_uuid.

"""

_INTRODUCTION_FREEPBX = """\
; Dialplan of AI extensions, for FreePBX (and whatever else keeps extensions_custom.conf for you).
; Append to /etc/asterisk/extensions_custom.conf, then: fwconsole reload
; The numbers must be free of other use in FreePBX: register them under Admin, Custom Extensions.

"""

_REPLACE = f"""\
; REPLACE {PLACEHOLDER} below by the address at which this Asterisk reaches the AudioSocket server.

"""

_VISITORS = """\
; ---- Visitors. Let the door stations' context include this one:  include => audiosocket-visitor
[audiosocket-visitor]
"""

_VISITORS_FREEPBX = """\
; ---- Visitors. Phones dial them; an inbound route takes the custom destination audiosocket-visitor,NUMBER,1
[audiosocket-visitor]
"""

_VISITOR = """\
; Extension @{id}, condominium @{condominium}.
exten => @{number},1,NoOp(visitor at AI extension ${EXTEN})
@{settings} same => n,@{leg}
@{status} same => n,Hangup()

"""

_STATUS = """\
; AUDIOSOCKET_STATUS is now ENDED, or DOWN if the server stayed away: a Dial to the porter could follow.
"""

_RESIDENTS = """\
; ---- Residents. The server's return call arrives here with the call's id in AUDIOSOCKET_CALL_ID.
[audiosocket-return]
"""

_RESIDENT = """\
; Extension @{id}.
exten => @{number},1,NoOp(resident of call ${AUDIOSOCKET_CALL_ID} at ${EXTEN})
 same => n,GotoIf($["${AUDIOSOCKET_CALL_ID}" = ""]?nobody)
@{settings} same => n,@{leg}
 same => n,Hangup()
; Somebody dialled the number by hand: no visitor is waiting.
 same => n(nobody),Hangup(21)

"""

_NO_RETURN = """\
; Extension @{id} has no return number or no return port, so that residents cannot be called back.

"""

_ONCE = """\
; ==== Once per Asterisk: leave out all that follows if it is there already, for another extension.

"""

_USE_SETTINGS = " same => n,Gosub(audiosocket-settings,s,1)\n"

_SETTINGS = """\
[globals]
; For how many seconds a caller is kept while the server is away.
AUDIOSOCKET_PATIENCE=30

"""

_SETTINGS_FREEPBX = """\
; FreePBX writes [globals] itself, so the settings are variables of the call.
[audiosocket-settings]
; For how many seconds a caller is kept while the server is away.
exten => s,1,Set(AUDIOSOCKET_PATIENCE=30)
 same => n,Return()

"""

_INCLUDED = """\
; FreePBX includes this context in from-internal. If the file has one already, add only the line to it.
[from-internal-custom]
include => audiosocket-visitor

"""

_SURVIVAL = """\
; ---- One leg of a call, kept while the server restarts. Arguments: UUID, host:port, codec or nothing.
; The server answers the UUID of a call that is over with an immediate hangup, so two short connections in a
; row mean "over". After a long or a broken one the same UUID is presented again, and the call goes on.
[audiosocket-call]
exten => s,1,Answer()
 same => n,Set(AUDIOSOCKET_STATUS=ENDED)
 same => n,Set(LOCAL(short)=0)
 same => n,Set(LOCAL(away)=0)
 same => n,Goto(ask)
 same => n(again),Set(LOCAL(since)=${EPOCH})
 same => n,GotoIf($["${ARG3}" != ""]?channel)
 same => n,TryExec(AudioSocket(${ARG1},${ARG2}))
 same => n,GotoIf($["${TRYSTATUS}" = "SUCCESS"]?left:lost)
 same => n(channel),Dial(AudioSocket/${ARG2}/${ARG1}/c(${ARG3}),,g)
 same => n,GotoIf($["${DIALSTATUS}" = "ANSWER"]?left:lost)
; The server hung up, or closed its connection in good order.
 same => n(left),Set(LOCAL(away)=0)
 same => n,Set(LOCAL(short)=${IF($[${EPOCH} - ${since} > 1]?0:$[${short} + 1])})
 same => n,GotoIf($[${short} >= 2]?over:look)
; A broken connection, or none. No attempt to connect takes ten seconds: that was a call.
 same => n(lost),ExecIf($[${EPOCH} - ${since} > 10]?Set(LOCAL(away)=0))
 same => n(absent),Set(LOCAL(short)=0)
 same => n,ExecIf($[${away} = 0]?Set(LOCAL(away)=${EPOCH}))
 same => n,GotoIf($[${EPOCH} - ${away} > ${AUDIOSOCKET_PATIENCE}]?down)
; Is the server there? One caller at a time looks, ten times a second at most, whatever the number of callers:
; Asterisk closes the socket of a refused connection twice, and the second time may hit another caller's.
 same => n(look),Wait(${IF($[${away} > 0 & ${EPOCH} - ${away} > 3]?0.5:0.1)})
 same => n(ask),GotoIf($["${LOCK(audiosocket)}" != "1"]?absent)
 same => n,Set(AVAILORIGCHAN=)
 same => n,Set(LOCAL(now)=${ARG2} ${STRFTIME(,,%s%1q)})
 same => n,ExecIf($["${GLOBAL(AUDIOSOCKET_REFUSED)}" != "${now}"]?ChanIsAvail(AudioSocket/${ARG2}/00\
000000-0000-0000-0000-000000000000/c(slin)))
 same => n,ExecIf($["${AVAILORIGCHAN}" = ""]?Set(GLOBAL(AUDIOSOCKET_REFUSED)=${now}))
 same => n,Set(LOCAL(now)=${UNLOCK(audiosocket)})
 same => n,GotoIf($["${AVAILORIGCHAN}" = ""]?absent:again)
 same => n(down),Set(AUDIOSOCKET_STATUS=DOWN)
 same => n(over),Return()
"""
