"""What the status does after a change, with many extensions: only what has changed, and in pieces."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from audiosocket.extensions.model import Extension, Role
from audiosocket.json_shapes import ExtensionStatusJSON
from audiosocket.provisioning.app_rules import CallApps, Chain
from audiosocket.provisioning.listeners import Listeners
from audiosocket.server.extension_status import PER_TURN, ExtensionStatus
from tests.support.loopback_server import extension

NUMBER = 1_000


class Fixture:
    """A status over extensions without sockets; ``looked_at`` has the ids of those that were looked at."""

    def __init__(self) -> None:
        self.listeners = Listeners(cast("Any", None), cast("Any", Clock()))
        self.apps = "echo"
        self.revision = 0
        self.looked_at: list[int] = []
        self.turns: list[Deferred[None]] = []
        for number in range(NUMBER):
            self.enter(extension(number, 10_000 + number))
        configuration = {
            "source": "file",
            "source_since": None,
            "file_trouble": "",
            "last": None,
            "last_success": None,
        }
        poller = SimpleNamespace(configuration=SimpleNamespace(**configuration))
        self.status = ExtensionStatus(self.listeners, cast("Any", poller), None, cast("Any", self), lambda: 0.0)

    def enter(self, extension: Extension) -> None:
        self.listeners._enter(extension)

    def choose(self, extension: Extension) -> CallApps:
        """Implements `AppSelection`, as does `to_json`."""
        self.looked_at.append(extension.id)
        chain = Chain(self.apps, (), "VISITOR_APP")
        return CallApps({Role.VISITOR: chain, Role.RESIDENT: chain})

    def to_json(self) -> dict[str, object]:
        return {}

    def turn(self) -> Deferred[None]:
        self.turns.append(Deferred())
        return self.turns[-1]

    def taken(self) -> list[int]:
        """Return the ids of extensions that were looked at since the last time."""
        taken, self.looked_at = self.looked_at, []
        return taken

    def shown(self) -> list[ExtensionStatusJSON]:
        """Return the extensions of the status."""
        return self.status.to_json({}, {"range": "", "outside": []})["extensions"]


def test_many_extensions_are_looked_at_in_pieces_and_once() -> None:
    here = Fixture()
    done = Deferred.fromCoroutine(here.status.catch_up(here.turn))
    pieces = [here.taken()]
    while not done.called:
        here.turns[-1].callback(None)
        pieces.append(here.taken())
    shown = here.shown()
    pieces.append(here.taken())
    assert max(map(len, pieces)) <= PER_TURN
    assert sorted(key for piece in pieces for key in piece) == list(range(NUMBER))
    assert [each["id"] for each in shown] == list(range(NUMBER))
    assert here.status.to_json({7: 2}, {"range": "", "outside": []})["extensions"][7]["live_calls"] == 2
    assert here.taken() == []


def test_after_a_change_only_what_has_changed_is_looked_at() -> None:
    here = Fixture()
    before = here.shown()
    here.taken()
    here.enter(replace(extension(5, 10_005), number="other"))
    here.enter(extension(NUMBER, 20_000))
    shown = here.shown()
    assert here.taken() == [5, NUMBER]
    assert shown[5]["ramal_ia"] == "other"
    assert [each for each in shown if each not in before] == [shown[5], shown[NUMBER]]


def test_changes_while_it_is_looked_at_are_shown() -> None:
    here = Fixture()
    done = Deferred.fromCoroutine(here.status.catch_up(here.turn))
    here.enter(replace(extension(0, 10_000), number="other"))
    while not done.called:
        here.turns[-1].callback(None)
    assert here.shown()[0]["ramal_ia"] == "other"


def test_other_apps_are_shown_for_every_extension() -> None:
    here = Fixture()
    here.shown()
    here.apps, here.revision = "porteiro", 1
    assert {each["visitor_app"] for each in here.shown()} == {"porteiro"}
