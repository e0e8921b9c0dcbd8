"""Templates of the dialplan printed for extensions, with ``%(name)s`` for the values of a row.

A test compares them with ``examples/asterisk``.
"""

from __future__ import annotations

INTRODUCTION = """\
; Dialplan of AI extensions, for plain Asterisk.
; Paste into extensions.conf, then: asterisk -rx "dialplan reload"
; Modules beside the usual ones: res_audiosocket, app_audiosocket, chan_audiosocket, app_chanisavail, app_exec,
; app_stack, func_lock, func_uuid.

"""

INTRODUCTION_FREEPBX = """\
; Dialplan of AI extensions, for FreePBX (and whatever else keeps extensions_custom.conf for you).
; Append to /etc/asterisk/extensions_custom.conf, then: fwconsole reload
; The numbers must be free of other use in FreePBX: register them under Admin, Custom Extensions.

"""

ASKED_FOR = """\
; %(host)s below was asked for, in place of the extensions' own addresses.

"""

OTHERWISE = """\
; %(host)s below is %(source)s; no address (ip_servidor) is in the row of: %(ids)s.
; If Asterisk reaches the server under another address, name that one: ?host=ADDRESS, or --host ADDRESS.

"""

VISITORS = """\
; ---- Visitors. Let the door stations' context include this one:  include => audiosocket-visitor
[audiosocket-visitor]
"""

VISITORS_FREEPBX = """\
; ---- Visitors. Phones dial them; an inbound route takes the custom destination audiosocket-visitor,NUMBER,1
[audiosocket-visitor]
"""

VISITOR = """\
; Extension %(id)s, condominium %(condominium)s.
exten => %(number)s,1,NoOp(visitor at AI extension ${EXTEN})
%(settings)s same => n,%(leg)s
%(status)s same => n,Hangup()

"""

STATUS = """\
; AUDIOSOCKET_STATUS is now ENDED, or DOWN if the server stayed away: a Dial to the porter could follow.
"""

RESIDENTS = """\
; ---- Residents. The server's return call arrives here with the call's id in AUDIOSOCKET_CALL_ID.
[audiosocket-return]
"""

RESIDENT = """\
; Extension %(id)s.
exten => %(number)s,1,NoOp(resident of call ${AUDIOSOCKET_CALL_ID} at ${EXTEN})
 same => n,GotoIf($["${AUDIOSOCKET_CALL_ID}" = ""]?nobody)
%(settings)s same => n,%(leg)s
 same => n,Hangup()
; The number was dialled by hand: no visitor is waiting.
 same => n(nobody),Hangup(21)

"""

NO_RETURN = """\
; Extension %(id)s has no return number or no return port, so that residents cannot be called back.

"""

ONCE = """\
; ==== Once per Asterisk: leave out all that follows if it is there already, for another extension.

"""

USE_SETTINGS = " same => n,Gosub(audiosocket-settings,s,1)\n"

SETTINGS = """\
[globals]
; For how many seconds a caller is kept while the server is away.
AUDIOSOCKET_PATIENCE=30

"""

SETTINGS_FREEPBX = """\
; FreePBX writes [globals] itself, so the settings are variables of the call.
[audiosocket-settings]
; For how many seconds a caller is kept while the server is away.
exten => s,1,Set(AUDIOSOCKET_PATIENCE=30)
 same => n,Return()

"""

INCLUDED = """\
; FreePBX includes this context in from-internal. If the file has one already, add only the line to it.
[from-internal-custom]
include => audiosocket-visitor

"""

SURVIVAL = """\
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
; Is the server there? One caller at a time looks, ten times a second at most, after 3 s once a second:
; Asterisk closes the socket of a refused connection twice, and the second time may hit another caller's.
 same => n(look),Wait(${IF($[${away} > 0 & ${EPOCH} - ${away} > 3]?1:0.1)})
 same => n(ask),GotoIf($["${LOCK(audiosocket)}" != "1"]?absent)
 same => n,Set(AVAILORIGCHAN=)
 same => n,Set(LOCAL(now)=${ARG2} ${STRFTIME(,,%s${IF($[${away} > 0 & ${EPOCH} - ${away} > 3]?:%1q)})})
 same => n,ExecIf($["${GLOBAL(AUDIOSOCKET_REFUSED)}" != "${now}"]?ChanIsAvail(AudioSocket/${ARG2}/00\
000000-0000-0000-0000-000000000000/c(slin)))
 same => n,ExecIf($["${AVAILORIGCHAN}" = ""]?Set(GLOBAL(AUDIOSOCKET_REFUSED)=${now}))
 same => n,Set(LOCAL(now)=${UNLOCK(audiosocket)})
 same => n,GotoIf($["${AVAILORIGCHAN}" = ""]?absent:again)
 same => n(down),Set(AUDIOSOCKET_STATUS=DOWN)
 same => n(over),Return()
"""
