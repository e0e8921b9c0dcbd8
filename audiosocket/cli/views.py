"""Answers of the HTTP API as texts for a person, in 80 columns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from audiosocket.cli.texts import Style, count, duration, local_time, paragraph, table

_PLACES = {"database": "the database", "file": "the local file", "default": "the built-in default"}
_STATE_KINDS = {"listening": "good", "degraded": "warn", "failed": "bad"}
#: Fields of a timeline's entry that are shown in columns of their own.
_COLUMNS = {"event", "at", "ms", "at_seconds"}


def status(answer: Mapping[str, Any], problems: Iterable[Mapping[str, Any]], style: Style) -> Iterator[str]:
    """Yield the server at a glance: its parts, its extensions, and what is wrong now."""
    extensions, configuration = answer["extensions"], answer["configuration"]
    live, suspended = answer["live_calls"], answer["suspended_calls"]
    yield style.paint(f"audiosocket {answer['version']}", "strong") + f", up {duration(answer['uptime_seconds'])}"
    ended = f", {suspended} suspended" if suspended else ""
    yield f"  calls          {live} live{ended}, {answer['calls_total']} since the start"
    age = "" if configuration["age_seconds"] is None else f", read {duration(configuration['age_seconds'])} ago"
    place = _PLACES.get(configuration["source"], configuration["source"])
    yield f"  extensions     {count(len(extensions), 'extension')} from {place}{age}"
    for name, part in (("database", answer["database"]), ("return calls", answer["return_backend"])):
        kind = f"{part['kind']}, " if part.get("kind", "none") != "none" else ""
        reason = f": {part['reason']}" if part["reason"] else ""
        yield from paragraph(f"{kind}{part['state']}{reason}", f"  {name:<15}")
    yield f"  event loop     {answer['reactor']['lag_ms_worst_10s']:.1f} ms late at most in the last 10 s"
    for worker in answer.get("workers", ()):
        yield f"  worker {worker['index']:<8}{worker['state']}, {count(worker['live_legs'], 'live leg')}"
    if extensions:
        yield ""
        yield from _extensions(extensions, style)
    yield ""
    yield from _problems(problems, style)


def _extensions(extensions: Sequence[Mapping[str, Any]], style: Style) -> Iterator[str]:
    head = ("ID", "NUMBER", "RETURN", "VISITORS", "RESIDENTS", "CALLS", "STATE")
    rows = [
        (
            each["id"],
            each["ramal_ia"],
            each["ramal_retorno"],
            _port(each["porta_ia"], each["actual_porta_ia"]),
            _port(each["porta_retorno"], each["actual_porta_retorno"]),
            each["live_calls"],
            each["state"],
        )
        for each in extensions
    ]
    first, *lines = table(head, rows, right=(0, 5))
    yield style.paint(first, "strong")
    for each, line in zip(extensions, lines, strict=True):
        state = each["state"]
        yield line.removesuffix(state) + style.paint(state, _STATE_KINDS.get(state, "warn"))


def _port(configured: int | None, actual: int | None) -> str:
    if configured is None or configured == actual:
        return "-" if configured is None else str(configured)
    return f"{configured} closed" if actual is None else f"{configured} on {actual}"


def _problems(problems: Iterable[Mapping[str, Any]], style: Style) -> Iterator[str]:
    found = list(problems)
    if not found:
        yield style.paint("Nothing is wrong.", "good")
        return
    yield style.paint("Wrong now:", "strong")
    for problem in found:
        first, *rest = paragraph(problem["what"], f"  {problem['level']:<6}")
        yield f"  {style.paint(problem['level'], problem['level'])}{first[2 + len(problem['level']) :]}"
        yield from rest
        if problem["detail"]:
            yield from paragraph(problem["detail"], "        ")
        yield from paragraph(problem["cure"], "        -> ")


def nodes(found: Sequence[Mapping[str, Any]], asked: str, style: Style) -> Iterator[str]:
    """Yield a table of the nodes of a fleet; ``asked`` is the name of the one that has answered."""
    rows = [
        (
            f"{node['name']} *" if node["name"] == asked else node["name"],
            node["state"],
            node["version"],
            node["calls"],
            duration(node["seen_seconds_ago"]),
            node["generation"],
        )
        for node in found
    ]
    first, *lines = table(("NODE", "STATE", "VERSION", "CALLS", "SEEN", "EXTENSIONS"), rows, right=(3, 4))
    yield style.paint(first, "strong")
    yield from lines
    yield ""
    alive = [node for node in found if node["state"] != "gone"]
    same = len({node["generation"] for node in alive}) < 2
    yield f"{count(len(found), 'node')}, {len(alive)} of them alive; * answered." + (
        "" if same else " They do not run the same extensions."
    )


def node_answers(command: Mapping[str, Any], style: Style) -> Iterator[str]:
    """Yield what became of a command on each node."""
    for one in command["results"]:
        kind = "good" if one["done"] else "bad"
        text = f"{one['node']}: {one['message']}"
        first, *rest = paragraph(text, f"{'done' if one['done'] else 'failed':<8}")
        word = first.split(" ", 1)[0]
        yield style.paint(word, kind) + first[len(word) :]
        yield from rest
    for name in command["missing"]:
        yield style.paint("missing", "bad") + f" {name}: no answer within 2 s; it may still do it"
    if not command["results"] and not command["missing"]:
        yield "No node was there."


def calls(found: Sequence[Mapping[str, Any]], style: Style) -> Iterator[str]:
    """Yield tables of calls: those that are live or suspended, then those that have ended."""
    for ended in (False, True):
        rows = [_call_row(call) for call in found if (call["state"] == "ended") is ended]
        if rows:
            first, *lines = table(("CALL", "EXT", "TIME", "LEGS", "ENDED" if ended else "CALLER"), rows)
            yield style.paint(first, "strong")
            yield from lines
            yield ""
    yield _calls_line(found)


def _calls_line(found: Sequence[Mapping[str, Any]]) -> str:
    numbers = {state: sum(call["state"] == state for call in found) for state in ("live", "suspended", "ended")}
    return ", ".join(f"{number} {state}" for state, number in numbers.items() if number) or "No calls."


def _call_row(call: Mapping[str, Any]) -> tuple[object, ...]:
    roles = [leg["role"] for leg in call["legs"]]
    caller = call["caller"] or {}
    last = call["outcome"] if call["state"] == "ended" else caller.get("number") or caller.get("channel")
    if call["state"] == "suspended":
        last = "suspended"
    legs = "both" if len(set(roles)) > 1 else next(iter(roles), "")
    return (call["call_id"], call["extension"]["ramal_ia"], duration(call["duration_seconds"]), legs, last)


def call(found: Mapping[str, Any], style: Style) -> Iterator[str]:
    """Yield one call: its legs, its return calls and its timeline."""
    state = found["state"] if found["outcome"] is None else f"{found['state']}, {found['outcome']}"
    extension, caller = found["extension"], found["caller"]
    yield style.paint(f"Call {found['call_id']}", "strong")
    yield f"  state          {state}"
    yield f"  extension      {extension['ramal_ia']} (id {extension['id']})"
    yield f"  started        {local_time(found['started_at'])}, lasted {duration(found['duration_seconds'])}"
    if caller is not None:
        name = f" ({caller['name']})" if caller["name"] else ""
        yield from paragraph(f"{caller['number'] or 'no number'}{name}, {caller['channel']}", "  caller         ")
    for one in (*found["earlier_returns"], *([found["return"]] if found["return"] else [])):
        reason = f": {one['reason']}" if one["reason"] else ""
        yield from paragraph(f"{one['state']}{reason}", "  return call    ")
    yield ""
    head = ("LEG", "PEER", "STATE", "TIME", "IN", "OUT", "LATE", "UNDERRUNS")
    legs = [
        (
            leg["role"],
            leg["peer"],
            leg["outcome"] or leg["state"],
            duration(leg["duration_seconds"]),
            leg["frames_in"],
            leg["frames_out"],
            leg["late_turns"],
            leg["underruns"],
        )
        for leg in found["legs"]
    ]
    yield from table(head, legs, right=(4, 5, 6, 7))
    timeline = found.get("timeline", ())
    if timeline:
        yield ""
        yield from (line for entry in timeline for line in _entry(entry))


def _entry(entry: Mapping[str, Any]) -> list[str]:
    fields = ", ".join(f"{key} {value}" for key, value in entry.items() if key not in _COLUMNS)
    return paragraph(fields or " ", f"{entry.get('at_seconds', 0.0):10.3f}  {entry['event']:<18} ")


def refresh(answer: Mapping[str, Any], style: Style) -> Iterator[str]:
    """Yield what a reading of the table brought, or would bring."""
    words = {
        "applied": ("good", "The table was applied."),
        "unchanged": ("good", "The table was read; nothing has changed."),
        "previewed": ("strong", "Nothing was changed; this is what a refresh would do."),
        "held_back": ("bad", "Nothing was changed: the table has shrunk suspiciously. --force applies it."),
    }
    kind, sentence = words.get(answer["result"], ("bad", f"The result is {answer['result']}."))
    yield style.paint(sentence, kind)
    if answer["reason"]:
        yield from paragraph(answer["reason"], "  ")
    for key in ("added", "updated", "removed"):
        ids = answer["diff"].get(key, [])
        yield from paragraph(f"{len(ids)} ({', '.join(map(str, ids))})" if ids else "0", f"  {key:<9}")
    total = answer["stats"].get("total_active")
    if total is not None:
        yield f"  running  {count(total, 'extension')}"
    for row in answer["rejected_rows"]:
        name = "without an id" if row["id"] is None else row["id"]
        yield from paragraph(
            f"row {name} is not used: {row['reason']}", f"  {style.paint('bad', 'bad')}      ", " " * 11
        )


def apps(origins: Mapping[str, str], style: Style) -> Iterator[str]:
    """Yield the apps that can be named in VISITOR_APP, RESIDENT_APP and apps.toml."""
    first, *lines = table(("APP", "FROM"), sorted(origins.items()))
    yield style.paint(first, "strong")
    yield from lines


def extension_apps(answer: Mapping[str, Any], style: Style) -> Iterator[str]:
    """Yield what the legs of one extension run, and what says so."""
    yield style.paint(f"Extension {answer['extension_id']}", "strong")
    for role in ("visitor", "resident"):
        yield from paragraph(f"{answer[role]['app']}, from {answer[role]['from']}", f"  {role:<10}")
    for name, found in sorted(answer["parameters"].items()):
        values = ", ".join(f"{key} = {value!r}" for key, value in found["values"].items())
        yield from paragraph(f"{values} (from {found['from']})", f"  {name:<10}")
    for name, value in sorted(answer["options"].items()):
        yield f"  {name} = {value!r}"
