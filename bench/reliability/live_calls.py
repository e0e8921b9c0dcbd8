"""Calls that go on while something is done to the server, and requests to its API."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from bench.reliability.promise import Count
from bench.reliability.soak import callers
from bench.servers import Server

CALLS = 20
API_SECONDS = 10.0
ECHO = {"VISITOR_APP": "echo"}


@contextmanager
def calls_beside(server: Server, count: Count, calls: int = CALLS) -> Iterator[None]:
    """Hold calls on the first extension; one that is dropped, or a frame lost or altered, breaks the promise."""
    first = replace(server, ports=server.ports[:1])
    with callers(first, calls, 0, 600, 1) as (control, reports):
        yield
        control.close()
        totals = json.loads(list(reports)[-1])
    hurt = {name: totals[name] for name in ("refused", "dropped", "lost", "altered") if totals[name]}
    count.add(not hurt, f"neighbours: {hurt}")
    count.notes += f"neighbours heard nothing for {totals['longest_gap_ms']} ms at most; "


def api(server: Server, path: str, body: object = None, method: str | None = None) -> tuple[int, Any]:
    """Return status and JSON of a request; `OSError` without an answer."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = Request(f"http://127.0.0.1:{server.api}{path}", data, headers, method=method)
    try:
        with urlopen(request, timeout=API_SECONDS) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Return whether the condition became true in time."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


def connect(port: int) -> socket.socket:
    """Return a connection with a time-out; `OSError` when it is refused."""
    return socket.create_connection(("127.0.0.1", port), timeout=API_SECONDS)


def closed_port(port: int) -> bool:
    """Return whether nobody listens there."""
    return not open_port(port)


def open_port(port: int) -> bool:
    """Return whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
