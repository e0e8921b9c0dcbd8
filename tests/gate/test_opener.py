"""The gate is opened once for each authorised call, also over a kill at any moment."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from uuid import UUID

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from audiosocket.gate.journal import GateJournal
from audiosocket.gate.opener import LATE
from audiosocket.gate.opening_files import RETRY_SECONDS
from audiosocket.gate.record import GateRecord, WayAnswer
from audiosocket.interfaces import GateAnswer
from tests.support.gates import CALL, FakeClaims, FakeWay, GateProcess, UnlockedJournal, authorisation
from tests.support.logged_events import LoggedEvents
from tests.support.logged_failures import LoggedFailures


def test_all_ways_confirm(tmp_path: Path) -> None:
    webhook, keys = FakeWay("webhook"), FakeWay("dtmf", once=True)
    gate = GateProcess(tmp_path, webhook, keys).start()
    gate.open()
    assert gate.answers == [GateAnswer(True)]
    assert gate.names() == ["gate.opening", "gate.opened"]
    assert gate.events[0][1] == {"ways": ["webhook", "dtmf"]}
    (line,) = gate.audit()
    assert line == {
        "at": "2026-01-31T10:15:23.456Z",
        "call_id": str(CALL),
        "extension": 0,
        "ramal_ia": "1000",
        "condominio_id": 0,
        "apartment": "101",
        "block": "",
        "answered_by": "1003030",
        "concierge": False,
        "key": "1",
        "opened": True,
        "gate": {"webhook": "done", "dtmf": "done"},
    }


def test_without_any_way_there_is_the_audit_line(tmp_path: Path) -> None:
    gate = GateProcess(tmp_path).start()
    gate.open()
    assert gate.answers == [GateAnswer(True)]
    assert [line["gate"] for line in gate.audit()] == [{}]


@pytest.mark.parametrize("failing", ["webhook", "dtmf"])
def test_one_way_that_fails_is_a_gate_that_failed(tmp_path: Path, failing: str) -> None:
    ways = [FakeWay("webhook"), FakeWay("dtmf", once=True)]
    for way in ways:
        way.ready = WayAnswer(way.name != failing, "said")
    gate = GateProcess(tmp_path, *ways).start()
    gate.open()
    assert gate.answers == [GateAnswer(False, f"{failing}: said")]
    assert gate.names() == ["gate.opening", "gate.failed"]
    assert [line["opened"] for line in gate.audit()] == [False]


def test_a_way_that_raises_is_one_that_failed(tmp_path: Path, logged_failures: LoggedFailures) -> None:
    way = FakeWay()
    way.error = RuntimeError("bug")
    gate = GateProcess(tmp_path, way).start()
    gate.open()
    assert gate.answers == [GateAnswer(False, "webhook: RuntimeError: bug")]
    assert len(logged_failures.flush(RuntimeError)) == 1


def test_who_asks_again_gets_the_same_answer(tmp_path: Path) -> None:
    way = FakeWay()
    way.ready = None
    gate = GateProcess(tmp_path, way).start()
    gate.open()
    gate.open()
    assert gate.answers == []
    way.answer()
    gate.open()
    assert gate.answers == [GateAnswer(True)] * 3
    assert len(way.asked) == len(gate.audit()) == 1


def test_another_visit_with_the_same_uuid_is_another_one(tmp_path: Path) -> None:
    way = FakeWay()
    gate = GateProcess(tmp_path, way).start()
    gate.open()
    gate.open(authorisation("visit-2"))
    assert gate.answers == [GateAnswer(True)] * 2
    assert len(way.asked) == len(gate.audit()) == 2


def test_another_visit_while_the_gate_still_opens_is_refused(tmp_path: Path) -> None:
    way = FakeWay()
    way.ready = None
    gate = GateProcess(tmp_path, way).start()
    gate.open()
    gate.open(authorisation("visit-2"))
    (answer,) = gate.answers
    assert not answer.opened
    assert len(way.asked) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_journal_that_cannot_be_written_keeps_the_gate_shut(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    way = FakeWay()
    gate = GateProcess(tmp_path, way).start()
    gate.open()
    tmp_path.chmod(0o700)
    (answer,) = gate.answers
    assert not answer.opened
    assert way.asked == []
    assert gate.names() == ["gate.failed"]


def test_a_directory_that_is_a_file_keeps_the_gate_shut(tmp_path: Path) -> None:
    (tmp_path / "gate").write_text("")
    way = FakeWay()
    gate = GateProcess(tmp_path, way).start()
    gate.open()
    assert [answer.opened for answer in gate.answers] == [False]
    assert way.asked == []


@pytest.mark.parametrize(("away", "asked"), [(60.0, 1), (60.1, 0), (36_000.0, 0)])
def test_a_start_opens_no_gate_whose_visitor_has_gone(tmp_path: Path, away: float, asked: int) -> None:
    """A server that is back after the night must not open for the visitor of the evening."""
    dying, way = FakeWay(), FakeWay()
    dying.ready = None
    GateProcess(tmp_path, dying).start().open()
    clock = Clock()
    clock.advance(away)
    claims = FakeClaims()
    gate = GateProcess(tmp_path, way, clock=clock, claims=claims).start()
    assert (len(dying.asked), len(way.asked)) == (1, asked)
    assert [line["opened"] for line in gate.audit()] == [bool(asked)]
    assert gate.names() == ["gate.opened" if asked else "gate.failed"]
    assert claims.told[0][0] is bool(asked)
    gate.open()
    assert [answer.opened for answer in gate.answers] == [bool(asked)]
    assert len(way.asked) == asked


def test_a_late_start_keeps_what_was_answered(tmp_path: Path) -> None:
    answered, waiting = FakeWay("dtmf"), FakeWay("webhook")
    waiting.ready = None
    GateProcess(tmp_path, answered, waiting).start().open()
    clock = Clock()
    clock.advance(61)
    gate = GateProcess(tmp_path, FakeWay("dtmf"), FakeWay("webhook"), clock=clock).start()
    assert gate.audit()[0]["gate"] == {"dtmf": "done", "webhook": LATE}


@pytest.mark.parametrize("at", ["", "yesterday", "1969-01-01T00:00:00Z", 5, None])
def test_a_record_without_a_time_is_not_repeated(tmp_path: Path, at: object) -> None:
    dying, way = FakeWay(), FakeWay()
    dying.ready = None
    GateProcess(tmp_path, dying).start().open()
    path = tmp_path / "gate" / f"{CALL}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "at": at}))
    with LoggedEvents() as events:
        GateProcess(tmp_path, way).start()
    assert way.asked == []
    assert "this opening is not repeated" in events.text


def test_an_audit_file_that_cannot_be_written_is_logged(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    gate = GateProcess(tmp_path, FakeWay()).start()
    with LoggedEvents() as events:
        gate.open()
    assert gate.answers == [GateAnswer(True)]
    assert events.text.count(f"the audit file lacks call {CALL} for now: Is a directory") == 1
    (tmp_path / "audit.jsonl").rmdir()
    assert len(GateProcess(tmp_path, FakeWay()).start().audit()) == 1  # the next start writes it


def test_an_audit_line_is_written_once_that_is_possible_again(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    gate = GateProcess(tmp_path, FakeWay()).start()
    with LoggedEvents() as events:
        gate.open()
        gate.clock.advance(RETRY_SECONDS)
    assert events.text.count("the audit file lacks call") == 1
    (tmp_path / "audit.jsonl").rmdir()
    gate.clock.advance(RETRY_SECONDS)
    assert [line["opened"] for line in gate.audit()] == [True]


class ShortOfDescriptors(UnlockedJournal):
    """A journal that cannot open files while ``short``; what was open before stays so."""

    short = False

    def _needs_one(self) -> None:
        if self.short:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def hold(self, call_id: UUID) -> int | None:
        self._needs_one()
        return super().hold(call_id)

    def sync(self, record: GateRecord) -> None:
        self._needs_one()
        super().sync(record)

    def update(self, record: GateRecord) -> None:
        self._needs_one()
        super().update(record)


def test_a_gate_that_was_refused_is_not_opened_by_the_next_process(tmp_path: Path) -> None:
    """The file is there, its lock cannot be: the visitor is refused, and may have gone long before the restart."""
    way, journal = FakeWay(), ShortOfDescriptors(tmp_path / "gate")
    gate = GateProcess(tmp_path, way, journal=journal).start()
    journal.short = True
    gate.open()
    assert [answer.opened for answer in gate.answers] == [False]
    journal.short = False
    GateProcess(tmp_path, way).start()
    assert way.asked == []
    gate.open()
    assert [answer.opened for answer in gate.answers] == [False, True]


@pytest.mark.parametrize("moment", ["before the webhook is asked", "before it answers"])
def test_a_gate_that_has_begun_goes_on_when_its_journal_cannot_be_written(tmp_path: Path, moment: str) -> None:
    way, journal = FakeWay(), ShortOfDescriptors(tmp_path / "gate")
    way.ready = None
    gate = GateProcess(tmp_path, way, journal=journal, held=True).start()
    gate.open()
    if moment == "before it answers":
        gate.thread.run()
    journal.short = True
    gate.thread.run()
    way.answer()
    gate.thread.run()
    assert gate.answers == [GateAnswer(True)]
    assert gate.names() == ["gate.opening", "gate.opened"]
    for _ in range(3):
        gate.clock.advance(RETRY_SECONDS)
        gate.thread.run()
    assert gate.audit() == []  # the next process would ask again before there is a line
    journal.short = False
    gate.clock.advance(RETRY_SECONDS)
    gate.thread.run()
    assert [line["opened"] for line in gate.audit()] == [True]
    again = GateProcess(tmp_path, way).start()
    assert (len(way.asked), len(again.audit())) == (1, 1)


def test_keys_are_not_played_when_the_journal_cannot_say_so(
    tmp_path: Path, logged_failures: LoggedFailures
) -> None:
    keys, journal = FakeWay("dtmf", once=True), ShortOfDescriptors(tmp_path / "gate")
    gate = GateProcess(tmp_path, keys, journal=journal, held=True).start()
    gate.open()
    journal.short = True
    gate.thread.run()
    assert keys.asked == []
    assert [answer.opened for answer in gate.answers] == [False]
    assert len(logged_failures.flush(OSError)) == 1


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    GateProcess(tmp_path, FakeWay()).start().open()
    for path, mode in ((tmp_path / "gate", 0o700), (tmp_path / "gate" / f"{CALL}.json", 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "gate").iterdir()] == [f"{CALL}.json"]


def test_a_process_that_dies_at_any_moment_opens_once_and_audits_once(tmp_path: Path) -> None:
    """``kill -9`` after each piece of work for the disk; the webhook's program opens once for a key."""
    moments = 0
    for moment in range(50):
        directory = tmp_path / str(moment)
        directory.mkdir()
        webhook, keys = FakeWay("webhook"), FakeWay("dtmf", once=True)
        first = GateProcess(directory, webhook, keys, held=True).start()
        first.thread.run()
        first.open()
        done = first.thread.run(moment)
        # Here it dies: what its thread had not done is never done.
        second = GateProcess(directory, webhook, keys).start()
        assert len(second.audit()) == 1, moment
        assert len(keys.asked) <= 1, moment
        assert len(webhook.asked) in {1, 2}, moment
        second.open()  # the dialogue is back, too, and asks
        (answer,) = second.answers
        assert answer.opened == second.audit()[0]["opened"], moment
        if first.answers:
            assert first.answers == second.answers, moment
        third = GateProcess(directory, webhook, keys).start()
        third.open()
        assert third.answers == second.answers
        assert len(third.audit()) == 1
        moments += 1
        if done < moment:
            break
    assert moments > 8


def test_a_kill_while_the_webhook_is_asked_asks_again(tmp_path: Path) -> None:
    webhook = FakeWay("webhook")
    webhook.ready = None
    GateProcess(tmp_path, webhook).start().open()
    webhook.ready = WayAnswer(True, "done")
    second = GateProcess(tmp_path, webhook).start()
    assert webhook.asked == [str(CALL)] * 2
    assert [line["opened"] for line in second.audit()] == [True]


def test_a_kill_before_the_claim_opens_nothing_where_the_claim_is_refused(tmp_path: Path) -> None:
    """Another node may have opened meanwhile, and the table cannot say so."""
    way = FakeWay("webhook")
    GateProcess(tmp_path, way, claims=FakeClaims(ready=False)).start().open()
    refused = FakeClaims((False, "the table cannot be asked"))
    second = GateProcess(tmp_path, way, claims=refused).start()
    assert (way.asked, refused.asked) == ([], 1)
    assert [(line["opened"], line["gate"]) for line in second.audit()] == [
        (False, {"fleet": "the table cannot be asked"})
    ]


def test_a_kill_after_the_claim_finishes_the_opening_without_another_claim(tmp_path: Path) -> None:
    way = FakeWay("webhook")
    way.ready = None
    first = FakeClaims()
    GateProcess(tmp_path, way, claims=first).start().open()
    way.ready = WayAnswer(True, "done")
    later = FakeClaims((False, "the table cannot be asked"))
    second = GateProcess(tmp_path, way, claims=later).start()
    assert (first.asked, later.asked) == (1, 0)
    assert later.told == [(True, "webhook: done")]
    assert [line["opened"] for line in second.audit()] == [True]


def test_a_kill_while_keys_are_played_does_not_repeat_them(tmp_path: Path) -> None:
    keys = FakeWay("dtmf", once=True)
    keys.ready = None
    GateProcess(tmp_path, keys).start().open()
    keys.ready = WayAnswer(True, "done")
    second = GateProcess(tmp_path, keys).start()
    assert keys.asked == [str(CALL)]
    assert [(line["opened"], line["gate"]) for line in second.audit()] == [(False, {"dtmf": "not repeated"})]


def test_a_stop_leaves_what_is_under_way_to_the_next_process(tmp_path: Path) -> None:
    webhook = FakeWay("webhook")
    webhook.ready = None
    first = GateProcess(tmp_path, webhook).start()
    first.open()
    first.opener.stopService()
    webhook.answer()
    assert first.audit() == []
    webhook.ready = WayAnswer(True, "done")
    assert len(GateProcess(tmp_path, webhook).start().audit()) == 1


def test_calls_of_other_workers_are_left_to_them(tmp_path: Path) -> None:
    webhook = FakeWay("webhook")
    webhook.ready = None
    GateProcess(tmp_path, webhook).start().open()
    other = GateProcess(tmp_path, webhook)
    other.opener._mine = lambda call_id: False
    other.start()
    assert webhook.asked == [str(CALL)]


def test_what_another_process_opens_is_left_to_it(tmp_path: Path) -> None:
    webhook, keys = FakeWay("webhook"), FakeWay("dtmf", once=True)
    webhook.ready = None
    first = GateProcess(tmp_path, webhook, journal=GateJournal(tmp_path / "gate")).start()
    first.open()
    second = GateProcess(tmp_path, keys, journal=GateJournal(tmp_path / "gate")).start()
    second.open()
    assert [answer.opened for answer in second.answers] == [False]
    assert keys.asked == []
    webhook.answer()
    assert first.answers == [GateAnswer(True)]
    third = GateProcess(tmp_path, keys, journal=GateJournal(tmp_path / "gate")).start()
    third.open()
    assert third.answers == [GateAnswer(True)]
    assert keys.asked == []
    assert [path.name for path in (tmp_path / "gate").iterdir()] == [f"{CALL}.json"]


def test_a_lock_that_cannot_be_taken_at_the_start_costs_that_opening_only(tmp_path: Path) -> None:
    locked, finished = UUID("00000000-0000-4000-8000-000000000000"), CALL  # in the order in which they are read
    webhook = FakeWay()
    webhook.ready = None
    killed = GateProcess(tmp_path, webhook).start()
    for call_id in (locked, finished):
        killed.open(authorisation(call_id=call_id))
    lock = tmp_path / "gate" / f".{locked}.lock"
    lock.mkdir()
    again = FakeWay()
    with capturedLogs() as events:
        process = GateProcess(tmp_path, again, journal=GateJournal(tmp_path / "gate")).start()
    assert again.asked == [str(finished)]
    (said,) = [formatEvent(event) for event in events if event["log_level"] is LogLevel.error]
    assert str(locked) in said
    assert str(lock) in said
    assert "Is a directory" in said
    process.open(authorisation(call_id=locked))
    assert [answer.opened for answer in process.answers] == [False]
    lock.rmdir()
    GateProcess(tmp_path, again, journal=GateJournal(tmp_path / "gate")).start()
    assert again.asked == [str(finished), str(locked)]


def test_a_lock_that_the_file_system_refuses_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles: list[int] = []

    def refuse(handle: int, operation: int) -> None:
        handles.append(handle)
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("audiosocket.gate.journal.fcntl.flock", refuse)
    (tmp_path / "gate").mkdir()
    with pytest.raises(OSError, match=rf"No locks available: .*/gate/\.{CALL}\.lock"):
        GateJournal(tmp_path / "gate").hold(CALL)
    (handle,) = handles
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


def test_old_files_are_forgotten(tmp_path: Path) -> None:
    gate = GateProcess(tmp_path, FakeWay()).start()
    gate.open()
    path = tmp_path / "gate" / f"{CALL}.json"
    os.utime(path, (1_769_854_523, 1_769_854_523))
    gate.clock.pump([60.0] * 30)
    assert path.exists()
    gate.clock.pump([60.0] * 60)
    assert not path.exists()
    gate.open()  # so late it is another call with the same UUID
    assert len(gate.audit()) == 2


def test_a_torn_file_is_never_acted_upon(tmp_path: Path) -> None:
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / f"{CALL}.json").write_text('{"call_id": ')
    way = FakeWay()
    gate = GateProcess(tmp_path, way).start()
    gate.open()
    assert [answer.opened for answer in gate.answers] == [False]
    assert way.asked == []
