"""The journal in fewer lines: those of one moment when they are written, all when the file is rewritten.

Pure. The whole file is read as bytes and not as JSON: most of its calls have ended, and parsing their lines would
occupy a thread long enough to delay the audio, and take memory that is not returned to the system.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

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

#: The beginning of every line, and what follows it in the line of the event that ends a call.
_ANY = re.compile(
    rf'\{{"{WALL}":(?P<wall>\d+(?:\.\d+)?),"{KIND}":"(?P<kind>\w+)","{CALL}":"(?P<call>[0-9a-f-]{{36}})"'.encode()
)
_ENDED = re.compile(rf',"{ENTRY}":\{{"{AT_SECONDS}":[\d.]+,"{EVENT}":"call\.ended"'.encode())
#: The line of an `EndedRecord`.
_SHORT = f'{{"{WALL}":%b,"{KIND}":"{EndedRecord.kind}","{CALL}":"%b"}}'.encode()
_ENDED_KIND = EndedRecord.kind.encode()


def condense(records: Iterable[JournalRecord]) -> Iterator[JournalRecord]:
    """Return the fewest records that stand for those of one moment, of any number of calls.

    A plain call has six; as two they cost half as much.
    """
    calls: dict[str, list[JournalRecord]] = {}
    for record in records:
        if record.call in calls:
            calls[record.call].append(record)
        else:
            calls[record.call] = [record]
    for call, own in calls.items():
        first, last = own[0], own[-1]
        if isinstance(last, EventRecord) and last.entry[EVENT] == "call.ended":
            yield EndedRecord(call)
            continue
        if isinstance(first, OpenedRecord):
            entries = [record.entry for record in own if isinstance(record, EventRecord)]
            if len(entries) == len(own) - 1:
                yield OpenedRecord(call, first.extension, first.started_at, entries)
                continue
        yield from own


def split_by_end(data: bytes, oldest: float, most: int) -> tuple[list[bytes], list[bytes]]:
    """Return two lists of lines that, read one after the other, stand for the same as ``data``.

    The first has one short line for each of the last ``most`` calls that ended after ``oldest`` (seconds since the
    epoch), the second all lines of the other calls. ``data`` is read from its end, where it is known which calls
    have ended.
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
        elif _ends_a_call(line, end):
            if line["call"] not in over and len(ended) < most and float(line["wall"]) >= oldest:
                ended.append(_SHORT % (line["wall"], line["call"]))
            over.add(line["call"])
        elif line["call"] not in over:  # an earlier call with the UUID of one that is over means nothing more
            going.append(data[start:end])
        end = start - 1
    return ended[::-1], going[::-1]


def _ends_a_call(line: re.Match[bytes], end: int) -> bool:
    """Return whether the line, which goes to ``end``, says that its call is over; a torn one says nothing."""
    data = line.string
    found = line["kind"] == _ENDED_KIND or _ENDED.match(data, line.end(), end) is not None
    return found and _is_whole(data[line.start() : end])


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
