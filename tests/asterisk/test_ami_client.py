"""The AMI client: login, actions, events, and every way in which a connection can be none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import defer, error, task
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import provider

from audiosocket.asterisk.ami.client import AMIClient
from audiosocket.asterisk.ami.session import AMIDown, AMIRefused, Session
from audiosocket.errors import InvalidSetting, LocalProtocolError
from tests.support.fake_ami import (
    SECRET,
    USER,
    Action,
    AMIFixture,
    FakeAMIConnection,
    FakeAMIServer,
    connection_refused,
)
from tests.support.logged_failures import LoggedFailures
from tests.support.reactor import reactor


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def world() -> Iterator[AMIFixture]:
    world = AMIFixture()
    yield world
    world.finish()


def outcome(deferred: defer.Deferred[Any]) -> list[Any]:
    """Filled when the Deferred fires: with its result or its exception."""
    seen: list[Any] = []
    deferred.addCallbacks(seen.append, lambda failure: seen.append(failure.value))
    return seen


@pytest.mark.parametrize("challenge", [True, False])
def test_logs_in_and_keeps_the_secret(challenge: bool, log: list[str]) -> None:
    world = AMIFixture(challenge=challenge)
    assert world.ami.state == ("down", "not started")
    world.start()
    assert world.ami.state == ("up", "")
    (login,) = world.asterisk.actions_named("Login")
    assert login["Events"] == "call,dialplan"
    assert ("Secret" in login) is not challenge
    world.finish()
    assert world.ami.state == ("down", "stopped")
    assert not [line for line in log if SECRET in line]
    assert SECRET not in repr(vars(world.ami).keys())


def test_a_wrong_secret_is_logged_and_not_tried_often(log: list[str]) -> None:
    world = AMIFixture(secret="something else")
    world.start()
    state, reason = world.ami.state
    assert state == "down"
    assert "login refused" in reason
    assert "Authentication failed" in reason
    assert world.endpoint.attempts == 1
    assert isinstance(outcome(world.ami.ready(3))[0], AMIDown)  # nor do callers of `ready`
    world.run(9.9)
    assert world.endpoint.attempts == 1
    world.run(120)
    assert 3 <= world.endpoint.attempts <= 5
    assert len([line for line in log if "AMI is down" in line]) == 1
    assert not [line for line in log if "something else" in line]
    world.asterisk.secret = "something else"  # the administrator corrects it
    world.run(60)
    assert world.ami.state == ("up", "")
    world.finish()


def test_a_refused_connection_is_retried_with_growing_pauses(world: AMIFixture, log: list[str]) -> None:
    world.endpoint.problem = connection_refused()
    world.start()
    assert world.ami.state == ("down", "connection refused: does Asterisk run, with AMI enabled?")
    at = [0.0]
    attempts = 1
    while len(at) < 8:
        world.run(0.25, step=0.25)
        if world.endpoint.attempts > attempts:
            attempts = world.endpoint.attempts
            at.append(world.clock.seconds())
    assert [b - a for a, b in itertools.pairwise(at)] == [0.5, 1, 2, 4, 8, 10, 10]
    assert len([line for line in log if "AMI is down" in line]) == 1
    world.endpoint.problem = None
    world.run(10)
    assert world.ami.state == ("up", "")


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (error.TimeoutError(), "no connection within 5 s"),
        (error.DNSLookupError("no such host"), "no such host"),
        (error.NoRouteError(), "No route to host"),
    ],
)
def test_why_there_is_no_connection(world: AMIFixture, problem: Exception, reason: str) -> None:
    world.endpoint.problem = problem
    world.start()
    assert world.ami.state[0] == "down"
    assert reason in world.ami.state[1]


def test_a_host_that_does_not_answer(world: AMIFixture) -> None:
    world.endpoint.silent = True
    world.start()
    assert world.ami.state == ("connecting", "")
    world.run(5.1)
    assert world.ami.state == ("down", "no connection within 5 s")


def test_another_service_on_that_port(world: AMIFixture) -> None:
    world.asterisk.greeting = b"HTTP/1.1 400 Bad Request\r\n"
    world.start()
    assert world.ami.state[0] == "down"
    assert "protocol violation" in world.ami.state[1]
    assert not world.asterisk.connections[0].open
    assert world.asterisk.actions == []


def test_no_greeting(world: AMIFixture) -> None:
    world.asterisk.greeting = None
    world.start()
    world.run(5.1)
    assert world.ami.state == ("down", "no greeting within 5 s")
    assert not world.asterisk.connections[0].open


def test_a_login_without_answer(world: AMIFixture) -> None:
    world.asterisk.replies["Login"] = lambda connection, action: None
    world.start()
    world.run(5.1)
    assert world.ami.state == ("down", "no answer to Login within 5 s")


def test_a_connection_lost_during_the_login(world: AMIFixture) -> None:
    world.asterisk.replies["Challenge"] = lambda connection, action: connection.transport.loseConnection()
    world.start()
    assert world.ami.state[0] == "down"
    assert "connection was lost" in world.ami.state[1]


def test_keepalive_notices_a_frozen_asterisk(world: AMIFixture) -> None:
    world.start()
    world.run(40)
    assert len(world.asterisk.actions_named("Ping")) == 2
    assert world.endpoint.attempts == 1
    world.asterisk.frozen = True
    world.run(10.5)
    assert world.ami.state == ("down", "no answer to Ping within 5 s")
    assert not world.asterisk.connections[0].open
    world.asterisk.frozen = False
    world.run(10)
    assert world.ami.state == ("up", "")
    assert [connection.open for connection in world.asterisk.connections].count(True) == 1


def test_a_lost_connection_is_reported_and_made_again(world: AMIFixture) -> None:
    moves: list[bool] = []
    stop = world.ami.watch(moves.append)
    world.start()
    answer = outcome(world.ami.ask("Originate", [("Channel", "x")]))
    waiting = outcome(world.ami.collect("CoreShowChannels"))
    world.asterisk.frozen = True
    world.lose_connection()
    assert isinstance(answer[0], AMIDown)
    assert isinstance(waiting[0], AMIDown)
    assert world.ami.state[0] == "down"
    assert isinstance(outcome(world.ami.ask("Ping"))[0], AMIDown)
    world.asterisk.frozen = False
    world.run(0.6)
    assert world.ami.state == ("up", "")
    assert moves == [True, False, True]
    stop()
    world.lose_connection()
    assert moves == [True, False, True]


def test_an_asterisk_that_ends_every_connection_is_tried_seldom(world: AMIFixture) -> None:
    world.start()
    for _ in range(200):
        world.lose_connection()
        world.run(0.5, step=0.5)
    assert world.endpoint.attempts < 20  # 100 s: 0.5 + 1 + 2 + 4 + 8 + 10 + 10 …


def test_responses_reach_their_action_in_any_order(world: AMIFixture) -> None:
    kept: list[tuple[FakeAMIConnection, Action]] = []
    world.asterisk.replies["Getvar"] = lambda connection, action: kept.append((connection, action))
    world.start()
    answers = [outcome(world.ami.ask("Getvar", [("Variable", name)])) for name in "abc"]
    world.flush()
    for connection, action in reversed(kept):
        connection.answer(action, Value=action["Variable"])
        connection.answer(action, Value="a second answer to the same action")
    connection.send(("Response", "Success"), ("ActionID", "of another client"))
    connection.send(("Nonsense", "x"))
    world.flush()
    assert [answer[0].get("Value") for answer in answers] == ["a", "b", "c"]
    assert [len(answer) for answer in answers] == [1, 1, 1]
    assert len({action["ActionID"] for action in world.asterisk.actions}) == len(world.asterisk.actions)


def test_an_error_has_asterisks_own_text(world: AMIFixture) -> None:
    world.start()
    answer = outcome(world.ami.ask("Hangup", [("Channel", "none")]))
    world.flush()
    assert isinstance(answer[0], AMIRefused)
    assert str(answer[0]) == "No such channel"


def test_no_answer_in_time_costs_only_that_action(world: AMIFixture) -> None:
    world.asterisk.replies["Getvar"] = lambda connection, action: None
    world.start()
    answer = outcome(world.ami.ask("Getvar", [("Variable", "x")], seconds=2))
    world.run(2.1)
    assert isinstance(answer[0], AMIDown)
    assert str(answer[0]) == "no answer to Getvar within 2 s"
    assert world.ami.state == ("up", "")


def test_a_cancelled_action_is_forgotten(world: AMIFixture) -> None:
    kept: list[tuple[FakeAMIConnection, Action]] = []
    world.asterisk.replies["Getvar"] = lambda connection, action: kept.append((connection, action))
    world.start()
    asked = world.ami.ask("Getvar")
    answer = outcome(asked)
    asked.cancel()
    world.flush()
    kept[0][0].answer(kept[0][1], Value="late")
    world.flush()
    assert [type(one) for one in answer] == [defer.CancelledError]


def test_an_action_that_cannot_be_sent_is_a_local_protocol_error(world: AMIFixture) -> None:
    world.start()
    with pytest.raises(LocalProtocolError):
        world.ami.ask("Originate", [("Channel", "x\r\nAction: Command")])
    with pytest.raises(InvalidSetting, match="Secret") as problem:
        AMIClient(world.endpoint, USER, "hunter2\n", world.clock)
    assert "hunter2" not in str(problem.value)


def test_a_list_is_collected_while_events_arrive(world: AMIFixture) -> None:
    world.asterisk.channels = {name: {"Channel": name, "Uniqueid": name} for name in ("one", "two")}
    received: list[str] = []
    world.start()
    world.ami.listen(["CoreShowChannel", "Hangup"], lambda message: received.append(message.event))
    channels = outcome(world.ami.collect("CoreShowChannels"))
    other = outcome(world.ami.collect("CoreShowChannels"))
    world.event("Hangup", Uniqueid="one")
    assert [message.get("Channel") for message in channels[0]] == ["one", "two"]
    assert len(other[0]) == 2
    assert received.count("Hangup") == 1
    world.asterisk.replies["CoreShowChannels"] = lambda c, action: c.error(action, "Permission denied")
    denied = outcome(world.ami.collect("CoreShowChannels"))
    world.flush()
    assert isinstance(denied[0], AMIRefused)


def test_an_error_in_one_listener_does_not_concern_another(
    world: AMIFixture, logged_failures: LoggedFailures
) -> None:
    received: list[str] = []
    world.start()

    def broken(message: Any) -> None:
        raise RuntimeError("a listener's mistake")

    stops = [
        world.ami.listen(["Hangup"], broken),
        world.ami.listen(["Hangup", "Newstate"], lambda message: received.append(message.get("Uniqueid"))),
    ]
    world.event("Hangup", Uniqueid="1")
    world.event("Newstate", Uniqueid="2")
    world.event("Newexten", Uniqueid="3")
    assert received == ["1", "2"]
    assert len(logged_failures.flush(RuntimeError)) == 1
    for stop in stops:
        stop()
    world.event("Hangup", Uniqueid="4")
    assert received == ["1", "2"]
    assert world.ami.state == ("up", "")


def test_a_message_that_is_too_long_is_skipped_and_logged(world: AMIFixture, log: list[str]) -> None:
    received: list[str] = []
    world.start()
    world.ami.listen(["VarSet"], lambda message: received.append(message.get("Value")))
    world.event("VarSet", Value="x" * 100_000)
    world.event("VarSet", Value="y")
    assert received == ["y"]
    assert any("skipped" in line for line in log)


def test_ready_connects_at_once_but_not_again_after_a_recent_failure(world: AMIFixture) -> None:
    world.endpoint.problem = connection_refused()
    world.start()
    world.run(20)
    attempts = world.endpoint.attempts
    world.endpoint.problem = None
    world.run(1)
    assert world.endpoint.attempts == attempts
    ready = outcome(world.ami.ready(3))
    world.flush()
    assert ready == [None]
    assert outcome(world.ami.ready(3)) == [None]
    world.endpoint.problem = connection_refused()
    world.run(6)
    world.lose_connection()
    first = outcome(world.ami.ready(3))
    assert isinstance(first[0], AMIDown)
    attempts = world.endpoint.attempts
    for _ in range(50):
        assert isinstance(outcome(world.ami.ready(3))[0], AMIDown)
    assert world.endpoint.attempts <= attempts + 1


def test_many_callers_of_ready_make_few_attempts(world: AMIFixture) -> None:
    world.endpoint.problem = connection_refused()
    world.start()
    world.run(20)  # by now the pauses are long
    attempts = world.endpoint.attempts
    for _ in range(100):
        outcome(world.ami.ready(3))
        world.run(0.05, step=0.05)
    assert 4 <= world.endpoint.attempts - attempts <= 6
    world.endpoint.problem = None
    world.run(1)
    assert world.ami.state[0] == "down"
    outcome(world.ami.ready(3))
    world.flush()
    assert world.ami.state == ("up", "")


def test_a_refused_login_is_tried_again_after_its_first_pause_only() -> None:
    world = AMIFixture(secret="something else")
    world.start()
    world.run(35)  # the second pause, 20 seconds, has begun at 10, the third at 30
    assert world.endpoint.attempts == 3
    world.asterisk.secret = "something else"
    for _ in range(40):
        assert isinstance(outcome(world.ami.ready(3))[0], AMIDown)
        world.run(0.1)
    assert world.endpoint.attempts == 3
    world.run(1.5)
    assert outcome(world.ami.ready(3)) == []
    world.flush()
    assert world.ami.state == ("up", "")
    world.finish()


def test_a_client_that_was_never_started_is_not_ready(world: AMIFixture) -> None:
    other = AMIFixture()
    assert isinstance(outcome(other.ami.ready(3))[0], AMIDown)
    assert other.endpoint.attempts == 0


def test_ready_has_a_time_out(world: AMIFixture) -> None:
    world.endpoint.silent = True
    world.start()
    ready = outcome(world.ami.ready(3))
    world.run(3.1)
    assert isinstance(ready[0], AMIDown)
    assert world.ami.state == ("connecting", "")


@pytest.mark.parametrize("when", ["connecting", "greeting", "login", "up", "waiting"])
def test_stops_cleanly_at_any_moment(when: str) -> None:
    world = AMIFixture()
    if when == "connecting":
        world.endpoint.silent = True
    elif when == "greeting":
        world.asterisk.greeting = None
    elif when == "login":
        world.asterisk.replies["Login"] = lambda connection, action: None
    elif when == "waiting":
        world.endpoint.problem = connection_refused()
    world.start()
    waiting = outcome(world.ami.ready(3))
    world.finish()
    assert len(waiting) == 1
    assert (len(world.asterisk.actions_named("Logoff")) == 1) is (when == "up")
    world.ami.startService()  # and can be started again
    world.flush()
    world.finish()


@pytest.mark.parametrize("when", ["up", "lost", "refused"])
def test_it_can_be_stopped_by_a_callback(when: str) -> None:
    """The loop is in the middle of its work then, and cannot be cancelled."""
    world = AMIFixture(secret="wrong" if when == "refused" else SECRET)
    stopped: list[None] = []

    def stop(*_: Any) -> None:
        world.ami.stopService().addCallback(stopped.append)

    if when == "up":
        world.ami.watch(stop)
    world.ami.startService()
    if when == "refused":
        world.ami.ready(3).addErrback(stop)
    world.flush()
    if when == "lost":
        world.ami.watch(stop)
        world.lose_connection()
    assert set(stopped) == {None}
    assert world.ami.state == ("down", "stopped")
    attempts = world.endpoint.attempts
    world.run(60, step=1)
    assert world.endpoint.attempts == attempts
    world.finish()


def test_a_logoff_that_is_ignored_ends_all_the_same() -> None:
    clock, transport = task.Clock(), StringTransport()
    session = Session(clock, lambda message: None)
    session.makeConnection(transport)
    session.close("stopped")
    assert transport.value() == b"Action: Logoff\r\n\r\n"
    assert (transport.disconnecting, transport.disconnected) == (True, False)
    clock.advance(1.1)
    assert transport.disconnected
    assert session.lost == "stopped"
    assert isinstance(outcome(session.ask("Ping"))[0], AMIDown)


async def test_over_a_real_socket() -> None:
    asterisk = FakeAMIServer()
    port = reactor.listenTCP(0, asterisk, interface="127.0.0.1")
    ami = AMIClient(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), USER, SECRET, reactor)
    try:
        ami.startService()
        await ami.ready(5)
        assert (await ami.ask("Ping")).get("Ping") == "Pong"
        hung_up: defer.Deferred[Any] = defer.Deferred()
        ami.listen(["Hangup"], hung_up.callback)
        asterisk.event("Hangup", Uniqueid="1", Cause_txt="User busy")
        assert (await hung_up).get("Cause-txt") == "User busy"
        await ami.stopService()
        await port.stopListening()
        ami.startService()
        with pytest.raises(AMIDown, match="refused"):
            await ami.ready(5)
    finally:
        await ami.stopService()
        await defer.maybeDeferred(port.stopListening)
    assert asterisk.violations == []


def test_a_secret_in_a_file_is_read_at_each_login() -> None:
    file: list[str | Exception] = [InvalidSetting("AMI_SECRET_FILE: away")]

    def read() -> defer.Deferred[str]:
        return defer.fail(file[0]) if isinstance(file[0], Exception) else defer.succeed(file[0])

    world = AMIFixture(secret=read, challenge=False)
    world.start()
    assert world.ami.state == ("down", "AMI_SECRET_FILE: away")
    assert world.asterisk.connections == []
    file[0] = SECRET
    world.run(60)
    assert world.ami.state == ("up", "")
    file[0] = "cannot be \x00 sent"
    world.lose_connection()
    world.run(5)
    state, reason = world.ami.state
    assert (state, reason) == ("down", "the secret in AMI_SECRET_FILE cannot be sent in a line of AMI")
    world.finish()
