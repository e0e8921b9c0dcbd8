"""What is wrong now: each kind is found, named with its cure, and gone with its cause."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest

from admin.problems import _TEXTS, RECENT_SECONDS, find_problems
from audiosocket.json_shapes import CurrentProblemJSON, StatusJSON
from tests.support.admin_client import HEALTHY, AdminClient

DOCUMENT = Path(__file__).parents[2] / "docs" / "http-api.md"
EXTENSION = {
    "id": 7,
    "ramal_ia": "1007",
    "porta_ia": 8080,
    "porta_retorno": None,
    "state": "listening",
    "reason": "",
}
FLEET: dict[str, Any] = {
    "node": "n1",
    "url": "http://n1:8082",
    "url_is_local": False,
    "name_shared": False,
    "nodes": {"ready": 2, "gone": 1},
    "database": {
        "state": "up",
        "since_seconds": 61.2,
        "reason": "",
        "waiting": 5,
        "written_total": 7,
        "dropped_total": 10,
        "refused_total": 4,
    },
}
#: Changes of a healthy status, and the keys of the problems that they are.
CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"database": {"configured": False, "state": "off", "reason": "DB_HOST is not set"}}, []),
    (
        {"database": {"configured": True, "state": "down", "reason": "refused", "since_seconds": 61.2}},
        ["databaseAway"],
    ),
    ({"database": {"configured": True, "state": "up", "reason": "no such table"}}, ["databaseUnreadable"]),
    ({"extensions": [{**EXTENSION, "state": "degraded", "reason": "in use"}]}, ["portAlternative"]),
    ({"extensions": [{**EXTENSION, "state": "failed", "reason": "no address"}]}, ["extensionFailed"]),
    ({"mislabelled_codecs": {"7": "ulaw"}}, ["codec"]),
    ({"mislabelled_codecs": {"99": "unknown"}}, ["codec"]),
    ({"last_refresh": {"result": "applied", "reason": "", "rejected_rows": []}}, []),
    (
        {"last_refresh": {"result": "applied", "reason": "", "rejected_rows": [{"id": 9, "reason": "taken"}] * 2}},
        ["rowRejected", "rowRejected"],
    ),
    ({"last_refresh": {"result": "held_back", "reason": "1 of 9", "rejected_rows": []}}, ["refreshHeldBack"]),
    ({"last_refresh": {"result": "failed", "reason": "timeout", "rejected_rows": []}}, ["refreshFailed"]),
    ({"configuration": {"source": "file", "file_trouble": ""}}, ["fromFile"]),
    ({"configuration": {"source": "database", "file_trouble": "no space"}}, ["fileTrouble"]),
    ({"storage": [{"what": "journal", "reason": "no space"}]}, ["notWritten"]),
    ({"storage": [{"what": "local_file", "reason": "no space"}]}, []),
    ({"apps": {"file": "apps.toml", "state": "rejected", "line": 3, "reason": "no app"}}, ["appsRejected"]),
    ({"api_tokens": {"state": "rejected", "reason": "line 1"}}, ["tokensRejected"]),
    (
        {"events_webhook": {"state": "failing", "reason": "HTTP 502", "waiting": 7, "dropped_total": 0}},
        ["eventsAway"],
    ),
    ({"reactor": {"lag_ms_worst_10s": 150.4, "blocked_by": []}}, ["reactorLate"]),
    ({"open_files": {"used": 799, "limit": 1000, "accepting": True}}, []),
    ({"open_files": {"used": 800, "limit": 1000, "accepting": True}}, ["openFiles"]),
    ({"open_files": {"used": 1000, "limit": 1000, "accepting": False}}, ["filesExhausted"]),
    ({"return_backend": {"kind": "ari", "state": "failing", "reason": "401"}}, ["backendAway"]),
    (
        {"return_backend": {"kind": "ari", "state": "up", "reason": "", "ami": {"state": "down", "reason": "no"}}},
        ["callersUnknown"],
    ),
    ({"fleet_ports": {"range": "8101-8300", "outside": [7, 9]}}, ["portOutside", "portOutside"]),
    ({"fleet": {**FLEET, "url": "http://127.0.0.1:8082", "url_is_local": True}}, ["nodeUrlLocal"]),
    ({"drain": {"active": True, "since": "2026-01-31T10:15:23Z"}}, ["nodeDrains"]),
    ({"fleet": {**FLEET, "name_shared": True}}, ["nodeNameShared"]),
    ({"fleet": FLEET, "fleet_calls": {"waiting": 2, "dropped_total": 3}}, []),
    ({"fleet": {**FLEET, "database": {**FLEET["database"], "state": "down"}}}, ["fleetAway"]),
    ({"fleet": {**FLEET, "database": {**FLEET["database"], "reason": "no rights"}}}, ["fleetRefused"]),
    ({"workers": [{"index": 0, "state": "up"}, {"index": 1, "state": "down"}]}, ["workerDown"]),
]


def found(*recent: dict[str, Any], **changes: Any) -> list[CurrentProblemJSON]:
    status = {**HEALTHY, "extensions": [EXTENSION], **changes}
    return find_problems(cast("StatusJSON", status), recent)


def test_rows_and_calls_that_wait_or_were_dropped_are_added() -> None:
    fleet = {**FLEET, "database": {**FLEET["database"], "state": "down"}}
    (problem,) = found(fleet=fleet, fleet_calls={"waiting": 2, "dropped_total": 3})
    assert problem["values"] == {"seconds": 61, "waiting": 7, "dropped": 13}


@pytest.mark.parametrize(("changes", "keys"), CASES)
def test_each_problem_is_found(changes: dict[str, Any], keys: list[str]) -> None:
    problems = found(**changes)
    assert [problem["key"] for problem in problems] == keys
    for problem in problems:
        assert problem["cure"]
        assert "{" not in problem["what"]


def test_a_problem_says_what_it_is_about() -> None:
    (problem,) = found(extensions=[{**EXTENSION, "state": "degraded", "reason": "listening on 8090 instead"}])
    assert (problem["extension"], problem["detail"]) == (7, "listening on 8090 instead")
    assert "Extension 1007" in problem["what"]
    blocked = [
        {"where": "app.py:5", "times": 1, "worst_ms": 70},
        {"where": "app.py:9", "times": 1, "worst_ms": 140},
    ]
    (problem,) = found(reactor={"lag_ms_worst_10s": 150.4, "blocked_by": blocked})
    assert problem["detail"] == "app.py:9 (140 ms)"
    assert problem["values"] == {"ms": 150}


def test_the_worst_comes_first() -> None:
    problems = found(
        configuration={"source": "file", "file_trouble": ""},
        database={"configured": True, "state": "down", "reason": "refused"},
    )
    assert [problem["level"] for problem in problems] == ["bad", "warn"]


def test_events_of_calls_are_problems_of_their_extension() -> None:
    events = [
        {"event": "bot.ended", "extension": 7, "number": "1007", "reason": "first"},
        {"event": "bot.ended", "extension": 7, "number": "1007", "reason": "connection refused"},
        {"event": "recording.failed", "extension": 7, "number": "1007", "reason": "no space"},
        {"event": "gate.failed", "extension": 8, "number": "1008", "reason": "no answer"},
        {"event": "call.ended", "extension": 7, "number": "1007"},
    ]
    shown = [(each["key"], each["extension"], each["detail"]) for each in found(*events)]
    assert shown == [
        ("botAway", 7, "connection refused"),
        ("storage", 7, "no space"),
        ("gateFailed", 8, "no answer"),
    ]


@pytest.mark.parametrize(
    ("wrong", "over"),
    [
        ("bot.ended", "bot.connected"),
        ("app.replaced", "bot.connected"),
        ("recording.failed", "recording.ended"),
        ("gate.failed", "gate.opened"),
    ],
)
def test_what_works_again_is_no_problem_any_more(wrong: str, over: str) -> None:
    failed = {"event": wrong, "extension": 7, "number": "1007", "reason": "refused"}
    other = {"event": over, "extension": 8, "number": "1008"}
    works = {"event": over, "extension": 7, "number": "1007"}
    assert len(found(works, failed, other)) == 1
    assert found(failed, works) == []


def test_the_route_takes_problems_back_when_they_are_over() -> None:
    web = AdminClient()
    assert web.request("GET", "/api/problems").json() == {"status": "success", "total": 0, "problems": []}
    web.feed.publish({"event": "bot.ended", "extension": 0, "number": "1000", "reason": "refused"})
    web.now += RECENT_SECONDS - 1
    assert web.request("GET", "/api/problems").json()["total"] == 1
    web.now += 2
    assert web.request("GET", "/api/problems").json()["total"] == 0


def test_every_key_is_tested_and_documented() -> None:
    seen = {key for _, keys in CASES for key in keys} | {"botAway", "storage", "gateFailed"}
    assert seen == set(_TEXTS)
    section = DOCUMENT.read_text(encoding="utf-8").partition("### `GET /api/problems`")[2].partition("\n### ")[0]
    assert set(re.findall(r"`([a-z]+[A-Z][A-Za-z]+|codec|storage)`", section)) == seen
