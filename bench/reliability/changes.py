"""R1, R2, R3 and R11: what a change of the configuration does to calls."""

from __future__ import annotations

import json
import socket
from functools import partial

from bench import machine
from bench.reliability.live_calls import ECHO, api, calls_beside, closed_port, open_port, within
from bench.reliability.promise import Count, Trial
from bench.servers import Server, ours

#: How soon a change is to be in force, in seconds: the second of the promise, and a busy machine.
SOON = 5.0


def changes_drop_nobody(trial: Trial) -> Count:
    """Ports and numbers change at random, also those that the calls came in on."""
    count = Count()
    with ours(ECHO, extensions=4, core=None) as server, calls_beside(server, count):
        for number in range(trial.times(30, 320)):
            extension = trial.random.randint(1, 4)
            port = machine.free_ports(1)[0]
            body: dict[str, object] = trial.random.choice([{"porta_ia": port}, {"ramal_ia": str(7_000 + number)}])
            status, _ = api(server, f"/api/extensions/{extension}", body, "PUT")
            kept = status == 200 and ("porta_ia" not in body or within(SOON, partial(open_port, port)))
            count.add(kept, f"{body}: {status}")
    return count


def removal_drains(trial: Trial) -> Count:
    """A removed extension takes no new calls, and those that it has go on."""
    count = Count()
    for _ in range(trial.times(2, 20)):
        with ours(ECHO, extensions=2, core=None) as server, calls_beside(server, count):
            status, _ = api(server, "/api/extensions/1", method="DELETE")
            closed = within(SOON, partial(closed_port, server.ports[0]))
            count.add(status == 200 and closed, f"DELETE {status}, port closed: {closed}")
            draining = api(server, "/api/status")[1]["draining"]
            count.add(bool(draining), "the status shows nothing that drains")
    return count


def bad_configuration_changes_nothing(trial: Trial) -> Count:
    """What is no valid extension is refused, through the API and in the local file."""
    count = Count()
    with ours(ECHO, extensions=3, core=None) as server, calls_beside(server, count):
        before = _extensions(api(server, "/api/status")[1])
        for _ in range(trial.times(40, 2_000)):
            port: object = trial.random.choice(
                [0, -5, 70_000, "abc", None, server.ports[0], [], {}, "x" * 1_000, "8\0"]
            )
            status, _ = api(server, "/api/extensions", {"ramal_ia": "99", "porta_ia": port})
            count.add(400 <= status < 500, f"porta_ia {str(port)[:20]!r}: {status}")
        for text in ("", "{", '{"ramais": 5}', '{"ramais": [{"id": 1}]}', "\0" * 500):
            (server.directory / "data" / "ramais_config.json").write_text(text)
            after = _extensions(api(server, "/api/status")[1])
            count.add(after == before, f"the file {text[:20]!r} changed the extensions")
    return count


def port_in_use(trial: Trial) -> Count:
    """An extension whose port is taken is degraded, says so, and gets its port when it is free."""
    count = Count()
    with ours(ECHO, extensions=2, core=None) as server, calls_beside(server, count):
        for number in range(trial.times(2, 20)):
            with socket.socket() as taken:
                taken.bind(("0.0.0.0", 0))
                taken.listen()
                port = taken.getsockname()[1]
                api(server, "/api/extensions", {"ramal_ia": f"5{number}", "porta_ia": port})
                count.add(_state(api(server, "/api/status")[1], port) == "degraded", "not degraded")
            regained = within(SOON, partial(_listens, server, port))
            count.add(regained, f"port {port} was not taken back")
    return count


def _extensions(status: object) -> str:
    assert isinstance(status, dict)
    return json.dumps([{**row, "live_calls": 0} for row in status["extensions"]], sort_keys=True)


def _listens(server: Server, port: int) -> bool:
    return _state(api(server, "/api/status")[1], port) == "listening"


def _state(status: object, port: int) -> str:
    assert isinstance(status, dict)
    return next((row["state"] for row in status["extensions"] if row["porta_ia"] == port), "")
