"""Settings that changed while the server runs: applied, or named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from twisted.internet.defer import maybeDeferred

from audiosocket.errors import InvalidSetting
from audiosocket.provisioning.settings_changes import SettingsChanges
from tests.support.logged_failures import LoggedFailures
from tests.support.loopback_server import CapturedLog


@dataclass(frozen=True)
class Given:
    drain_seconds: float = 30
    api_token: str = ""
    workers: int = 1


class Fixture:
    def __init__(self) -> None:
        self.file: Given | Exception = Given()
        self.applied: list[float] = []
        self.heard = CapturedLog()
        appliers = {"drain_seconds": self.applied.append}
        self.changes = SettingsChanges(Given(), self._read, appliers, maybeDeferred)

    def _read(self) -> Given:
        if isinstance(self.file, Exception):
            raise self.file
        return self.file


@pytest.fixture
def fixture() -> Iterator[Fixture]:
    fixture = Fixture()
    yield fixture
    fixture.heard.close()


def test_what_can_change_is_applied_once(fixture: Fixture) -> None:
    fixture.file = Given(drain_seconds=60)
    fixture.changes.read_again()
    fixture.changes.read_again()
    assert fixture.applied == [60]
    assert fixture.heard.containing("DRAIN_SECONDS is 60 from now on")
    fixture.file = Given()
    fixture.changes.read_again()
    assert fixture.applied == [60, 30]


def test_what_needs_a_restart_is_named_without_its_value(fixture: Fixture) -> None:
    fixture.file = Given(api_token="a secret", workers=2)
    fixture.changes.read_again()
    assert fixture.heard.containing("need a restart: API_TOKEN, WORKERS")
    assert not fixture.heard.containing("a secret")
    fixture.file = replace(fixture.file, api_token="", workers=1)
    fixture.changes.read_again()
    assert len(fixture.heard.containing("need a restart")) == 1, "as it was at the start"


def test_a_file_that_cannot_be_read_changes_nothing(fixture: Fixture, logged_failures: LoggedFailures) -> None:
    fixture.file = InvalidSetting("line 3 cannot be read")
    fixture.changes.read_again()
    assert fixture.heard.containing("the settings stay as they are: line 3 cannot be read")
    fixture.file = ZeroDivisionError()
    fixture.changes.read_again()
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    assert fixture.applied == []
