"""The benchmark's statistics and table, and its generator's detection of faults."""

from __future__ import annotations

import json
import re
import socket
import struct
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from bench import asyncio_echo, bots, build, load, rows, search, servers, speech, statistics, table
from bench.__main__ import main
from bench.scenarios import Bench, echoes_in_time, speaks_in_time
from bench.statistics import ASYNCIO, OURS, C, Figure, Round, Target

FRAMES = Figure("frames_per_s", "frames/s", targets=(Target(C, 0.7, 0.85), Target(ASYNCIO, 2.0, 2.6)))
COST = Figure("cost", "µs", more=False, targets=(Target("", 5, 1),))


def rounds(*each: tuple[float, float, float]) -> list[Round]:
    return [
        {
            OURS: {"frames_per_s": ours, "cost": ours / 100},
            C: {"frames_per_s": c},
            ASYNCIO: {"frames_per_s": other},
        }
        for ours, c, other in each
    ]


class TestStatistics:
    def test_ratios_are_those_of_each_round(self) -> None:
        """Not the ratio of medians, which would be 200 to 400."""
        found = statistics.ratios(rounds((100, 100, 50), (200, 400, 50), (900, 1000, 50)), "frames_per_s", C)
        assert found == [1.0, 0.5, 0.9]
        assert statistics.spread(found) == statistics.Spread(0.9, 0.5, 1.0)

    def test_rounds_without_the_figure_are_left_out(self) -> None:
        some: list[Round] = [{OURS: {"x": 4.0}, C: {"x": 2.0}}, {OURS: {}, C: {"x": 1.0}}, {C: {"x": 1.0}}]
        assert statistics.ratios(some, "x", C) == [2.0]
        assert statistics.values(some, C, "x") == [2.0, 1.0, 1.0]
        assert statistics.ratios([{OURS: {"x": 1.0}, C: {"x": 0.0}}], "x", C) == []
        assert statistics.spread([]) is None

    @pytest.mark.parametrize(
        ("ours", "expected"), [(0.69, "missed"), (0.7, "reached"), (0.84, "reached"), (0.85, "aim")]
    )
    def test_verdict_where_more_is_better(self, ours: float, expected: str) -> None:
        assert statistics.verdict(FRAMES, FRAMES.targets[0], rounds((ours, 1, 1))) == expected

    @pytest.mark.parametrize(
        ("ours", "expected"), [(501, "missed"), (500, "reached"), (101, "reached"), (100, "aim")]
    )
    def test_verdict_where_less_is_better(self, ours: float, expected: str) -> None:
        assert statistics.verdict(COST, COST.targets[0], rounds((ours, 1, 1))) == expected

    def test_a_figure_beside_a_fault_is_not_judged_but_the_fault_is(self) -> None:
        lost = Figure("lost", "frames lost", more=False, targets=(Target("", 0, 0),))
        found: list[Round] = [{OURS: {"cost": 1, "lost": 2}}]
        assert statistics.verdict(COST, COST.targets[0], found) == "not clean"
        assert statistics.verdict(lost, lost.targets[0], found) == "missed"
        assert statistics.verdict(COST, COST.targets[0], [{OURS: {"cost": 1}, C: {"lost": 2}}]) == "aim"

    def test_no_verdict_without_a_figure(self) -> None:
        assert statistics.verdict(FRAMES, FRAMES.targets[0], [{OURS: {}}]) == ""

    def test_faults_are_named(self) -> None:
        assert statistics.faults({"calls": 5, "connected": 4, "lost": 2, "died": 0}) == [
            "only 4 of 5 calls connected",
            "lost 2",
        ]
        assert statistics.faults({"calls": 5, "connected": 5, "lost": 0, "filled_in": 9}) == []

    def test_the_load_of_other_processes_is_reported(self) -> None:
        noisy: list[Round] = [
            {OURS: {"others_percent": 10}, C: {"others_percent": 30}},
            {OURS: {"others_percent": 90}},
        ]
        assert statistics.disturbance(noisy) == statistics.Spread(30, 10, 90)
        assert statistics.disturbance([{OURS: {"start_s": 1}}]) is None

    def test_json_has_every_round(self) -> None:
        shown = json.loads(json.dumps(statistics.to_json(FRAMES, rounds((8, 10, 2), (9, 10, 4)))))
        assert shown["values"] == {OURS: [8, 9], C: [10, 10], ASYNCIO: [2, 4]}
        assert shown["ratios"] == {C: [0.8, 0.9], ASYNCIO: [4, 2.25]}
        assert [target["verdict"] for target in shown["targets"]] == ["aim", "aim"]


class TestTable:
    def test_shows_medians_ratios_with_their_spread_and_targets(self) -> None:
        (title, line) = table.lines(
            "flood", [FRAMES], rounds((8, 10, 2), (8000, 10_000, 4000), (9000, 20_000, 3000))
        )
        assert title.startswith("| **flood** | ")
        assert line == (
            "| frames/s | 8,000 | 10,000 | 3,000 | 0.80 (0.45–0.80) | 3.00 (2.00–4.00) "
            "| 0.7 / 0.85 of C; 2 / 2.6 of asyncio | reached, aim |"
        )

    def test_has_as_many_cells_in_every_line(self) -> None:
        lines = [*table.heading().splitlines(), *table.lines("x", [FRAMES, COST], rounds((1, 2, 3)))]
        assert {line.count("|") for line in lines} == {len(table.COLUMNS) + 1}

    def test_a_row_without_values_is_not_available(self) -> None:
        (line,) = table.lines("workers", [FRAMES], [{OURS: {}}])
        assert line.startswith("| **workers** | not available |")
        assert line.count("|") == len(table.COLUMNS) + 1

    @pytest.mark.parametrize(
        ("value", "shown"),
        [(0, "0"), (12345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.012")],
    )
    def test_numbers_have_three_significant_digits(self, value: float, shown: str) -> None:
        assert table.number(value) == shown
        assert table.number(50.0012) == "50.001"


class TestSearch:
    @pytest.mark.parametrize("limit", [1, 37, 100, 555, 800, 801, 1000, 1799, 1800, 5000])
    def test_finds_the_limit_to_4_percent(self, limit: int) -> None:
        tried: list[int] = []

        def holds(calls: int) -> bool:
            tried.append(calls)
            return calls <= limit

        found = search.max_calls(holds, 800, 1800)
        assert min(limit, 1800) / 1.05 - 1 <= found <= min(limit, 1800)
        assert len(tried) < 40
        assert max(tried) <= 1800

    def test_finds_nothing_where_nothing_holds(self) -> None:
        assert search.max_calls(lambda calls: False, 800, 1800) == 0

    def test_counts_only_what_is_in_time_and_without_fault(self) -> None:
        good = {"calls": 5, "connected": 5, "round_trip_p99_ms": 19.9}
        assert echoes_in_time(good)
        assert not echoes_in_time({**good, "round_trip_p99_ms": 20.0})
        assert not echoes_in_time({**good, "lost": 1})
        assert not echoes_in_time({"calls": 5, "connected": 5})
        spoken = {"calls": 5, "connected": 5, "speaking": 5, "rate": 50.0, "between_p99_ms": 39}
        assert speaks_in_time(spoken)
        assert not speaks_in_time({**spoken, "rate": 49.8})
        assert not speaks_in_time({**spoken, "speaking": 4})
        assert not speaks_in_time({**spoken, "between_p99_ms": 40})


class TestCommand:
    def test_rows_are_chosen_by_name_in_their_order(self) -> None:
        assert [row.name for row in rows.chosen("burst, flood")] == ["flood", "burst"]
        assert rows.chosen("") == rows.ROWS
        with pytest.raises(ValueError, match="flod: no such row; there are flood, burst"):
            rows.chosen("flood,flod")

    def test_every_row_is_explained_in_the_readme(self) -> None:
        text = (build.HERE / "README.md").read_text(encoding="utf-8")
        assert [row.name for row in rows.ROWS if f"| `{row.name}` |" not in text] == []

    @pytest.mark.parametrize("arguments", [["--rows", "none"], ["--rounds", "0"], ["--seconds", "x"]])
    def test_wrong_options_are_errors(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert arguments[0] in capsys.readouterr().err

    def test_a_missing_compiler_is_reported(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CC", raising=False)
        assert main(["--rows", "flood"]) == 1
        assert "there is no C compiler" in capsys.readouterr().err

    @pytest.mark.parametrize("text", ["", "[1]", '{"a": "b"}', '{"a": 1'])
    def test_invalid_output_of_the_generator_is_an_error(self, text: str) -> None:
        with pytest.raises(load.LoadFailed, match="the generator's output"):
            load.parse(text)

    def test_the_output_of_the_generator_is_an_object_of_numbers(self) -> None:
        assert load.parse('{"calls": 5, "rate": 50.5}') == {"calls": 5.0, "rate": 50.5}


class TestSpeech:
    def test_is_the_same_in_three_languages(self, tmp_path: Path) -> None:
        """The audio our server plays, the asyncio server sends, and the generator expects."""
        header = (build.HERE / "frames.h").read_text(encoding="utf-8")
        magic, count = re.findall(r"#define SPEECH\w* (\w+?)u", header)
        assert struct.pack("<I", int(magic, 16)) == b"Spch"
        assert int(count) == speech.FRAMES == asyncio_echo.SPEECH_FRAMES
        speech.write_speech(tmp_path / "speech.wav")
        with wave.open(str(tmp_path / "speech.wav")) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
            spoken = file.readframes(file.getnframes())
        assert spoken == b"".join(frame[3:] for frame in asyncio_echo.SPOKEN)


class FaultyEcho(Thread):
    """A server that echoes one call frame by frame, with a fault in four frames."""

    LOST, ALTERED, TWICE, SILENCED = 13, 15, 17, 19

    def __init__(self) -> None:
        super().__init__()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]

    def run(self) -> None:
        connection, _ = self.listening.accept()
        with connection, connection.makefile("rb") as incoming:
            while header := incoming.read(3):
                payload = incoming.read(int.from_bytes(header[1:], "big"))
                if header[0] == 0x10:
                    connection.sendall(b"".join(header + each for each in self._answer(payload)))

    def _answer(self, payload: bytes) -> list[bytes]:
        (number,) = struct.unpack_from("<I", payload, 8)
        return {
            self.LOST: [],
            self.ALTERED: [payload[:-1] + bytes([payload[-1] ^ 1])],
            self.TWICE: [payload, payload],
            self.SILENCED: [bytes(320)],
        }.get(number, [payload])


@pytest.mark.skipif(build.compiler() is None, reason="there is no C compiler")
class TestPrograms:
    @pytest.fixture
    def programs(self, tmp_path: Path) -> build.Programs:
        return build.build(tmp_path)

    @contextmanager
    def faulty_echo(self, programs: build.Programs) -> Iterator[Callable[..., statistics.Sample]]:
        thread = FaultyEcho()
        thread.start()
        server = servers.Server(0, (thread.port,), Path())
        yield lambda mode, **options: load.run_load(programs.load, mode, server, options)
        thread.join()
        thread.listening.close()

    def test_compile_without_a_warning(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-Werror"))
        assert build.build(tmp_path).load.is_file()

    def test_a_compiler_that_fails_is_quoted(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(build, "FLAGS", ("--no-such-flag",))
        with pytest.raises(build.CannotBuild, match="no-such-flag"):
            build.build(tmp_path)

    def test_the_generator_detects_faults_of_frames(self, programs: build.Programs) -> None:
        with self.faulty_echo(programs) as run:
            found = run("echo", calls=1, seconds=1, warm_up=0)
        assert {key: found[key] for key in ("altered", "repeated", "filled_in")} == {
            "altered": 1,
            "repeated": 1,
            "filled_in": 1,
        }
        # The altered frame and the silenced one count as missing, too.
        assert found["missing"] == 3
        assert found["lost"] == 3
        assert statistics.faults(found) == ["lost 3", "missing 3", "altered 1", "repeated 1"]

    @pytest.mark.deadline(60)
    @pytest.mark.parametrize("other", [C, ASYNCIO])
    def test_the_other_servers_echo_and_send(self, programs: build.Programs, other: str) -> None:
        bench = Bench(programs, length=0.5)
        with bench.serving(other, {"VISITOR_APP": "echo"}) as server:
            for mode in ("flood", "echo", "churn"):
                found = bench.load(mode, server, 1, calls=5, warm_up=0.2)
                assert statistics.faults(found) == [], mode
                assert found["frames_per_s"] > 0
            assert "kb_per_call" in bench.load("quiet", server, 1, calls=5, base=1, settle=0.2)
        with bench.serving(other, {"VISITOR_APP": "play"}) as server, load.stalled(server.pid):
            found = bench.load("listen", server, 1, calls=5, warm_up=0.2)
        assert statistics.faults(found) == []
        assert found["speaking"] == 5

    def test_the_generator_rejects_unknown_options(self, programs: build.Programs) -> None:
        server = servers.Server(0, (1,), Path())
        for mode, options in (("flod", {}), ("flood", {"cals": 1}), ("flood", {"calls": 0})):
            with pytest.raises(load.LoadFailed, match="usage: load"):
                load.run_load(programs.load, mode, server, options)

    @pytest.mark.deadline(60)
    @pytest.mark.parametrize("dialect", ["twilio", "asterisk_ws"])
    def test_frames_return_unaltered_from_a_bot(self, programs: build.Programs, dialect: str) -> None:
        bench = Bench(programs, length=0.5)
        with bots.bot(dialect) as port, bots.bridge(OURS, dialect, port) as server:
            found = bench.load("listen", server, 1, calls=5, warm_up=0.5, coded=1)
        assert found["round_trip_p50_ms"] > 0
        assert (found["speaking"], found["altered"], found["repeated"]) == (5, 0, 0)

    @pytest.mark.deadline(60)
    def test_our_server_is_measured_like_the_others(self, programs: build.Programs) -> None:
        bench = Bench(programs, length=0.5)
        with bench.serving(OURS, {"VISITOR_APP": "loopback"}) as server:
            found = bench.load("flood", server, 1, calls=5, warm_up=0.2)
        assert statistics.faults(found) == []
        assert found["frames_per_s"] > 0
