"""The call journal: what a process leaves behind, what the next one makes of it, and what a disk can do to it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from audiosocket.calls import journal as journal_module
from audiosocket.calls.call import LegState
from audiosocket.calls.events import EventLog
from audiosocket.calls.journal import FILE_NAME, CallJournal
from audiosocket.calls.journal_compaction import split_by_end
from audiosocket.calls.journal_replay import Replayed, replay
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.registry import REMEMBER_SECONDS, CallRegistry
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from tests.support.loopback_server import CapturedLog, no_deadline

CALL = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
OTHER = UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")
WALL = "2026-01-31T10:15:23.456Z"


class Disk:
    """A data directory, a time of day, and file work that waits for `go`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        self.now = 1_000_000.0
        self.waiting: list[tuple[Deferred[Any], Any]] = []
        self.opened: list[CallJournal] = []

    def in_thread(self, work: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, lambda: work(*args, **kwargs)))
        return done

    def work(self) -> None:
        """The first half: the thread has done its part, the reactor does not know yet."""
        self.waiting = [(done, self._outcome(job)) for done, job in self.waiting]

    def _outcome(self, job: Any) -> Any:
        try:
            result = job()
        except OSError as error:
            failed = error

            def fail() -> Any:
                raise failed

            return fail
        return lambda: result

    def go(self) -> None:
        waiting, self.waiting = self.waiting, []
        for done, job in waiting:
            try:
                done.callback(job())
            except OSError as error:
                done.errback(error)

    def journal(self, **options: Any) -> CallJournal:
        self.opened.append(CallJournal(self.path, self.in_thread, wall=lambda: self.now, **options))
        return self.opened[-1]

    def die(self) -> None:
        """The process is killed: the kernel closes its files and lets go of its lock."""
        for journal in self.opened:
            journal.close()

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.die()


@pytest.fixture
def heard() -> Iterator[CapturedLog]:
    listening = CapturedLog()
    yield listening
    listening.close()


def registry_with(journal: CallJournal) -> CallRegistry:
    return CallRegistry(EventLog(), journal=journal)


def join(registry: CallRegistry, now: float, call_id: UUID = CALL, role: Role = Role.VISITOR) -> Any:
    call = registry.admit(call_id, role, DEFAULT_EXTENSION, now, WALL).call
    assert call is not None
    call.legs[role] = LegState(role, "127.0.0.1:5000", 8080, now, now)
    call.note("leg.joined", now, role=role.value, peer="127.0.0.1:5000", port=8080)
    return call


def test_a_killed_process_leaves_its_calls_as_they_were(disk: Disk) -> None:
    journal = disk.journal()
    assert journal.open() == Replayed(at=disk.now)
    registry = registry_with(journal)
    call = join(registry, 50.0)
    join(registry, 52.0, role=Role.RESIDENT)
    call.note("leg.digit", 53.0, role="visitor", digit="5")
    call.remember(Role.VISITOR, "menu", {"page": 3})
    call.remember(Role.VISITOR, "menu", {"page": 4})
    assert call.decide("gate_opened")
    disk.now += 10
    disk.die()
    kept = disk.journal().open()
    (old,) = kept.calls
    assert (old.call_id, old.extension) == (CALL, DEFAULT_EXTENSION)
    assert (old.started_at, old.outcome) == (WALL, "gate_opened")
    assert old.states == {(Role.VISITOR, "menu"): {"page": 4}}
    assert old.timeline == list(call.timeline)
    assert {role: (leg.peer, leg.joined, leg.outcome) for role, leg in old.legs.items()} == {
        Role.VISITOR: ("127.0.0.1:5000", 0.0, None),
        Role.RESIDENT: ("127.0.0.1:5000", 2.0, None),
    }
    assert (kept.damaged, kept.ended, kept.at - old.started) == (0, {}, 10.0)


def test_every_change_is_one_whole_line_and_those_of_one_moment_are_one_write(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = disk.journal()
    journal.open()
    writes: list[bytes] = []
    real = os.write

    def write(handle: int, data: bytes) -> int:
        writes.append(data)
        return real(handle, data)

    monkeypatch.setattr(os, "write", write)
    registry = registry_with(journal)
    with registry.together():
        call = join(registry, 0.0)
    join(registry, 0.0, role=Role.RESIDENT)
    registry.leg_over(call, Role.RESIDENT, LegOutcome.CALLER_HANGUP, 1.0)
    registry.leg_over(call, Role.VISITOR, LegOutcome.CALLER_HANGUP, 1.0)
    kinds = [[json.loads(line)["kind"] for line in data.splitlines()] for data in writes]
    assert kinds == [["opened"], ["event"], ["event"], ["ended"]]
    assert [entry["event"] for entry in json.loads(writes[0])["entries"]] == ["call.started", "leg.joined"]
    assert all(data.endswith(b"\n") for data in writes)


def test_records_of_one_moment_stand_for_the_same_as_single_ones(disk: Disk) -> None:
    opened = []
    for together in (True, False):
        disk.path.unlink(missing_ok=True)
        journal = disk.journal()
        journal.open()
        registry = registry_with(journal)
        with registry.together() if together else nullcontext():
            call = join(registry, 50.0)
            other = join(registry, 50.0, OTHER)
            call.note("leg.digit", 50.0, role="visitor", digit="5")
            join(registry, 50.0, UUID(int=7))
        with registry.together() if together else nullcontext():
            call.note("leg.digit", 51.0, role="visitor", digit="6")
            call.decide("gate_opened")
            registry.leg_over(other, Role.VISITOR, LegOutcome.CALLER_HANGUP, 51.0)
        disk.die()
        opened.append(disk.journal().open())
        disk.die()
    assert opened[0] == opened[1]
    assert [len(call.timeline) for call in opened[0].calls] == [4, 2]
    assert list(opened[0].ended) == [OTHER]


UUIDS = [str(UUID(int=n)) for n in range(3)]
lives = st.builds(
    lambda extras, lives, end: [kind for _ in range(lives) for kind in ("opened", "joined", *extras, *end)],
    st.lists(st.sampled_from(["outcome", "state", "note"]), max_size=4),
    st.integers(1, 3),
    st.sampled_from([("left", "over"), ("ended",)]),
)


@st.composite
def journals(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw the lines of three calls, interleaved, up to some moment."""
    left = {call: draw(lives) for call in UUIDS}
    lines: list[dict[str, Any]] = []
    while any(left.values()):
        call = draw(st.sampled_from([call for call in UUIDS if left[call]]))
        lines.append({"wall": 1_000_000 + len(lines), "kind": left[call].pop(0), "call": call})
    return lines[: draw(st.integers(0, len(lines)))]


def _written(line: dict[str, Any]) -> bytes:
    """A line as the journal writes it."""
    kind = line["kind"]
    entry: dict[str, Any] = {"at_seconds": 1.5}
    line = {"wall": line["wall"], "kind": kind, "call": line["call"]}
    if kind == "opened":
        line = {**line, "extension": DEFAULT_EXTENSION.to_json(), "started_at": WALL}
    elif kind == "ended":
        return json.dumps(line, separators=(",", ":")).encode()
    elif kind == "outcome":
        line = {**line, "outcome": "caller_hangup"}
    elif kind == "state":
        line = {**line, "role": "visitor", "app": "menu", "state": {"event": "call.ended"}}
    else:
        events: dict[str, dict[str, Any]] = {
            "joined": {"event": "leg.joined", "role": "visitor", "peer": "127.0.0.1:5000", "port": 8080},
            "left": {"event": "leg.left", "role": "visitor", "outcome": "caller_hangup"},
            "over": {"event": "call.ended", "outcome": "caller_hangup"},
        }
        fields = events.get(kind, {"event": "app.note", "entry": {"at_seconds": 1, "event": "call.ended"}})
        line = {**line, "kind": "event", "entry": {**entry, **fields}}
    return json.dumps(line, separators=(",", ":")).encode()


@no_deadline
@given(journals(), st.booleans(), st.sampled_from([b"", b"torn", b"\xff{", b'{"wall":']))
def test_leaving_out_the_lines_of_ended_calls_changes_no_meaning(
    lines: list[dict[str, Any]], goes_on: bool, torn: bytes
) -> None:
    written = [_written(line) for line in lines] + [torn]
    now = 1_000_060.0
    ended, going = split_by_end(b"\n".join(written), now - 60.0, 100)
    assert replay([*ended, *going], now, goes_on=goes_on) == replace(
        replay(written, now, goes_on=goes_on), first_damaged=len(ended) + len(going) if torn else 0
    )
    assert len(ended) + len(going) <= len(written)


def test_an_ended_call_is_one_short_line_while_it_is_remembered() -> None:
    call = {"wall": 1_000_000.5, "call": UUIDS[0]}
    written = [_written({**call, "kind": kind}) for kind in ("opened", "joined", "left", "over")]
    other = _written({**call, "call": UUIDS[1], "kind": "opened"})
    data = b"\n".join([*written, other, b"", b"torn"])
    short = b'{"wall":1000000.5,"kind":"ended","call":"' + UUIDS[0].encode() + b'"}'
    assert split_by_end(data, 1_000_000.5, 1) == ([short], [other, b"torn"])
    assert split_by_end(data, 1_000_000.6, 1) == ([], [other, b"torn"])
    assert split_by_end(data, 1_000_000.5, 0) == ([], [other, b"torn"])
    assert split_by_end(short + b"\n", 0.0, 1) == ([short], [])
    assert split_by_end(b"", 0.0, 1) == ([], [])


def test_an_ended_call_is_restored_as_its_uuid_while_it_is_remembered(disk: Disk) -> None:
    journal = disk.journal()
    journal.open()
    registry = registry_with(journal)
    registry.leg_over(join(registry, 0.0), Role.VISITOR, LegOutcome.CALLER_HANGUP, 1.0)
    disk.now += 20
    registry.leg_over(join(registry, 20.0, OTHER), Role.VISITOR, LegOutcome.CALLER_HANGUP, 21.0)
    disk.die()
    disk.now += 30
    kept = disk.journal().open()
    assert (kept.calls, dict(kept.ended)) == ((), {CALL: 50.0, OTHER: 30.0})
    assert [line["kind"] for line in disk.lines()] == ["ended", "ended"]
    disk.die()
    disk.now += 20
    assert dict(disk.journal().open().ended) == {OTHER: 50.0}, "the age goes on across any number of restarts"
    disk.die()
    disk.now -= 3_600
    assert dict(disk.journal().open().ended) == {OTHER: 0.0}, "a clock that was set back"
    disk.die()
    disk.now += REMEMBER_SECONDS + 3_700
    assert dict(disk.journal().open().ended) == {}
    assert disk.path.read_bytes() == b""


def test_a_uuid_that_is_used_again_is_a_new_call(disk: Disk) -> None:
    journal = disk.journal()
    journal.open()
    registry = registry_with(journal)
    registry.leg_over(join(registry, 0.0), Role.VISITOR, LegOutcome.CALLER_HANGUP, 1.0)
    disk.now += 100
    join(registry, 100.0)
    disk.die()
    kept = disk.journal().open()
    assert [call.call_id for call in kept.calls] == [CALL]
    assert (kept.ended, kept.calls[0].started) == ({}, disk.now)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xfe\x00",
        b"[1]",
        b"{",
        b"7",
        b"null",
        b'{"call":5}',
        b'{"kind":"ended","call":"x","wall":1}',
        b"[" * 5_000,
    ],
)
def test_damaged_lines_are_skipped_and_reported_once(disk: Disk, heard: CapturedLog, garbage: bytes) -> None:
    journal = disk.journal()
    journal.open()
    join(registry_with(journal), 0.0)
    disk.die()
    whole = disk.path.read_bytes()
    last = whole.splitlines()[-1]
    disk.path.write_bytes(garbage + b"\n" + whole + garbage + b"\n" + last[:20])
    kept = disk.journal().open()
    assert [call.call_id for call in kept.calls] == [CALL]
    assert (kept.damaged, kept.first_damaged) == (3, 1)
    assert len(heard.containing("3 damaged lines were skipped, the first is line 1")) == 1
    disk.die()
    again = disk.journal().open()
    assert (again.damaged, again.calls) == (0, kept.calls), "the start has cleaned it up"


@given(st.data())
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_journal_cut_anywhere_stands_for_its_whole_lines(data: Any) -> None:
    """A line that is not whole counts for nothing, those before it count in full."""
    lines = [json.dumps(line).encode() for line in SAMPLE]
    text = b"\n".join(lines) + b"\n"
    at = data.draw(st.integers(0, len(text)))
    whole = text[:at].count(b"\n")
    cut = replay(text[:at].split(b"\n"), 20.0)
    exact = replay(lines[: whole + (text[at : at + 1] == b"\n")], 20.0)
    assert (cut.calls, cut.ended) == (exact.calls, exact.ended)


def entry(event: str, at: float, **fields: Any) -> dict[str, Any]:
    return {"kind": "event", "entry": {"at_seconds": at, "event": event, **fields}}


SAMPLE = [
    {"wall": 10.0 + number, "call": str(CALL), **line}
    for number, line in enumerate(
        [
            {"kind": "opened", "extension": DEFAULT_EXTENSION.to_json(), "started_at": WALL},
            entry("call.started", 0.0),
            entry("leg.joined", 0.0, role="visitor", peer="127.0.0.1:1", port=8080),
            {"kind": "state", "role": "visitor", "app": "menu", "state": [1, {"a": None}]},
            {"kind": "outcome", "outcome": "served"},
            entry("leg.left", 5.0, role="visitor", outcome="caller_hangup"),
            entry("call.ended", 5.0, outcome="served"),
        ]
    )
]


def test_rewriting_keeps_the_meaning_in_fewer_lines(disk: Disk) -> None:
    lines = [json.dumps(line).encode() for line in SAMPLE[:5]]
    once = replay(lines, 20.0)
    twice = replay(once.lines(), 20.0)
    assert twice == once
    assert len(list(once.lines())) == 1


def test_a_process_that_died_between_two_lines(disk: Disk) -> None:
    def replayed(count: int, **options: Any) -> Replayed:
        return replay([json.dumps(line).encode() for line in SAMPLE[:count]], 20.0, **options)

    assert replayed(2).calls == ()
    assert len(replayed(2, goes_on=True).calls) == 1, "its leg may be in the next line"
    assert (replayed(6).calls, list(replayed(6).ended)) == ((), [CALL]), "the last leg had left"


def test_a_journal_that_grows_is_rewritten_while_calls_go_on(disk: Disk) -> None:
    journal = disk.journal(compact_bytes=2_000)
    journal.open()
    registry = registry_with(journal)
    call = join(registry, 0.0)
    n = 0
    while not disk.waiting:
        call.note("leg.digit", 1.0, digit=str(n))
        n += 1
    disk.work()
    call.note("leg.digit", 2.0, digit="meanwhile")
    join(registry, 3.0, OTHER)
    disk.go()
    call.note("leg.digit", 4.0, digit="after")
    assert [line["kind"] for line in disk.lines()] == ["snapshot", "event", "opened", "event", "event", "event"]
    disk.die()
    first, second = disk.journal().open().calls
    assert (first.call_id, second.call_id) == (CALL, OTHER)
    assert first.timeline == list(call.timeline)
    assert os.listdir(disk.path.parent) == [FILE_NAME]


def test_closed_or_killed_while_it_is_rewritten_the_old_file_stays(disk: Disk) -> None:
    journal = disk.journal(compact_bytes=500)
    journal.open()
    call = join(registry_with(journal), 0.0)
    while not disk.waiting:
        call.note("leg.digit", 1.0, digit="1")
    before = disk.path.read_bytes()
    disk.work()
    disk.die()
    disk.go()
    assert disk.path.read_bytes() == before
    assert os.listdir(disk.path.parent) == [FILE_NAME]
    (disk.path.parent / f".{FILE_NAME}.new").write_bytes(b"left by a kill")
    assert len(disk.journal().open().calls) == 1
    assert os.listdir(disk.path.parent) == [FILE_NAME]


def test_a_journal_that_cannot_be_rewritten_grows_and_is_reported_once(
    disk: Disk, heard: CapturedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = disk.journal(compact_bytes=500)
    journal.open()
    call = join(registry_with(journal), 0.0)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal_module, "_write_all", full)
        while not disk.waiting:
            call.note("leg.digit", 1.0, digit="1")
        disk.go()
    call.note("leg.digit", 1.0, digit="2")
    assert disk.waiting == [], "not again with the very next line"
    assert len(heard.containing("cannot be compacted: No space left on device")) == 1
    disk.die()
    assert disk.journal().open().calls[0].timeline[-1]["digit"] == "2"


@pytest.mark.parametrize("missing", ["descriptor", "thread"])
def test_a_rewriting_that_cannot_begin_raises_into_no_call_and_begins_later(
    disk: Disk, heard: CapturedLog, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def no_descriptor(handle: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    def no_thread(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("can't start new thread")

    journal = disk.journal(compact_bytes=1_000)
    journal.open()
    call = join(registry_with(journal), 0.0)
    with monkeypatch.context() as patched:
        if missing == "descriptor":
            patched.setattr(os, "dup", no_descriptor)
        else:
            patched.setattr(journal, "_in_thread", no_thread)
        for n in range(40):
            call.note("leg.digit", 1.0, digit=str(n))
    assert disk.waiting == []
    assert len(heard.containing("cannot be compacted")) >= 1
    while not disk.waiting:
        call.note("leg.digit", 2.0, digit="later")
    disk.go()
    assert "snapshot" in [line["kind"] for line in disk.lines()]


def test_a_full_disk_is_one_error_and_an_incomplete_line_costs_no_other(
    disk: Disk, heard: CapturedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = disk.journal()
    journal.open()
    call = join(registry_with(journal), 0.0)
    real, room = os.write, [10, 0, 0, 0]

    def write(handle: int, data: bytes) -> int:
        if not room:
            return real(handle, data)
        left = room.pop(0)
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data[:left])

    monkeypatch.setattr(os, "write", write)
    for digit in "12345":
        call.note("leg.digit", 1.0, digit=digit)
    assert len([level for level, _ in heard if level.name == "error"]) == 2, "full, and cannot be written"
    assert len(heard.containing("written again")) == 1
    disk.die()
    kept = disk.journal().open()
    assert [entry["digit"] for entry in kept.calls[0].timeline if entry["event"] == "leg.digit"] == ["5"]
    assert kept.damaged == 1


def test_a_record_that_json_cannot_carry_costs_its_own_line_only(disk: Disk, heard: CapturedLog) -> None:
    journal = disk.journal()
    journal.open()
    call = join(registry_with(journal), 0.0)
    circle: list[Any] = []
    circle.append(circle)
    call.note("app.note", 1.0, circle=circle)
    call.note("app.note", 1.0, path=Path("x"), text="\udc80\n\x00", keys={(1, 2): 3})
    assert len(heard.containing("cannot be written as JSON")) == 1
    disk.die()
    last = disk.journal().open().calls[0].timeline[-1]
    assert (last["path"], last["text"], last["keys"]) == ("x", "\udc80\n\x00", {})


def test_two_processes_do_not_share_a_journal(disk: Disk, heard: CapturedLog) -> None:
    first, second = disk.journal(), disk.journal()
    first.open()
    join(registry_with(first), 0.0)
    before = disk.path.read_bytes()
    assert second.open() == Replayed()
    assert len(heard.containing("another process has it; give each its own DATA_DIR")) == 1
    join(registry_with(second), 0.0, OTHER)
    assert disk.path.read_bytes() == before


@pytest.mark.parametrize("trouble", ["a directory", "no directory", "too large"])
def test_without_a_usable_file_calls_go_on(
    disk: Disk, heard: CapturedLog, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "a directory":
        disk.path.mkdir()
    elif trouble == "no directory":
        disk.path = disk.path.parent / "missing" / FILE_NAME
    else:
        monkeypatch.setattr(journal_module, "MAX_BYTES", 10)
        disk.path.write_bytes(b"x" * 11)
    journal = disk.journal()
    assert journal.open() == Replayed()
    assert len(heard.containing("calls will not survive a restart")) == 1
    registry = registry_with(journal)
    registry.leg_over(join(registry, 0.0), Role.VISITOR, LegOutcome.CALLER_HANGUP, 1.0)
    assert len(heard) == 1


def test_the_fewest_lines_have_the_uuids_that_ended() -> None:
    """Another number of workers writes them anew."""
    ended = {UUID(int=1): 30.0, UUID(int=2): 5.0}
    kept = Replayed(ended=ended, at=100.0)
    assert replay(kept.lines(), 100.0) == kept


def test_a_line_of_a_call_that_is_not_known_changes_nothing() -> None:
    """Its first line was damaged, or lost to a full disk."""
    line = json.dumps({"kind": "outcome", "wall": 20.0, "call": str(UUID(int=1)), "outcome": "lost"}).encode()
    assert replay([line], 20.0) == Replayed(at=20.0)


def test_a_journal_that_another_process_has_is_taken_over_when_that_ends(disk: Disk, heard: CapturedLog) -> None:
    first, second = disk.journal(), disk.journal()
    first.open()
    join(registry_with(first), 0.0)
    second.open()
    assert second.waits
    call = join(registry_with(second), 0.0, OTHER)
    second.open()
    assert second.waits
    assert len(heard.containing("another process has it")) == 1
    first.close()
    replayed = second.open()
    assert not second.waits
    assert [old.call_id for old in replayed.calls] == [CALL], "not the one that began here"
    call.note("leg.digit", 1.0, digit="1")
    disk.die()
    both = disk.journal().open().calls
    assert {old.call_id for old in both} == {CALL, OTHER}
    (new,) = [old for old in both if old.call_id == OTHER]
    assert [entry["event"] for entry in new.timeline] == ["call.started", "leg.joined", "leg.digit"]


def test_lines_that_wait_for_a_journal_take_a_limited_amount_of_memory(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiosocket.calls.journal.MAX_WAITING_BYTES", 10_000)
    first, second = disk.journal(), disk.journal()
    first.open()
    second.open()
    call = join(registry_with(second), 0.0, OTHER)
    for n in range(1_000):
        call.note("leg.digit", float(n), digit="1")
    first.close()
    second.open()
    assert 5_000 < disk.path.stat().st_size <= 10_000
