"""The journal in fewer lines that say the same: of one moment when it is written, of all when it is rewritten.

Pure, and of bytes rather than JSON where there is much of it: most calls of a journal are over, and reading those
as JSON would take a thread long enough to hold up the audio, and memory that is not given back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from audiosocket.calls.journal_records import (
    AT_SECONDS,
    CALL,
    ENTRY,
    EVENT,
    KIND,
    WALL,
    EndedRecord,
    EventRecord,
    JournalRecord,
    OpenedRecord,
)

#: How every line begins, and how that of the event which ends a call goes on.
_ANY = re.compile(
    rf'\{{"{WALL}":(?P<wall>\d+(?:\.\d+)?),"{KIND}":"(?P<kind>\w+)","{CALL}":"(?P<call>[0-9a-f-]{{36}})"'.encode()
)
_ENDED = re.compile(rf',"{ENTRY}":\{{"{AT_SECONDS}":[\d.]+,"{EVENT}":"call\.ended"'.encode())
#: The line of an `EndedRecord`.
_SHORT = f'{{"{WALL}":%b,"{KIND}":"{EndedRecord.kind}","{CALL}":"%b"}}'.encode()
_OPENED_KIND, _ENDED_KIND = OpenedRecord.kind.encode(), EndedRecord.kind.encode()


def condensed(records: Iterable[JournalRecord]) -> Iterator[JournalRecord]:
    """Records of one moment, in any number of calls, as the fewest that say the same.

    Setting up and ending a call takes six; written as two they cost half as much.
    """
    calls: dict[str, list[JournalRecord]] = {}
    for record in records:
        calls.setdefault(record.call, []).append(record)
    for call, own in calls.items():
        first, last = own[0], own[-1]
        events = [record.entry for record in own[1:] if isinstance(record, EventRecord)]
        if isinstance(last, EventRecord) and last.entry[EVENT] == "call.ended":
            yield EndedRecord(call)
        elif isinstance(first, OpenedRecord) and len(events) == len(own) - 1:
            yield replace(first, entries=events)
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
        elif line["kind"] == _ENDED_KIND or _ENDED.match(data, line.end(), end):
            if line["call"] not in over and len(ended) < most and float(line["wall"]) >= oldest:
                ended.append(_SHORT % (line["wall"], line["call"]))
            over.add(line["call"])
        elif line["call"] not in over:
            going.append(data[start:end])
        elif line["kind"] == _OPENED_KIND:
            over.discard(line["call"])  # what comes before it is another life of this UUID
        end = start - 1
    return ended[::-1], going[::-1]
