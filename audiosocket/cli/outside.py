"""The ports of extensions as a peer sees them: they are connected to, and one is called."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from audiosocket.cli.api import APIClient, Refused, Unreachable
from audiosocket.cli.findings import Finding
from audiosocket.cli.texts import count
from audiosocket.errors import describe_cause

#: How long a connection may take, and a whole call, in seconds.
CONNECT_SECONDS, CALL_SECONDS = 3.0, 60.0
#: How long the call lasts, in seconds: a greeting, four notes and their echo.
TALK_SECONDS = 5
#: After so many ports that cannot be reached the others are not tried.
MAX_UNREACHABLE = 5
#: Extensions whose apps are asked for, to find one that echoes.
MAX_ASKED = 20
_FIREWALL = "open the port in the firewall, or name the address at which Asterisk reaches the server: --host"


def port_findings(status: Mapping[str, Any], api: APIClient, host: str) -> Iterator[Finding]:
    """Yield a finding for each port that cannot be connected to, else one for all."""
    reached, unreachable = 0, 0
    wanted = [one for each in status["extensions"] for one in _ports_of(each, api, host)]
    for number, whose, address, port in wanted:
        if unreachable == MAX_UNREACHABLE:
            yield Finding(
                "warn", f"{len(wanted) - reached - unreachable} more ports were not tried", "correct these first"
            )
            return
        try:
            socket.create_connection((address, port), CONNECT_SECONDS).close()
        except OSError as error:
            unreachable += 1
            what = f"{address}:{port}, for {whose} of extension {number}: {describe_cause(error)}"
            yield Finding("bad", what, _FIREWALL)
        else:
            reached += 1
    if not wanted:
        yield Finding("warn", "no extension has an open port", "audiosocket status says why")
    elif not unreachable:
        yield Finding(
            "ok", f"{count(reached, 'port')} of {count(len(status['extensions']), 'extension')} can be reached"
        )


def _ports_of(extension: Mapping[str, Any], api: APIClient, host: str) -> Iterator[tuple[str, str, str, int]]:
    for whose, key in (("visitors", "actual_porta_ia"), ("residents", "actual_porta_retorno")):
        if extension[key] is not None:
            yield extension["ramal_ia"], whose, address_of(extension["bind"], api.url, host), extension[key]


def address_of(bind: str | None, url: str, host: str) -> str:
    """Return where a listener bound to ``bind`` is reached: ``host``, else its own address, else the API's."""
    own = bind or ""
    with contextlib.suppress(ValueError):  # a name
        own = "" if ipaddress.ip_address(own).is_unspecified else own
    return host or own or urlsplit(url).hostname or "127.0.0.1"


def call_findings(status: Mapping[str, Any], api: APIClient, host: str, number: str) -> Iterator[Finding]:
    """Place one call to extension ``number``, else to one that echoes, else to the first; yield what was heard."""
    open_ones = [one for one in status["extensions"] if one["actual_porta_ia"] is not None]
    if number:
        open_ones = [one for one in open_ones if one["ramal_ia"] == number]
    if not open_ones:
        wanted = f"extension {number} is" if number else "no extension is"
        yield Finding("bad", f"{wanted} {'not ' if number else ''}listening", "audiosocket status says why")
        return
    chosen, apps = _to_call(open_ones, api)
    address = address_of(chosen["bind"], api.url, host)
    where = f"[{address}]" if ":" in address else address
    target = f"{where}:{chosen['actual_porta_ia']}"
    command = [sys.executable, "-m", "audiosocket.cli", "dial", target, "--seconds", str(TALK_SECONDS), "--json"]
    try:
        # An own process, as this one has no reactor. The address is in the status of our own server.
        done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS, check=False)  # noqa: S603
        (call,) = json.loads(done.stdout)["calls"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        yield Finding("bad", f"no call could be placed to {target}: {error}", f"try audiosocket dial {target}")
        return
    yield from heard(call, apps, f"extension {chosen['ramal_ia']} at {target}")


def _to_call(extensions: Sequence[Mapping[str, Any]], api: APIClient) -> tuple[Mapping[str, Any], list[str]]:
    first: list[str] = []
    for one in extensions[:MAX_ASKED]:
        try:
            apps = list(api.get(f"/api/extensions/{one['id']}/apps")["visitor"]["apps"])
        except (Refused, Unreachable):
            apps = []
        if "echo" in apps:
            return one, apps
        first = first or apps
    return extensions[0], first


def heard(call: Mapping[str, Any], apps: Iterable[str], where: str) -> Iterator[Finding]:
    """Yield what the JSON of ``dial`` says of a call to ``where``, whose legs run ``apps``."""
    if call["ended_by"] == "failed":
        yield Finding("bad", f"{where}: {call['broken'][0]['sentence']}", _FIREWALL)
        return
    if call["refused"]:
        cure = "the log of the server says why; compare ALLOWED_PEERS with the address of this machine"
        yield Finding("bad", f"{where}: the call was refused before any audio", cure)
        return
    yield Finding(
        "ok",
        f"{where}: the UUID was accepted; first frame after {call['first_frame_ms'] or 0:.0f} ms, "
        f"{call['frames_heard']} frames of slin at {call['heard_rate']} Hz",
    )
    for broken in call["broken"]:
        yield Finding("bad", f"{where}: {broken['sentence']}", "Asterisk would end this call; report it")
    names = list(apps)
    if call["echo"] is not None:
        yield Finding("ok", f"what was said came back after {call['echo']['delay_ms']:.0f} ms")
    elif "echo" in names and call["echo_sought"]:
        yield Finding(
            "bad", "what was said did not come back, although the app is echo", "read the log of the server"
        )
    elif call["seconds_sound"] == 0 and "silence" not in names:
        yield Finding(
            "warn",
            f"only silence was heard from {'+'.join(names) or 'its app'}",
            "look at the app's prompts or its bot, and into the timeline: audiosocket calls --all",
        )
    if call["late_frames"] and call["own_lateness_ms"] < 20:
        yield Finding(
            "warn",
            f"{count(call['late_frames'], 'frame')} came late, the largest gap {call['largest_gap_ms']:.0f} ms",
            "look at the network and at the load of the server",
        )
