"""The outgoing audio of a leg as a value, for the process that goes on with it. Pure.

Times are those of the steady clock, which all processes of a machine share. What a sample rate converter holds
back is converted before: the next process begins with a new converter at that place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from audiosocket.media.playout import Playout
from audiosocket.media.playout_queue import _EMPTY, PlayoutQueue, _Piece

#: Attributes that are taken as they are, by the name they have in the value.
_PLAYOUT = {
    "skipped_ms": "skipped_ms",
    "late": "late",
    "dropped": "dropped",
    "passed_at": "_passed_at",
    "live": "_live",
    "sent_ms": "_sent_ms",
    "usable_ms": "_usable_ms",
    "usable_at": "_usable_at",
}
_QUEUE = {"underruns": "underruns", "paused": "paused", "heard_ms": "_heard_ms", "speaking": "_speaking"}


def save(playout: Playout) -> dict[str, Any]:
    """Return the state: numbers, lists, and audio as bytes."""
    queue = playout._queue
    return {
        "rate": playout.rate,
        **{key: getattr(playout, name) for key, name in _PLAYOUT.items()},
        "passed": [[rate, pcm] for rate, pcm in playout._passed],
        "queue": None if queue is None else _save_queue(queue),
    }


def load(playout: Playout, saved: Mapping[str, Any], *, speech: bool = True) -> None:
    """Give a new playout that state; without ``speech`` what was spoken and its marks are left out."""
    playout.set_rate(int(saved["rate"]))
    for key, name in _PLAYOUT.items():
        setattr(playout, name, saved[key])
    if saved["passed"]:
        playout._passed = deque((int(rate), pcm) for rate, pcm in saved["passed"])
        playout._passed_ms = sum(len(pcm) * 500 / rate for rate, pcm in playout._passed)
    if saved["queue"] is not None:
        _load_queue(playout._make_queue(), saved["queue"], speech=speech)


def _save_queue(queue: PlayoutQueue) -> dict[str, Any]:
    queue._flush()
    items = [item if isinstance(item, str) else [item.pcm[item.at :], item.rate] for item in queue._queue]
    return {
        **{key: getattr(queue, name) for key, name in _QUEUE.items()},
        "staged": queue._staged[queue._at :],
        "marks": [[due, name] for due, name in queue.marks],
        "items": items,
    }


def _load_queue(queue: PlayoutQueue, saved: Mapping[str, Any], *, speech: bool) -> None:
    for key, name in _QUEUE.items():
        setattr(queue, name, saved[key])
    if not speech:
        queue.paused = queue._speaking = False
        return
    queue._staged = saved["staged"]
    queue.marks = tuple((int(due), str(name)) for due, name in saved["marks"])
    items = [item if isinstance(item, str) else _Piece(item[0], int(item[1])) for item in saved["items"]]
    queue._queue = deque(items) if items else _EMPTY
    queue._queued_ms = sum(item.left_ms for item in items if isinstance(item, _Piece))
