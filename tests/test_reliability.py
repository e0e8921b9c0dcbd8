"""The parts of ``python -m bench reliability``: slopes, and the counts of the calls."""

from __future__ import annotations

import select
import socket

import pytest

from bench.reliability.callers import Callers, run
from bench.reliability.numbered_call import Totals
from bench.reliability.slopes import Sample, settled, slope, slopes
from bench.servers import ours


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
