"""The directory of apartments: what a file says, and that nobody rings an apartment of another condominium."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from audiosocket.apps.porteiro.directory import MAX_NUMBERS, ApartmentFile, Directory, comparable, parse_file
from audiosocket.apps.porteiro.directory_files import DirectoryFiles
from audiosocket.interfaces import ApartmentMatch
from audiosocket.testing.leg_double import ManualThread

UNKNOWN = ApartmentMatch()


def file(*entries: Any, condominium: int | None = None, name: str = "apartamentos.json") -> ApartmentFile:
    return parse_file(name, json.dumps(entries).encode(), condominium)


def apartment(number: Any = "101", voip: Any = "1001", **more: Any) -> dict[str, Any]:
    return {"apartment_number": number, "voip_number": voip, **more}


def find(directory: Directory, typed: str, block: str = "", of: int = 7, all_of: tuple[int, ...] = (7,)) -> Any:
    return directory.find(of, typed, block, all_of)


class TestEntries:
    @pytest.mark.parametrize(
        ("entry", "numbers"),
        [
            (apartment(voip="1003030"), ("1003030",)),
            (apartment(voip=1003030), ("1003030",)),
            (apartment(voip="sip:101@pbx.example"), ("101",)),
            (apartment(voip="SIP:101@pbx.example:5060;transport=tcp"), ("101",)),
            (apartment(voip="sip:apto-101@10.0.0.1"), ("apto-101",)),
            (apartment(voip="9", numbers=["1021", 1022]), ("1021", "1022")),
            (apartment(voip=None, numbers=["1021", "1021"]), ("1021",)),
            (apartment(101, residents=["Ana", "Rui"]), ("1001",)),
            (apartment(" 101 ", residents=None), ("1001",)),
            (apartment("00101"), ("1001",)),
        ],
    )
    def test_the_old_service_wrote_them_like_this(self, entry: Any, numbers: tuple[str, ...]) -> None:
        known = file(entry)
        assert known.problems == []
        for typed in ("101", "0101", "1 01"):
            assert find(Directory({None: known}), typed) == ApartmentMatch(numbers)

    @pytest.mark.parametrize(
        ("entry", "problem"),
        [
            ("text", "it is not an object"),
            ({}, "apartment_number is missing"),
            (apartment("  "), "apartment_number is missing"),
            (apartment(True), "apartment_number is neither text nor a number"),
            (apartment(voip=""), "apartment 101 has no number: voip_number is missing"),
            (apartment(voip=None), "apartment 101 has no number: voip_number is missing"),
            (apartment(numbers=[]), "apartment 101 has no number: voip_number is missing"),
            (apartment(numbers="1"), "numbers is not a list"),
            (apartment(voip="1 & System"), "'1 & System' is not a number that can be called"),
            (apartment(voip="10/x@y"), "'10/x@y' is not a number that can be called"),
            (apartment(voip="sip:@x"), "'sip:@x' is not a number that can be called"),
            (apartment(numbers=[str(n) for n in range(17)]), "apartment 101 has 17 numbers; at most 16 are rung"),
            (apartment(condominio_id="x"), "condominio_id is 'x', which is no number"),
            (apartment("1" * 81), "apartment_number is longer than 80 characters or not printable"),
            (apartment(residents=["a\nb\x00"]), "residents is longer than 80 characters or not printable"),
        ],
    )
    def test_a_bad_one_costs_only_itself(self, entry: Any, problem: str) -> None:
        known = file(apartment("99"), entry, apartment("103"))
        assert known.problems == [f"apartamentos.json: entry 2: {problem}"]
        assert known.total == 2
        assert find(Directory({None: known}), "103").numbers == ("1001",)

    def test_the_first_of_two_counts(self) -> None:
        known = file(apartment("101", "1"), apartment("0101", "2"))
        assert find(Directory({None: known}), "101").numbers == ("1",)
        assert "is there already" in known.problems[0]

    def test_letters_cannot_be_typed(self) -> None:
        assert "cannot be typed" in file(apartment("12A")).problems[0]

    def test_the_most_numbers(self) -> None:
        numbers = [str(number) for number in range(MAX_NUMBERS)]
        assert find(Directory({None: file(apartment(numbers=numbers))}), "101").numbers == tuple(numbers)

    @pytest.mark.parametrize(
        "text", ["", "{}", "[", "[{}", "[{},]", "[{} {}]", "[] x", "nul", '"text"', "[1}", "[" * 100_000]
    )
    def test_what_is_no_list_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError):
            parse_file("apartamentos.json", text.encode())

    @pytest.mark.parametrize("text", ["[]", " [ ] ", "\ufeff[]\n"])
    def test_an_empty_list_is_one(self, text: str) -> None:
        assert parse_file("apartamentos.json", text.encode()).total == 0

    def test_it_is_utf_8(self) -> None:
        with pytest.raises(ValueError):
            parse_file("apartamentos.json", '[{"apartment_number": "é"}]'.encode("latin-1"))

    @given(st.text(alphabet="0 1A\t", max_size=8))
    def test_how_numbers_compare(self, text: str) -> None:
        bare = comparable(text)
        assert comparable(f" 0{text}") in {bare, "0"}
        assert comparable(bare) == bare
        assert " " not in bare


class TestBlocks:
    KNOWN = Directory({None: file(apartment("1", "11", block="1"), apartment("1", "12", block="B"))})

    def test_the_block_is_asked_for_where_several_have_it(self) -> None:
        assert find(self.KNOWN, "1") == ApartmentMatch(ask_block=True)

    @pytest.mark.parametrize(("typed", "numbers"), [("1", ("11",)), ("01", ("11",)), ("2", ("12",)), ("3", ())])
    def test_a_letter_is_typed_as_its_number(self, typed: str, numbers: tuple[str, ...]) -> None:
        assert find(self.KNOWN, "1", typed).numbers == numbers

    def test_one_block_need_not_be_typed(self) -> None:
        assert find(Directory({None: file(apartment(block="C"))}), "101").numbers == ("1001",)


class TestCondominiums:
    def test_without_an_id_it_is_that_of_the_only_condominium(self) -> None:
        known = Directory({None: file(apartment())})
        assert find(known, "101").numbers == ("1001",)
        assert known.refusal([7]) == ""

    @pytest.mark.parametrize("all_of", [(7, 8), (8,)])
    def test_with_several_it_is_nobodys(self, all_of: tuple[int, ...]) -> None:
        known = Directory({None: file(apartment(), apartment("102", condominio_id=7))})
        assert find(known, "101", all_of=all_of) == UNKNOWN
        assert find(known, "102", all_of=all_of).numbers == ("1001",)

    def test_that_is_said_in_one_line(self) -> None:
        known = Directory({None: file(*[apartment(str(number)) for number in range(50)])})
        assert known.refusal([7, 8]).startswith(
            "apartamentos.json: 50 entries have no condominio_id and there are 2"
        )

    def test_while_the_condominiums_are_not_known_it_is_nobodys(self) -> None:
        assert Directory({None: file(apartment())}).find(7, "101", "", None) == UNKNOWN

    def test_its_own_file_replaces_the_shared_one(self) -> None:
        known = Directory(
            {
                None: file(apartment("101", "1", condominio_id=7), apartment("102", "2", condominio_id=8)),
                7: file(apartment("103", "3"), condominium=7, name="apartamentos-7.json"),
            }
        )
        assert [find(known, typed, all_of=(7, 8)).numbers for typed in ("101", "102", "103")] == [(), (), ("3",)]
        assert find(known, "102", of=8, all_of=(7, 8)).numbers == ("2",)

    def test_an_entry_of_another_condominium_in_its_file_is_refused(self) -> None:
        known = file(apartment(condominio_id=8), condominium=7, name="apartamentos-7.json")
        assert known.total == 0
        assert "is of condominium 8, the file of 7" in known.problems[0]

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([None, 7, 8, 9]),  # which file: the shared one, or that of a condominium
                st.sampled_from([None, 7, 8, 9, "8"]),  # what the entry says
                st.sampled_from(["1", "2", "01"]),
            ),
            max_size=12,
        ),
        st.sampled_from([7, 8, 9]),
        st.sampled_from([(7,), (8,), (7, 8), (7, 8, 9), None]),
        st.sampled_from(["1", "2", "3"]),
    )
    def test_nobody_rings_another_condominium_whatever_the_files_say(
        self,
        entries: list[tuple[int | None, Any, str]],
        of: int,
        all_of: tuple[int, ...] | None,
        typed: str,
    ) -> None:
        """Each number says of which file it is, and what its entry said."""
        files: dict[int | None, list[Any]] = {}
        for number, (where, said, name) in enumerate(entries):
            files.setdefault(where, []).append(
                apartment(
                    name, f"{where or 0}-{said or 0}-{number}", **({} if said is None else {"condominio_id": said})
                )
            )
        known = Directory({key: file(*each, condominium=key) for key, each in files.items()})
        for rung in known.find(of, typed, "", all_of).numbers:
            of_file, of_entry, _ = rung.split("-")
            assert of_file in {"0", str(of)}
            assert of_entry in {"0", str(of)}
            if of_file == of_entry == "0":
                assert all_of is not None
                assert set(all_of) <= {of}


class Files:
    """The service over a directory, with a thread and a clock that the test moves."""

    def __init__(self, directory: Path, *condominiums: int, **options: Any) -> None:
        self.directory = directory
        self.clock = Clock()
        self.thread = ManualThread()
        self.condominiums = condominiums or (7,)
        self.service = DirectoryFiles(directory, lambda: self.condominiums, self.clock, self.thread, **options)
        self.service.startService()

    def write(self, name: str, *entries: Any, text: str | None = None) -> None:
        (self.directory / name).write_text(json.dumps(entries) if text is None else text)
        self.look()

    def look(self) -> None:
        self.clock.advance(2)

    def numbers(self, typed: str = "101", of: int = 7) -> tuple[str, ...]:
        return self.service.find(of, typed).numbers


class TestFiles:
    def test_a_change_is_read_within_seconds(self, tmp_path: Path) -> None:
        files = Files(tmp_path)
        assert files.numbers() == ()
        files.write("apartamentos.json", apartment(voip="1"))
        assert files.numbers() == ("1",)
        files.write("apartamentos.json", apartment(voip="222"))
        assert files.numbers() == ("222",)
        reads = files.service.reads
        files.look()
        assert files.service.reads == reads

    def test_a_file_that_is_damaged_leaves_what_it_said(self, tmp_path: Path) -> None:
        files = Files(tmp_path)
        files.write("apartamentos.json", apartment(voip="1"))
        files.write("apartamentos.json", text='[{"apartment_number": ')
        assert files.numbers() == ("1",)
        status = files.service.to_json()
        assert status["problems_total"] == 1
        assert "stays in force" in status["problems"][0]
        files.write("apartamentos.json", apartment(voip="2"))
        assert files.numbers() == ("2",)
        assert files.service.to_json()["problems"] == []

    def test_a_damaged_file_of_its_own_does_not_bring_the_shared_one_back(self, tmp_path: Path) -> None:
        files = Files(tmp_path)
        files.write("apartamentos.json", apartment(voip="1", condominio_id=7))
        files.write("apartamentos-7.json", text="{")
        assert files.numbers() == ()

    def test_a_file_that_is_gone_is_not_used(self, tmp_path: Path) -> None:
        files = Files(tmp_path)
        files.write("apartamentos.json", apartment(voip="1", condominio_id=7))
        files.write("apartamentos-7.json", apartment(voip="2"))
        assert files.numbers() == ("2",)
        (tmp_path / "apartamentos-7.json").unlink()
        files.look()
        assert files.numbers() == ("1",)

    def test_other_files_are_nobodys(self, tmp_path: Path) -> None:
        files = Files(tmp_path)
        files.write("apartamentos-x.json", apartment())
        files.write("apartamentos-7.json.bak", apartment())
        assert files.service.to_json()["files"] == []

    def test_a_second_condominium_makes_the_shared_file_nobodys(self, tmp_path: Path) -> None:
        files = Files(tmp_path)
        files.write("apartamentos.json", apartment(voip="1"))
        assert files.numbers() == ("1",)
        files.condominiums = (7, 8)
        assert files.numbers() == ()
        assert "no condominio_id" in files.service.to_json()["problems"][-1]

    def test_the_list_is_in_pages_and_masked(self, tmp_path: Path) -> None:
        files = Files(tmp_path, 7, 8)
        files.write("apartamentos-7.json", *[apartment(str(number), f"100{number}") for number in range(25)])
        files.write("apartamentos-8.json", apartment("1", "99"))
        page = files.service.listing(7, 10, 20)
        assert [one["apartment_number"] for one in page["apartments"]] == ["20", "21", "22", "23", "24"]
        assert page["apartments"][0]["numbers"] == ["***20"]
        assert page["next_offset"] is None
        assert files.service.listing(None, 10, 0)["next_offset"] == 10
        assert [one["condominio_id"] for one in files.service.listing(8, 10, 0)["apartments"]] == [8]

    def test_a_fresh_install_takes_any_apartment(self, tmp_path: Path) -> None:
        files = Files(tmp_path, take_any=True)
        assert files.numbers("0042") == ("42",)
        files.write("apartamentos.json", apartment())
        assert files.numbers("0042") == ()

    def test_pages_put_together_are_the_whole(self, tmp_path: Path) -> None:
        files = Files(tmp_path, 7, 8)
        files.write("apartamentos.json", *[apartment(str(n), "1", condominio_id=7) for n in range(1, 8)])
        files.write("apartamentos-8.json", *[apartment(str(n), "1") for n in range(1, 6)])
        whole = files.service.listing(None, 100, 0)
        assert (len(whole["apartments"]), whole["next_offset"]) == (12, None)
        for limit in (1, 2, 5, 7, 12):
            found: list[Any] = []
            while True:
                page = files.service.listing(None, limit, len(found))
                found += page["apartments"]
                if page["next_offset"] is None:
                    break
                assert page["next_offset"] == len(found)
            assert found == whole["apartments"]
        assert files.service.listing(None, 5, 12)["apartments"] == []

    def test_fifty_thousand_entries(self, tmp_path: Path) -> None:
        many = [apartment(str(number), f"1{number}", residents=["Ana", "Rui"]) for number in range(50_000)]
        files = Files(tmp_path)
        files.write("apartamentos.json", *many)
        assert files.service.to_json()["total"] == 50_000
        assert files.numbers("49999") == ("149999",)
        for _ in range(3):  # one pass for each level of tuples
            gc.collect()
        rows = files.service.current.files[None].rows[None].values()
        visited = [one for one in rows if gc.is_tracked(one)]
        assert visited == [], "the collector visits them each time, while all calls wait"
        files.write("apartamentos.json", apartment("1", "1"))
        assert files.numbers("49999") == ()
