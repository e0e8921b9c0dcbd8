"""Fixtures of the tests of the poller."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.poller import PollerFixture


@pytest.fixture
def fixture(tmp_path: Path) -> Iterator[PollerFixture]:
    made = PollerFixture(tmp_path)
    yield made
    made.close()
