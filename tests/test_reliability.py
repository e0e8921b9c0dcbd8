"""The parts of ``python -m bench reliability``: promises, slopes, and the counts of the calls."""

from __future__ import annotations

import json
import re
import select
import socket
from pathlib import Path

import pytest

from bench.reliability.callers import Callers, run
from bench.reliability.command import KEYS, faults, main, try_promise
from bench.reliability.numbered_call import Totals
from bench.reliability.promise import Count, Promise, Trial
from bench.reliability.promises import PROMISES
from bench.reliability.slopes import Sample, settled, slope, slopes
from bench.servers import ROOT, ours


class TestSlopes:
    def test_a_line_has_its_slope(self) -> None:
        assert slope([0.0, 1.0, 3.0], [5.0, 7.0, 11.0]) == pytest.approx(2.0)

    def test_one_time_has_no_slope(self) -> None:
        assert slope([], []) == 0.0
        assert slope([1.0, 1.0], [1.0, 9.0]) == 0.0

    def test_the_first_tenth_is_left_out(self) -> None:
        """Memory that grows while caches fill is no leak."""
        samples = [Sample(hour / 10, 100.0 if hour else 50.0, 20 + hour, 4) for hour in range(11)]
        assert len(settled(samples)) == 10
        assert slopes(samples) == {
            "memory_mb_per_hour": 0.0,
            "descriptors_per_hour": pytest.approx(10.0),
            "threads_per_hour": 0.0,
        }


class TestPromises:
    def test_every_promise_is_tried_or_says_why_not(self) -> None:
        assert tuple(promise.key for promise in PROMISES) == KEYS
        for promise in PROMISES:
            assert (promise.measure is None) == bool(promise.why_not), promise.key

    def test_a_reason_names_tests_that_exist(self) -> None:
        named = {name for promise in PROMISES for name in re.findall(r"tests/[\w/.]+\w", promise.why_not)}
        assert named
        assert [name for name in named if not (ROOT / name).exists()] == []

    def test_what_a_measure_raises_breaks_its_promise_alone(self) -> None:
        def fails(_: Trial) -> Count:
            raise OSError("no such port")

        row = try_promise(Promise("R1", "a text", fails), 5, long=False)
        assert (row["tried"], row["broken"], row["notes"]) == (1, 1, "OSError: no such port")

    def test_the_same_seed_gives_the_same_random_numbers(self) -> None:
        def draws(trial: Trial) -> Count:
            return Count(trial.random.randrange(10**9))

        one, other, third = (try_promise(Promise("R1", "", draws), seed, long=True)["tried"] for seed in (5, 5, 6))
        assert one == other != third

    def test_broken_missing_and_untried_promises_are_faults(self) -> None:
        rows = [
            {"promise": "R1", "tried": 5, "broken": 0, "notes": ""},
            {"promise": "R2", "tried": 5, "broken": 1, "notes": "a call was dropped"},
            {"promise": "R3", "tried": 0, "broken": 0, "notes": ""},
            {"promise": "R4", "tried": 0, "broken": 0, "reason": "needs PostgreSQL"},
        ]
        assert faults(rows, ["R1", "R2", "R3", "R4", "R5"]) == [
            "R2 was broken: a call was dropped",
            "R3 was not tried",
            "R5 is missing",
        ]
        assert faults(rows[:1], ["R1"]) == []

    def test_the_command_writes_the_rows_and_fails_on_a_broken_one(self, tmp_path: Path) -> None:
        result = tmp_path / "reliability.json"
        assert main(["--only", "R9,R20", "--seed", "3", "--json", str(result)]) == 0
        found = json.loads(result.read_text())
        assert (found["seed"], found["form"]) == (3, "short")
        assert found["versions"]["twisted"]
        (damaged, clock) = found["rows"]
        assert damaged["tried"] > 500
        assert damaged["broken"] == 0
        assert (clock["promise"], clock["tried"]) == ("R20", 0)
        assert clock["reason"]

    def test_an_unknown_promise_is_an_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["--only", "R99"])
        assert "R99: no such promise" in capsys.readouterr().err


@pytest.mark.slow
class TestCallers:
    def counted(self, app: str, calls: int) -> Totals:
        """Run three calls of 0.1 to 0.9 s at a time until so many have been made."""
        with ours({"VISITOR_APP": app}, core=None) as server:
            callers = Callers(3, server.ports[:1], 0.5, seed=1)
            reader, writer = socket.socketpair()
            with reader, writer:
                callers.poller.register(reader.fileno(), select.EPOLLIN)

                def report(totals: Totals) -> None:
                    if totals.calls >= calls:
                        writer.send(b".")

                run(callers, lambda number: number == reader.fileno(), report, 0.05)
            return callers.totals

    def test_calls_come_and_go_and_every_frame_comes_back(self) -> None:
        totals = self.counted("echo", 10)
        assert totals.calls >= 10
        assert totals.back == totals.sent > 0
        assert (totals.lost, totals.altered, totals.dropped, totals.refused) == (0, 0, 0, 0)

    def test_frames_that_do_not_come_back_are_lost(self) -> None:
        totals = self.counted("silence", 4)
        assert totals.lost == totals.sent > 0
