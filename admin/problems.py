"""What is wrong now, from the status of the server and its latest events.

Pure: values in, a list of problems out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from audiosocket.json_shapes import CurrentProblemJSON, StatusJSON

#: The reactor is reported when it was this late within the last 10 s, in milliseconds: callers hear gaps.
LATE_MS = 100.0
#: The share of the file descriptors from which on it is reported.
FULL_SHARE = 0.8
#: Events that say that something of a call does not work are reported for this long, in seconds.
RECENT_SECONDS = 60.0

#: Key to level, what is wrong, and what to do; in braces the names of values.
_TEXTS: Mapping[str, tuple[str, str, str]] = {
    "databaseAway": (
        "bad",
        "PostgreSQL has not been reachable for {seconds} s. Calls go on; changes of the table are not seen.",
        "Start PostgreSQL, or correct DB_HOST, DB_USER and DB_PASSWORD.",
    ),
    "databaseUnreadable": (
        "bad",
        "PostgreSQL is connected, but the table cannot be read.",
        "Run python -m audiosocket.schema, and give DB_USER the right to read the table.",
    ),
    "portAlternative": (
        "bad",
        "Extension {name} listens on another port than its row says: Asterisk does not reach it.",
        "Stop the program that has the port; it is taken within a second of being free.",
    ),
    "portOutside": (
        "bad",
        "Extension {name} has a port outside FLEET_PORTS ({range}): the balancer passes no call on.",
        "Give it a port inside, or change the balancer and FLEET_PORTS.",
    ),
    "extensionFailed": (
        "bad",
        "Extension {name} does not listen.",
        "Free its port, or change the port or the address of its row.",
    ),
    "rowRejected": ("bad", "The row {name} of the table is not used.", "Correct the row."),
    "refreshFailed": (
        "bad",
        "The table could not be read at the last refresh. What ran before goes on.",
        "The reason says what to correct.",
    ),
    "refreshHeldBack": (
        "bad",
        "The table has lost most of its rows, so that nothing was changed.",
        "Restore the rows, or apply the table with force.",
    ),
    "fromFile": (
        "warn",
        "The running extensions come from the local file, not from the table.",
        "It ends by itself once the database answers.",
    ),
    "fileTrouble": (
        "warn",
        "The local file of extensions cannot be used.",
        "Correct or remove the file, and check that DATA_DIR is writable and not full.",
    ),
    "notWritten": (
        "bad",
        "The {file} cannot be written. Calls go on.",
        "Make room on the disk, and check that LOG_DIR and DATA_DIR are there and writable.",
    ),
    "appsRejected": (
        "bad",
        "{file} has an error in line {line}; the rules before it stay in use.",
        "Correct the line.",
    ),
    "tokensRejected": (
        "bad",
        "API_TOKENS_FILE cannot be used as it is now; the tokens that were read before stay in force.",
        "Correct the line or the rights of the file.",
    ),
    "eventsAway": (
        "warn",
        "The program at EVENTS_WEBHOOK_URL does not take events: {waiting} wait, {dropped} were dropped.",
        "Start the program, or correct EVENTS_WEBHOOK_URL and EVENTS_WEBHOOK_SECRET. It is tried again by itself.",
    ),
    "reactorLate": (
        "bad",
        "The server was {ms} ms late within the last 10 s; callers hear gaps.",
        "Remove what blocks it, or set WORKERS.",
    ),
    "openFiles": (
        "warn",
        "{used} of {limit} file descriptors are open; at the limit no new call is accepted.",
        "Raise LimitNOFILE of the service, or ulimit -n.",
    ),
    "filesExhausted": (
        "bad",
        "No file descriptors are left: new calls wait. {used} of {limit} are open.",
        "Raise LimitNOFILE of the service, or ulimit -n.",
    ),
    "backendAway": (
        "bad",
        "Return calls cannot be placed: {kind} does not work.",
        "Check that it runs, its account and its address.",
    ),
    "callersUnknown": (
        "warn",
        "AMI does not work, so that callers are not known.",
        "Check AMI_HOST and AMI_USER.",
    ),
    "codec": (
        "bad",
        "The audio of extension {name} is {codec}, not slin.",
        "Put c(slin) into the Dial or AudioSocket application of the dialplan.",
    ),
    "nodeUrlLocal": (
        "warn",
        "Other nodes do not reach the API of this one at {url}: they do not show its calls.",
        "Set API_HOST to an address that they reach, and API_TOKEN; or NODE_URL.",
    ),
    "nodeDrains": (
        "warn",
        "This node drains: the balancer sends it no new calls.",
        "Stop it once it has no calls, or end the drain: audiosocket drain --cancel.",
    ),
    "nodeNameShared": (
        "bad",
        "Another node is called {name}, too: commands go to one of them, and calls are mistaken for the other's.",
        "Give each node a NODE_NAME of its own, and restart it.",
    ),
    "fleetAway": (
        "bad",
        "The database of the fleet has not been reachable for {seconds} s. This node goes on alone. "
        "{waiting} rows wait, {dropped} were dropped.",
        "Start PostgreSQL, and connect the node to it directly or through a pooler with pool_mode=session.",
    ),
    "fleetRefused": (
        "bad",
        "PostgreSQL refuses rows of the fleet: {refused} until now.",
        "Run audiosocket schema --fleet, and give DB_USER the rights on the tables of the fleet.",
    ),
    "workerDown": ("bad", "Worker {index} is being replaced; its calls may resume.", "The log says why it ended."),
    "botAway": (
        "bad",
        "A bot of extension {name} could not be used within the last minute.",
        "Check that the bot runs, and its URL in apps.toml.",
    ),
    "storage": (
        "bad",
        "A recording of extension {name} could not be written within the last minute.",
        "Check the space and the rights of RECORD_DIR and DATA_DIR.",
    ),
    "gateFailed": (
        "bad",
        "The gate of extension {name} did not confirm within the last minute.",
        "Open it by hand, and check the gate and what opens it.",
    ),
}
#: Events of calls that say that something does not work, and the keys of their problems.
_EVENTS = {
    "bot.ended": "botAway",
    "app.replaced": "botAway",
    "recording.failed": "storage",
    "gate.failed": "gateFailed",
}
#: Events that say that it works again.
_OVER = {
    "bot.connected": "botAway",
    "recording.ended": "storage",
    "gate.opened": "gateFailed",
}
_NOT_WORKING = ("failing", "down")


def find_problems(status: StatusJSON, recent: Iterable[Mapping[str, Any]]) -> list[CurrentProblemJSON]:
    """Return what is wrong, the worst first; ``recent`` are the events of the last `RECENT_SECONDS`."""
    found = [
        *_of_table(status),
        *_of_extensions(status),
        *_of_process(status),
        *_of_fleet(status),
        *_of_events(recent),
    ]
    return sorted(found, key=lambda problem: problem["level"] != "bad")


def _of_table(status: StatusJSON) -> Iterator[CurrentProblemJSON]:
    database, refresh = status["database"], status["last_refresh"]
    if database["configured"] and database["state"] != "up":
        yield _problem("databaseAway", database["reason"], seconds=round(database.get("since_seconds", 0.0)))
    elif database["configured"] and database["reason"]:
        yield _problem("databaseUnreadable", database["reason"])
    if refresh is not None:
        for row in refresh["rejected_rows"]:
            yield _problem("rowRejected", row["reason"], name="?" if row["id"] is None else row["id"])
        if refresh["result"] == "held_back":
            yield _problem("refreshHeldBack", refresh["reason"])
        if refresh["result"] == "failed" and database["state"] == "up":
            yield _problem("refreshFailed", refresh["reason"])
    configuration, apps = status["configuration"], status["apps"]
    if configuration["source"] == "file" and database["configured"]:
        yield _problem("fromFile")
    if configuration["file_trouble"]:
        yield _problem("fileTrouble", configuration["file_trouble"])
    if apps["state"] == "rejected":
        yield _problem("appsRejected", apps["reason"] or "", file=apps["file"], line=apps["line"] or "?")
    if status["api_tokens"]["state"] == "rejected":
        yield _problem("tokensRejected", status["api_tokens"]["reason"])


def _of_extensions(status: StatusJSON) -> Iterator[CurrentProblemJSON]:
    names = {}
    for each in status["extensions"]:
        names[each["id"]] = each["ramal_ia"]
        if each["state"] != "listening":
            key = "portAlternative" if each["state"] == "degraded" else "extensionFailed"
            ports = {"porta_ia": each["porta_ia"], "porta_retorno": each["porta_retorno"]}
            yield _problem(key, each["reason"], each["id"], name=each["ramal_ia"], **ports)
    fleet_ports = status["fleet_ports"]
    for outside in fleet_ports["outside"]:
        yield _problem(
            "portOutside", "", outside, name=names.get(outside, str(outside)), range=fleet_ports["range"]
        )
    for text, codec in status["mislabelled_codecs"].items():
        extension = int(text)
        yield _problem("codec", "", extension, name=names.get(extension, text), codec=codec)


def _of_process(status: StatusJSON) -> Iterator[CurrentProblemJSON]:
    reactor, backend = status["reactor"], status["return_backend"]
    if reactor["lag_ms_worst_10s"] >= LATE_MS:
        worst = max(reactor["blocked_by"], key=lambda cause: cause["worst_ms"], default=None)
        detail = "" if worst is None else f"{worst['where']} ({worst['worst_ms']} ms)"
        yield _problem("reactorLate", detail, ms=round(reactor["lag_ms_worst_10s"]))
    files = status["open_files"]
    if not files["accepting"] or files["used"] >= FULL_SHARE * files["limit"]:
        key = "openFiles" if files["accepting"] else "filesExhausted"
        yield _problem(key, used=files["used"], limit=files["limit"])
    if backend["state"] in _NOT_WORKING:
        yield _problem("backendAway", backend["reason"], kind=backend["kind"])
    webhook = status["events_webhook"]
    if webhook["state"] in _NOT_WORKING:
        yield _problem(
            "eventsAway", webhook["reason"], waiting=webhook["waiting"], dropped=webhook["dropped_total"]
        )
    ami = backend.get("ami")
    if ami is not None and ami["state"] in _NOT_WORKING:
        yield _problem("callersUnknown", ami["reason"])
    if status["drain"]["active"]:
        yield _problem("nodeDrains", status["drain"]["since"] or "")
    workers: Any = status.get("workers", ())
    for trouble in status["storage"]:
        if trouble["what"] != "local_file":  # that has a problem of its own
            yield _problem("notWritten", trouble["reason"], file=trouble["what"])
    for worker in workers:
        if worker["state"] == "down":
            yield _problem("workerDown", index=worker["index"])


def _of_fleet(status: StatusJSON) -> Iterator[CurrentProblemJSON]:
    fleet, calls = status["fleet"], status["fleet_calls"]
    database = fleet["database"]
    if fleet["name_shared"]:
        yield _problem("nodeNameShared", name=fleet["node"])
    if fleet["url_is_local"]:
        yield _problem("nodeUrlLocal", url=fleet["url"])
    if database is None:
        return
    if database["state"] != "up":
        yield _problem(
            "fleetAway",
            database["reason"],
            seconds=round(database["since_seconds"]),
            waiting=database["waiting"] + (0 if calls is None else calls["waiting"]),
            dropped=database["dropped_total"] + (0 if calls is None else calls["dropped_total"]),
        )
    elif database["reason"]:
        yield _problem("fleetRefused", database["reason"], refused=database["refused_total"])


def _of_events(recent: Iterable[Mapping[str, Any]]) -> Iterator[CurrentProblemJSON]:
    """Yield one problem for each kind and extension, with the latest reason, unless it worked since."""
    last: dict[tuple[str, Any], Mapping[str, Any]] = {}
    for event in recent:
        name, extension = event["event"], event.get("extension")
        if name in _EVENTS:
            last[_EVENTS[name], extension] = event
        elif name in _OVER:
            last.pop((_OVER[name], extension), None)
    for (key, extension), event in last.items():
        yield _problem(key, str(event.get("reason", "")), extension, name=event.get("number", "?"))


def _problem(key: str, detail: str = "", extension: int | None = None, **values: Any) -> CurrentProblemJSON:
    level, what, cure = _TEXTS[key]
    return {
        "key": key,
        "level": level,
        "what": what.format(**values),
        "cure": cure,
        "detail": detail,
        "values": values,
        "extension": extension,
    }
