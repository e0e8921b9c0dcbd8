"""The options of a visit: the concierge's number with what differs between extensions filled in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent

from audiosocket.apps.porteiro.visit_options import options_of
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from tests.support.porteiro_server import PorteiroServer


@pytest.mark.parametrize(("template", "number"), [("", ""), ("9", "9"), ("{ramal}9", "10009")])
def test_the_concierge_has_the_number_of_the_extension(tmp_path: Path, template: str, number: str) -> None:
    server = PorteiroServer(tmp_path, template)
    server.join(Role.VISITOR)
    assert options_of(server.contexts[-1], DEFAULT_EXTENSION).concierge == number


def test_a_concierge_that_cannot_be_rung_is_none_and_is_logged(tmp_path: Path) -> None:
    server = PorteiroServer(tmp_path, "{retorno}9")
    server.join(Role.VISITOR)
    with capturedLogs() as events:
        options = options_of(server.contexts[-1], replace(DEFAULT_EXTENSION, return_number=""))
    assert options.concierge == ""
    assert [formatEvent(event).partition(":")[0] for event in events] == ["PORTEIRO_CONCIERGE"]
