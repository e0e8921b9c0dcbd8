"""Whether Asterisk's dialplan leads to the ports of the extensions, as AMI lists it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from audiosocket.cli.ami import AMIConversation, AMIFailed
from audiosocket.cli.findings import Finding
from audiosocket.cli.texts import count
from audiosocket.errors import InvalidSetting, describe_cause
from audiosocket.settings import Settings
from audiosocket.settings_files import read_secret

#: A port behind a host in the data of a dialplan application.
_PORT = re.compile(r"[\]\w.]:([0-9]{1,5})(?![0-9])")
#: Extensions that are named in one finding.
_MAX_NAMED = 10


def dialplan_findings(settings: Settings, extensions: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield what the dialplan lacks for these extensions, as they are in ``/api/status``."""
    where = f"AMI at {settings.ami_host}:{settings.ami_port}"
    try:
        with AMIConversation(settings.ami_host, settings.ami_port) as asterisk:
            if not asterisk.log_in(settings.ami_user, read_secret(settings, "AMI_SECRET")):
                yield Finding("bad", f"{where}: the account was refused", "see the check ami")
                return
            events = asterisk.listing("ShowDialPlan", [], "ShowDialPlanComplete")
            ports = {int(port) for event in events for port in _PORT.findall(event.get("AppData"))}
    except InvalidSetting as error:
        yield Finding("bad", str(error))
        return
    except AMIFailed as error:
        yield Finding(
            "warn",
            f"{where}: the dialplan cannot be read: {error}",
            "give the account write = reporting in manager.conf, if it shall be looked at",
        )
        return
    except OSError as error:
        yield Finding("bad", f"{where}: {describe_cause(error)}", "see the check ami")
        return
    yield from _of_ports(ports, extensions)


def _of_ports(ports: set[int], extensions: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield a finding for visitors and one for residents; ``ports`` are those that the dialplan names."""
    listed = list(extensions)
    visitors = [(one["id"], one["ramal_ia"], one["porta_ia"]) for one in listed]
    residents = [
        (one["id"], one["ramal_ia"], one["porta_retorno"])
        for one in listed
        if one["porta_retorno"] and one["ramal_retorno"]
    ]
    for whose, wanted in (("visitors", visitors), ("residents", residents)):
        missing = [f"{number} (id {key}, port {port})" for key, number, port in wanted if port not in ports]
        if missing:
            more = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
            names = ", ".join(missing[:_MAX_NAMED]) + more
            yield Finding(
                "warn",
                f"no line of Asterisk's dialplan names the port for {whose} of {names}",
                "paste what audiosocket dialplan prints, and reload the dialplan",
            )
        elif wanted:
            yield Finding(
                "ok", f"Asterisk's dialplan leads to the ports for {whose} of {count(len(wanted), 'extension')}"
            )
