"""The apps of a call: made once, of the right kind, with what their table says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from twisted.internet.task import Clock

from audiosocket.calls.call import Call
from audiosocket.calls.events import EventLog
from audiosocket.calls.leg_apps import REPLACED
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.interfaces import App, AppContext, AppFactory, CallPolicy
from audiosocket.provisioning.app_rules import CallApps, Chain, Parameters
from audiosocket.server.app_instances import AppInstances
from tests.support.fake_leg import FakeLeg, app_context
from tests.support.logged_failures import LoggedFailures
from tests.support.loopback_server import CapturedLog


class Told(App):
    """Keeps its context."""

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)

    @staticmethod
    def parse_parameters(given: Mapping[str, Any], directory: Path) -> str:
        return "the default"


def call() -> Call:
    return Call(uuid4(), DEFAULT_EXTENSION, 0.0, "now", EventLog())


def chosen(factory: AppFactory, *, record: bool = False, **parameters: Any) -> CallApps:
    chain = Chain("told", (("told", factory),), "a test")
    return CallApps(
        dict.fromkeys(Role, chain),
        CallPolicy(record=record, transcript=True),
        {name: Parameters(value, {}, "a test") for name, value in parameters.items()},
    )


def instances(apps: CallApps) -> AppInstances:
    return AppInstances(lambda extension: apps, app_context(Clock()), lambda spec: [(spec, Told)])


def test_both_legs_share_an_app_and_calls_do_not() -> None:
    made = instances(chosen(Told))
    one, other = call(), call()
    assert made.of(one, Role.VISITOR)[0][1] is made.of(one, Role.RESIDENT)[0][1]
    assert made.of(one, Role.VISITOR)[0][1] is not made.of(other, Role.VISITOR)[0][1]


def test_an_app_is_given_its_parameters_and_the_policy() -> None:
    ((_, app),) = instances(chosen(Told, told="the table")).of(call(), Role.VISITOR)
    assert app.context is not None
    assert app.context.parameters == "the table"
    assert app.context.policy.transcript
    assert app.context.chains == {role: ("told",) for role in Role}


def test_an_app_without_a_table_has_its_defaults() -> None:
    ((_, app),) = instances(chosen(Told)).of(call(), Role.VISITOR)
    assert app.context is not None
    assert app.context.parameters == "the default"


@pytest.mark.parametrize("returned", [None, 5, Told, object()])
def test_a_factory_that_returns_no_app_ends_its_call(returned: Any, logged_failures: LoggedFailures) -> None:
    heard = CapturedLog()
    ((name, app),) = instances(chosen(cast(AppFactory, lambda context: returned))).of(call(), Role.VISITOR)
    heard.close()
    assert name == "told"
    with pytest.raises(LookupError):
        app.joined(FakeLeg(Clock()))
    assert len(logged_failures.flush(TypeError)) == 1
    assert heard.containing("app told cannot be made")


def test_a_leg_that_was_taken_over_before_a_restart_runs_what_took_it_over() -> None:
    one = call()
    one.states = {(Role.VISITOR, REPLACED): {"apps": "porteiro"}}
    made = instances(chosen(Told))
    assert [name for name, _ in made.of(one, Role.VISITOR)] == ["porteiro"]
    assert [name for name, _ in made.of(one, Role.RESIDENT)] == ["told"]


def test_record_is_true_records_whatever_runs() -> None:
    made = instances(chosen(Told, record=True))
    assert [name for name, _ in made.of(call(), Role.VISITOR)] == ["told", "record"]
    assert [name for name, _ in made.of(call(), Role.RESIDENT)] == ["told", "record"]


def test_an_app_that_is_named_already_records_once() -> None:
    chain = Chain("record", (("record", Told),), "a test")
    made = instances(CallApps(dict.fromkeys(Role, chain), CallPolicy(record=True)))
    assert [name for name, _ in made.of(call(), Role.VISITOR)] == ["record"]
