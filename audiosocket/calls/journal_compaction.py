"""The journal in fewer lines that say the same: of one moment when it is written, of all when it is rewritten.

Pure, and of bytes rather than JSON where there is much of it: most calls of a journal are over, and reading those
as JSON would take a thread long enough to hold up the audio, and memory that is not given back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

#: How `journal.CallJournal` begins a line, and how the event that ends a call goes on.
_ANY = re.compile(rb'\{"wall":(?P<wall>\d+(?:\.\d+)?),"kind":"(?P<kind>\w+)","call":"(?P<call>[0-9a-f-]{36})"')
_ENDED = re.compile(rb',"entry":\{"at_seconds":[\d.]+,"event":"call\.ended"')

Line = Mapping[str, Any]


def condensed(lines: Iterable[Line]) -> Iterator[Line]:
    """Lines of one moment, in any number of calls, as the fewest that say the same.

    Setting up and ending a call takes six; written as two they cost half as much.
    """
    calls: dict[str, list[Line]] = {}
    for line in lines:
        calls.setdefault(line["call"], []).append(line)
    for call, own in calls.items():
        first, *others = own
        if own[-1]["kind"] == "event" and own[-1]["entry"]["event"] == "call.ended":
            yield {"kind": "ended", "call": call}
        elif first["kind"] == "opened" and all(line["kind"] == "event" for line in others):
            yield {**first, "entries": [line["entry"] for line in others]}
        else:
            yield from own


def sifted(data: bytes, oldest: float, most: int) -> tuple[list[bytes], list[bytes]]:
    """Two lists of lines that together say the same as ``data``, the first to be read first.

    One short line for each of the last ``most`` calls that ended after ``oldest`` (seconds since the epoch), and
    all lines of calls that go on. It looks from the end: only there it is known which calls are over.
    """
    ended: list[bytes] = []
    going: list[bytes] = []
    over: set[bytes] = set()
    end = len(data)
    while end >= 0:
        start = data.rfind(b"\n", 0, end) + 1
        line = _ANY.match(data, start, end)
        if line is None:
            if start < end:
                going.append(data[start:end])
        elif line["kind"] == b"ended" or _ENDED.match(data, line.end(), end):
            if line["call"] not in over and len(ended) < most and float(line["wall"]) >= oldest:
                ended.append(b'{"wall":%b,"kind":"ended","call":"%b"}' % (line["wall"], line["call"]))
            over.add(line["call"])
        elif line["call"] not in over:
            going.append(data[start:end])
        elif line["kind"] == b"opened":
            over.discard(line["call"])  # what comes before it is another life of this UUID
        end = start - 1
    return ended[::-1], going[::-1]
