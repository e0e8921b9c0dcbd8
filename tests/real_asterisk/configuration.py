"""Asterisk's configuration for a run: loopback only, ports of the run's own, few modules."""

from __future__ import annotations

from dataclasses import dataclass

INSIDE = "/mnt"  # the run's directory as Asterisk sees it

_MODULES = """
res_timing_timerfd
res_audiosocket app_audiosocket chan_audiosocket
pbx_config app_chanisavail app_dial app_exec app_stack app_verbose app_userevent app_playback app_playtones
app_senddtmf app_milliwatt app_record app_read app_echo
func_callerid func_channel func_global func_hangupcause func_lock func_logic func_math func_strings
func_timeout func_uuid
codec_ulaw codec_alaw codec_g722 codec_gsm codec_resample format_pcm format_sln format_wav
bridge_simple bridge_native_rtp bridge_softmix bridge_builtin_features bridge_builtin_interval_features
res_sorcery_config res_sorcery_memory res_sorcery_astdb
res_pjproject res_pjsip res_pjsip_pubsub res_pjsip_session res_pjsip_sdp_rtp
res_pjsip_authenticator_digest res_pjsip_caller_id res_pjsip_dlg_options res_pjsip_dtmf_info
res_pjsip_endpoint_identifier_ip res_pjsip_endpoint_identifier_user res_pjsip_nat
res_pjsip_outbound_authenticator_digest res_pjsip_rfc3326
res_rtp_asterisk chan_pjsip
res_http_websocket res_websocket_client res_stasis res_stasis_answer res_stasis_device_state
res_stasis_playback res_stasis_recording res_stasis_snoop app_stasis
res_ari res_ari_model res_ari_applications res_ari_asterisk res_ari_bridges res_ari_channels
res_ari_device_states res_ari_endpoints res_ari_events res_ari_playbacks res_ari_recordings res_ari_sounds
"""

_ASTERISK = f"""\
[directories]
astetcdir => {INSIDE}/etc
astvarlibdir => {INSIDE}/lib
astdbdir => {INSIDE}/lib
astkeydir => {INSIDE}/lib
astcachedir => {INSIDE}/lib
astdatadir => /usr/share/asterisk
astspooldir => {INSIDE}/spool
astrundir => {INSIDE}/run
astlogdir => {INSIDE}/log
[options]
nocolor = yes
verbose = 3
"""

_LOGGER = """\
[general]
dateformat = %F %T.%3q
use_callids = no
[logfiles]
messages => notice,warning,error,verbose
"""

# tones without music or sounds, so that "ringing" and "congestion" work
_INDICATIONS = """\
[general]
country = us
[us]
description = United States
ringcadence = 2000,4000
dial = 350+440
ring = 440+480/2000,0/4000
busy = 480+620/500,0/500
congestion = 480+620/250,0/250
"""

# A door station that calls in and residents' telephones that are rung, all of these at one port. Media is taken
# from and sent to where the SDP says, so that the one who plays a sound need not be the one who records.
_PJSIP = """\
[udp]
type = transport
protocol = udp
bind = 127.0.0.1:{ports.sip}

[telephone](!)
type = endpoint
context = from-sip
disallow = all
allow = ulaw,alaw
direct_media = no
rtp_symmetric = no
media_address = 127.0.0.1
bind_rtp_to_media_address = yes
dtmf_mode = rfc4733

[doorstation](telephone)

"""
_RESIDENT = """
[{number}](telephone)
aors = {number}
[{number}]
type = aor
contact = sip:{number}@127.0.0.1:{ports.telephone}
"""
RESIDENTS = ("2001", "2002", "2003")

# Asterisk reports a missing file as an error even where an empty one is equivalent
_EMPTY = ("acl", "ccss", "cdr", "cel", "features", "pjproject", "stasis", "udptl", "websocket_client")


@dataclass(frozen=True)
class Ports:
    """The ports of a run on 127.0.0.1; RTP uses the even ones of a range."""

    ami: int
    http: int
    sip: int
    telephone: int  # where the residents' telephones listen
    rtp_first: int
    rtp_last: int


def files(ports: Ports, *, manager: str, ari: str) -> dict[str, str]:
    """Return Asterisk's configuration files by name, with an empty dialplan, and a hosts file."""
    modules = "".join(f"load = {name}.so\n" for name in _MODULES.split())
    residents = "".join(_RESIDENT.format(ports=ports, number=number) for number in RESIDENTS)
    return {
        **{f"{name}.conf": "[general]\n" if name != "acl" else "" for name in _EMPTY},
        "hosts": "127.0.0.1 localhost\n",
        "extensions.conf": "[general]\n",
        "asterisk.conf": _ASTERISK,
        "modules.conf": "[modules]\nautoload = no\n" + modules,
        "logger.conf": _LOGGER,
        "indications.conf": _INDICATIONS,
        "manager.conf": manager,
        "ari.conf": ari,
        "pjsip.conf": _PJSIP.format(ports=ports) + residents,
        "http.conf": f"[general]\nenabled = yes\nbindaddr = 127.0.0.1\nbindport = {ports.http}\n",
        "rtp.conf": f"[general]\nrtpstart = {ports.rtp_first}\nrtpend = {ports.rtp_last}\nstrictrtp = no\n",
    }
