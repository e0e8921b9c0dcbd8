"""Apartments and their numbers, as the files say: pure parsing and look-up.

``apartamentos.json`` is a list of ``{"apartment_number", "residents", "voip_number"}``; an entry may have
``condominio_id``, ``block`` and ``numbers``, too. ``apartamentos-<condominio_id>.json`` is the same for one
condominium, for which it replaces the shared file. Apartments and blocks compare as text without blanks and
leading zeros.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from audiosocket.errors import LocalProtocolError
from audiosocket.interfaces import ApartmentMatch
from audiosocket.returncalls.dial_string import checked_number

SHARED_NAME = "apartamentos.json"
OWN_NAME = re.compile(r"apartamentos-([0-9]{1,10})\.json", re.ASCII)
#: Numbers of one apartment: each rings for RETURN_RING_SECONDS.
MAX_NUMBERS = 16
MAX_TEXT = 80
#: Problems of one file that are kept in words; the others are counted.
MAX_PROBLEMS = 200
#: Entries and bytes worked on between two pauses.
PIECE = 100
PIECE_BYTES = 65_536
_SIP = re.compile(r"sips?:([^@;\s]+)(?:@\S+)?", re.IGNORECASE)
_WHITESPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode

#: Apartment, block, numbers, residents, condominium (None: not said). The collector of garbage forgets tuples of
#: texts, also those within tuples; 50,000 lists or objects it would visit each time.
Row: TypeAlias = "tuple[str, str, tuple[str, ...], tuple[str, ...], int | None]"


@dataclass
class ApartmentFile:
    """What one file says. ``condominium`` is that of its name, None for the shared one."""

    name: str
    condominium: int | None = None
    #: By condominium and by apartment as it compares.
    rows: dict[int | None, dict[str, tuple[Row, ...]]] = field(default_factory=dict)
    #: The same rows by condominium, in the order of the file.
    ordered: dict[int | None, list[Row]] = field(default_factory=dict)
    total: int = 0
    problems: list[str] = field(default_factory=list)
    problems_total: int = 0

    def complain(self, problem: str) -> None:
        """Keep what is wrong with one entry."""
        self.problems_total += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{self.name}: {problem}")

    def take(self, number: int, entry: object) -> None:
        """Add entry ``number`` of the file, or complain of it."""
        try:
            row = parse_entry(entry, self.condominium)
        except ValueError as error:
            self.complain(f"entry {number}: {error}")
            return
        apartment, block = comparable(row[0]), comparable(row[1])
        known = self.rows.setdefault(row[4], {})
        same = known.get(apartment, ())
        if any(comparable(other[1]) == block for other in same):
            where = f" in block {row[1]}" if row[1] else ""
            self.complain(f"entry {number}: apartment {row[0]}{where} is there already; the first one counts")
            return
        if not apartment.isdigit():
            self.complain(f"entry {number}: apartment {row[0]!r} cannot be typed on a telephone")
        known[apartment] = (*same, row)
        self.ordered.setdefault(row[4], []).append(row)
        self.total += 1


def parse_file(
    name: str, data: bytes, condominium: int | None = None, pause: Callable[[], object] = lambda: None
) -> ApartmentFile:
    """The file of this name; ``pause`` is called again and again, so that others can work meanwhile.

    Raises `ValueError` for what is not a JSON list in UTF-8.
    """
    parsed = ApartmentFile(name, condominium)
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    pieces = []
    for at in range(0, len(data), PIECE_BYTES):
        pieces.append(decoder.decode(data[at : at + PIECE_BYTES]))
        pause()
    pieces.append(decoder.decode(b"", final=True))
    for number, entry in enumerate(entries("".join(pieces)), 1):
        parsed.take(number, entry)
        if number % PIECE == 0:
            pause()
    return parsed


def entries(text: str) -> Iterator[Any]:
    """The elements of a JSON list, one after the other; raises `ValueError` where it is none."""
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        raise ValueError("it is not a JSON list of apartments")
    at = _skip(text, at + 1)
    if text[at : at + 1] != "]":
        while True:
            try:
                entry, at = _decode(text, at)
            except RecursionError:
                raise ValueError("it is nested too deeply") from None
            yield entry
            at = _skip(text, at)
            if text[at : at + 1] == "]":
                break
            if text[at : at + 1] != ",":
                raise json.JSONDecodeError("Expecting ',' or ']'", text, at)
            at = _skip(text, at + 1)
    if _skip(text, at + 1) != len(text):
        raise json.JSONDecodeError("Extra data", text, at + 1)


def _skip(text: str, at: int) -> int:
    found = _WHITESPACE.match(text, at)
    return at if found is None else found.end()


def parse_entry(entry: object, condominium: int | None = None) -> Row:
    """One apartment; ``condominium`` is that of its file. Raises `ValueError`, in words for people."""
    if not isinstance(entry, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - one error for the caller
    apartment = _text(entry.get("apartment_number"), "apartment_number")
    if not comparable(apartment):
        raise ValueError("apartment_number is missing")
    block = _text(entry.get("block"), "block")
    given = entry.get("numbers")
    if given is None:
        voip = entry.get("voip_number")
        given = [] if voip is None or voip == "" else [voip]
    if not isinstance(given, list):
        raise ValueError("numbers is not a list")  # noqa: TRY004
    numbers = tuple(dict.fromkeys(_number(one) for one in given))
    if not numbers:
        raise ValueError(f"apartment {apartment} has no number: voip_number is missing")
    if len(numbers) > MAX_NUMBERS:
        raise ValueError(f"apartment {apartment} has {len(numbers)} numbers; at most {MAX_NUMBERS} are rung")
    residents = entry.get("residents")
    names = tuple(_text(one, "residents") for one in (residents if isinstance(residents, list) else []))
    own = _condominium(entry.get("condominio_id"))
    if condominium is not None and own not in {None, condominium}:
        raise ValueError(
            f"apartment {apartment} is of condominium {own}, the file of {condominium}; it is not used"
        )
    return apartment, block, numbers, names, own if condominium is None else condominium


def comparable(text: str) -> str:
    """Apartment or block as it compares: without blanks and leading zeros, in capitals."""
    bare = "".join(text.split()).upper()
    return bare.lstrip("0") or bare[:1]


def _text(value: object, key: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{key} is neither text nor a number")  # noqa: TRY004
    text = " ".join(str(value).split())
    if len(text) > MAX_TEXT or not text.isprintable():
        raise ValueError(f"{key} is longer than {MAX_TEXT} characters or not printable")
    return text


def _number(value: object) -> str:
    text = _text(value, "the number")
    sip = _SIP.fullmatch(text)
    try:
        return checked_number(sip[1] if sip else text)
    except LocalProtocolError as problem:
        raise ValueError(str(problem)) from None


def _condominium(value: object) -> int | None:
    text = _text(value, "condominio_id")
    if not text:
        return None
    if not re.fullmatch(r"-?[0-9]{1,10}", text, re.ASCII):
        raise ValueError(f"condominio_id is {text!r}, which is no number")
    return int(text)


@dataclass(frozen=True)
class Directory:
    """All files together, by condominium of their names; ``None`` is the shared one."""

    files: Mapping[int | None, ApartmentFile] = field(default_factory=dict)

    def find(
        self, condominium: int, apartment: str, block: str, condominiums: Iterable[int] | None
    ) -> ApartmentMatch:
        """The apartment of this condominium. ``condominiums`` are those of all extensions, None while not known.

        Where several have it, the block decides; a block with a letter may be typed as a number: A is 1, B is 2.
        """
        label = comparable(apartment)
        parts = self._parts(condominium, condominiums)
        rows = [row for file, key in parts for row in file.rows.get(key, {}).get(label, ())]
        blocks = {comparable(row[1]) for row in rows}
        if block:
            wanted = comparable(block)
            if wanted not in blocks and wanted.isdigit() and 1 <= int(wanted) <= 26:
                wanted = chr(ord("A") + int(wanted) - 1)
            rows = [row for row in rows if comparable(row[1]) == wanted]
        elif len(blocks) > 1:
            return ApartmentMatch(ask_block=True)
        return ApartmentMatch(rows[0][2]) if rows else ApartmentMatch()

    def _parts(
        self, condominium: int, condominiums: Iterable[int] | None
    ) -> list[tuple[ApartmentFile, int | None]]:
        """Return what counts for a condominium: its file, else its part of the shared one; keys of ``rows``."""
        own = self.files.get(condominium)
        if own is not None:
            return [(own, condominium)]
        shared = self.files.get(None)
        if shared is None:
            return []
        if condominiums is not None and {condominium, *condominiums} == {condominium}:
            return [(shared, condominium), (shared, None)]
        return [(shared, condominium)]

    def refusal(self, condominiums: Iterable[int] | None) -> str:
        """Return why entries of the shared file are not used, in one line; empty when all are."""
        shared = self.files.get(None)
        known = set(condominiums or ())
        if shared is None or len(known) < 2:
            return ""
        unsaid = len(shared.ordered.get(None, ()))
        if not unsaid:
            return ""
        return (
            f"{shared.name}: {unsaid} entries have no condominio_id and there are {len(known)} condominiums; "
            "they are not used, because visitors of one could ring apartments of another"
        )

    def page(
        self, condominium: int | None, condominiums: Sequence[int], offset: int, count: int
    ) -> list[tuple[int, Row, str]]:
        """Return condominium, row and file of at most ``count`` apartments, of all or of one condominium."""
        known = sorted({*condominiums, *(key for key in self.files if key is not None)})
        found: list[tuple[int, Row, str]] = []
        for one in known if condominium is None else [condominium]:
            for file, key in self._parts(one, condominiums):
                rows = file.ordered.get(key, [])
                wanted = rows[offset : offset + count - len(found)]
                found += [(one, row, file.name) for row in wanted]
                offset = max(0, offset - len(rows))
        return found
