"""The checks of ``audiosocket doctor``, by name. Each blocks, and changes nothing; one of them places a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from audiosocket import __version__
from audiosocket.cli import reach
from audiosocket.cli.api import APIClient, Refused, Unreachable
from audiosocket.cli.check import check, usable_settings
from audiosocket.cli.dialplan_check import dialplan_findings
from audiosocket.cli.disk import disk_findings
from audiosocket.cli.findings import Finding
from audiosocket.cli.outside import call_findings, port_findings
from audiosocket.cli.texts import count
from audiosocket.settings import Settings

#: Above this the loop was late enough to be heard, in milliseconds.
LATE_MS = 100.0


@dataclass(frozen=True)
class Subject:
    """What is looked at: ``values`` are the settings as given, ``names`` all names in environment and ``.env``.

    ``host`` is where the ports of extensions are reached, ``extension`` the number that is called; either may be
    empty.
    """

    values: Mapping[str, str]
    names: Iterable[str]
    api: APIClient
    host: str = ""
    extension: str = ""

    @cached_property
    def settings(self) -> Settings | None:
        """The settings without the wrong ones, None where they cannot be used at all."""
        return usable_settings(self.values)[0]

    @cached_property
    def session(self) -> Mapping[str, Any] | Refused | Unreachable:
        """``GET /session``, or why the API does not give it."""
        try:
            answer: Mapping[str, Any] = self.api.get("/session")
        except (Refused, Unreachable) as error:
            return error
        return answer

    @cached_property
    def status(self) -> Mapping[str, Any] | None:
        """``GET /api/status``, None where the API does not give it."""
        try:
            answer: Mapping[str, Any] = self.api.get("/api/status")
        except (Refused, Unreachable):
            return None
        return answer


def _settings(subject: Subject) -> Iterator[Finding]:
    yield from check(subject.values, subject.names, lambda: subject.values)


def _disk(subject: Subject) -> Iterator[Finding]:
    if subject.settings is not None:
        yield from disk_findings(subject.settings)


def _api(subject: Subject) -> Iterator[Finding]:
    """Look at whether the API answers, the token is accepted, and what it allows."""
    url = subject.api.url
    session = subject.session
    if isinstance(session, Unreachable):
        yield Finding("bad", str(session), "without the API little can be looked at")
        return
    if isinstance(session, Refused):
        cure = "compare the token with API_TOKEN or API_TOKENS_FILE of the server"
        yield Finding("bad", f"{url}: {session}", cure)
        return
    if not session["token_required"]:
        yield Finding("ok", f"{url} answers; it asks for no token")
    elif session["scope"] == "read":
        yield Finding(
            "warn",
            f"{url} answers; the token {session['name']} may only read",
            "hangup and refresh need a token with the scope operate",
        )
    else:
        yield Finding("ok", f"{url} answers; the token {session['name']} has the scope {session['scope']}")
    running = (subject.status or {}).get("version", __version__)
    if running != __version__:
        yield Finding(
            "warn", f"the server runs version {running}, this command is {__version__}", "restart the server"
        )


def _process(subject: Subject) -> Iterator[Finding]:
    """Look at whether the audio clock runs, and the listeners are as the table says."""
    for path, good in (
        ("/healthz", "the audio clock runs"),
        ("/readyz", "the listeners are as configured"),
    ):
        try:
            subject.api.get(path)
        except Refused as error:
            yield Finding("bad", f"{path}: {error}", "the log of the server says more")
        except Unreachable:
            return
        else:
            yield Finding("ok", good)
    if subject.status is None:
        return
    reactor = subject.status["reactor"]
    late = reactor["lag_ms_worst_10s"]
    if late < LATE_MS:  # else it is among the problems, with its cause
        yield Finding("ok", f"the event loop was at most {late:.1f} ms late within 10 s")
    if reactor["stood_still_times"]:
        times = count(reactor["stood_still_times"], "time")
        yield Finding(
            "warn",
            f"the process stood still {times} since its start",
            "look for a machine that is suspended, or has too little memory or processor time",
        )


def _problems(subject: Subject) -> Iterator[Finding]:
    """Yield what the server itself reports."""
    try:
        problems = subject.api.get("/api/problems")["problems"]
    except (Refused, Unreachable):
        return
    for problem in problems:
        detail = f" {problem['detail']}" if problem["detail"] else ""
        yield Finding(problem["level"], f"{problem['what']}{detail}", problem["cure"])
    if not problems:
        yield Finding("ok", "the server reports no problem")


def _ports(subject: Subject) -> Iterator[Finding]:
    if subject.status is not None:
        yield from port_findings(subject.status, subject.api, subject.host)


def _call(subject: Subject) -> Iterator[Finding]:
    if subject.status is not None:
        yield from call_findings(subject.status, subject.api, subject.host, subject.extension)


def _configured(
    look: Callable[[Settings], Iterator[Finding]], field: str
) -> Callable[[Subject], Iterator[Finding]]:
    def findings(subject: Subject) -> Iterator[Finding]:
        if subject.settings is None:
            return
        if getattr(subject.settings, field):
            yield from look(subject.settings)
        else:
            yield Finding("ok", f"{field.upper()} is not set: not looked at")

    return findings


def _dialplan(subject: Subject) -> Iterator[Finding]:
    if subject.settings is None:
        return
    if not subject.settings.ami_host:
        yield Finding("ok", "AMI_HOST is not set: Asterisk cannot be asked for its dialplan")
    elif subject.status is not None:
        yield from dialplan_findings(subject.settings, subject.status["extensions"])


def _webhook(subject: Subject) -> Iterator[Finding]:
    if subject.settings is not None:
        found = list(reach.webhooks(subject.settings))
        yield from found or [Finding("ok", "no webhook is configured")]


#: In the order in which they are looked at.
CHECKS: Mapping[str, Callable[[Subject], Iterator[Finding]]] = {
    "settings": _settings,
    "disk": _disk,
    "api": _api,
    "process": _process,
    "problems": _problems,
    "ports": _ports,
    "call": _call,
    "database": _configured(reach.database, "db_host"),
    "ami": _configured(reach.ami, "ami_host"),
    "ari": _configured(reach.ari, "ari_url"),
    "webhook": _webhook,
    "dialplan": _dialplan,
}
