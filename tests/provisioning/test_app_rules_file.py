"""The file ``apps.toml`` while a server runs: hot, for new calls, the last good one kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from audiosocket.apps import registry
from audiosocket.extensions.model import Extension, Role
from audiosocket.provisioning.app_rules import Chain
from audiosocket.provisioning.app_rules_file import LOOK_SECONDS, AppSelection
from tests.support.loopback_server import CapturedLog

EXTENSION = Extension(1, "1001", "r", "127.0.0.1", 9000, None, 15)


def at_once(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(function, *arguments)


class Fixture:
    def __init__(self, path: Path, *, quiet: bool = False) -> None:
        self.path = path
        self.clock = Clock()
        self.values: dict[str, str] = {}
        defaults = {role: Chain("echo", tuple(registry.load("echo")), f"{role.name}_APP") for role in Role}
        self.selection = AppSelection(
            path, defaults, lambda: self.values, registry.load, at_once, self.clock, quiet=quiet
        )
        self.selection.load_now()
        self.selection.startService()

    def write(self, text: str) -> None:
        """As an editor does: a new file under the old name."""
        new = self.path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        os.replace(new, self.path)

    def later(self, looks: int = 1) -> None:
        for _ in range(looks):
            self.clock.advance(LOOK_SECONDS)

    @property
    def visitor(self) -> str:
        return self.selection.choose(EXTENSION).chains[Role.VISITOR].spec


def test_without_a_file_the_settings_decide(tmp_path: Path) -> None:
    one = Fixture(tmp_path / "apps.toml")
    assert one.visitor == "echo"
    assert one.selection.to_json() == {
        "file": str(tmp_path / "apps.toml"),
        "state": "absent",
        "entries": 0,
        "line": None,
        "reason": None,
    }


def test_a_change_applies_within_one_look_and_to_new_calls_only(tmp_path: Path) -> None:
    one = Fixture(tmp_path / "apps.toml")
    before = one.selection.choose(EXTENSION)
    one.write('[extension."1001"]\nvisitor = "silence"\n')
    assert one.visitor == "echo"
    one.later()
    assert one.visitor == "silence"
    assert before.chains[Role.VISITOR].spec == "echo"
    assert one.selection.to_json()["state"] == "used"
    assert one.selection.to_json()["entries"] == 1


def test_a_file_that_cannot_be_used_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    one = Fixture(tmp_path / "apps.toml")
    one.write('[extension."1001"]\nvisitor = "silence"\n')
    one.later()
    log = CapturedLog()
    one.write('[extension."1001"]\nvisitor = "silent"\n')
    one.later(3)
    log.close()
    assert one.visitor == "silence"
    shown = one.selection.to_json()
    assert (shown["state"], shown["line"]) == ("rejected", 2)
    assert "'silent' is no app" in str(shown["reason"])
    assert len(log.containing("cannot be used, line 2")) == 1
    one.write('[extension."1001"]\nvisitor = "play"\n')
    one.later()
    assert one.visitor == "play"
    assert one.selection.to_json()["reason"] is None


def test_a_wrong_file_at_the_start_leaves_the_settings_in_force(tmp_path: Path) -> None:
    path = tmp_path / "apps.toml"
    path.write_bytes(b"\xff")
    one = Fixture(path)
    assert one.visitor == "echo"
    assert one.selection.to_json()["reason"] == "byte 1 is not UTF-8"


def test_a_file_that_is_gone_for_one_look_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "apps.toml"
    one = Fixture(path)
    one.write('[extension."1001"]\nvisitor = "silence"\n')
    one.later()
    path.unlink()
    one.later()
    assert one.visitor == "silence"
    one.later()
    assert one.visitor == "echo"
    assert one.selection.to_json()["state"] == "absent"


def test_a_directory_in_its_place_is_reported(tmp_path: Path) -> None:
    (tmp_path / "apps.toml").mkdir()
    one = Fixture(tmp_path / "apps.toml")
    assert "cannot be read" in str(one.selection.to_json()["reason"])


def test_another_process_that_reads_the_same_file_says_nothing(tmp_path: Path) -> None:
    one = Fixture(tmp_path / "apps.toml", quiet=True)
    log = CapturedLog()
    one.write("nonsense")
    one.later()
    one.write("")
    one.later()
    log.close()
    assert log == []
    assert one.selection.to_json()["state"] == "used"


def test_nothing_is_looked_at_after_the_stop(tmp_path: Path) -> None:
    one = Fixture(tmp_path / "apps.toml")
    one.selection.stopService()
    one.write('[extension."1001"]\nvisitor = "silence"\n')
    one.later(3)
    assert one.visitor == "echo"
    assert one.clock.getDelayedCalls() == []


def test_read_again_on_request_takes_new_values_of_placeholders(tmp_path: Path) -> None:
    one = Fixture(tmp_path / "apps.toml")
    one.write('[extension."1001"]\nvisitor = "twilio"\n[extension."1001".twilio]\nurl = "ws://${BOT}/"\n')
    one.later()
    assert one.selection.to_json()["state"] == "rejected"
    one.values["BOT"] = "bot.example"
    one.later()
    assert one.visitor == "echo"
    one.selection.read_again()
    assert one.visitor == "twilio"
