"""Which worker owns a call."""

from __future__ import annotations

from collections import Counter
from uuid import UUID, uuid4

import pytest

from audiosocket.workers.affinity import owner


def test_the_owner_of_a_uuid_is_the_same_in_every_process_and_version() -> None:
    ids = [UUID(int=number) for number in range(8)]
    assert [owner(call_id, 2) for call_id in ids] == [0, 1, 0, 0, 0, 1, 0, 1]
    assert {owner(uuid4(), 1) for _ in range(20)} == {0}


@pytest.mark.parametrize("step", [1, 1 << 64, 1 << 96], ids=["counted", "clocked", "high"])
def test_uuids_that_are_not_random_are_spread_evenly_too(step: int) -> None:
    counts = Counter(owner(UUID(int=(7 + number * step) % (1 << 128)), 4) for number in range(4_000))
    assert sorted(counts) == [0, 1, 2, 3]
    assert min(counts.values()) > 850
