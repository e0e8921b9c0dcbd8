"""Visits as JSON: apartments, and files about calls."""

from __future__ import annotations

from typing import TypedDict


class ApartmentFileJSON(TypedDict):
    """One file of apartments; ``condominio_id`` is None for the shared one."""

    name: str
    condominio_id: int | None
    apartments: int


class ApartmentsJSON(TypedDict):
    """The directory of apartments: its files, and what is wrong with them."""

    total: int
    files: list[ApartmentFileJSON]
    problems_total: int
    problems: list[str]


class ApartmentJSON(TypedDict):
    """One apartment; ``numbers`` are masked."""

    apartment_number: str
    block: str
    condominio_id: int
    residents: list[str]
    numbers: list[str]
    file: str


class ApartmentPageJSON(ApartmentsJSON):
    """A page of apartments; ``next_offset`` is None for the last one."""

    apartments: list[ApartmentJSON]
    next_offset: int | None


class MediaFileJSON(TypedDict):
    """A recording or transcript of a call."""

    name: str
    bytes: int
    changed_at: str
