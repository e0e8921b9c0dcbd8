"""What several processes are made of, each part by itself."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from audiosocket.errors import AudioSocketError, UnknownCall, WorkerGone
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.workers import journal_sharding as journals
from audiosocket.workers import log_relay as relay
from audiosocket.workers import socket_passing as handover
from audiosocket.workers.affinity import owner
from audiosocket.workers.channel import Channel, Message, attach
from audiosocket.workers.child_process import Launch
from audiosocket.workers.pool import WorkerPool
from audiosocket.workers.shared_ports import SharedPortFactory, SharedPorts
from audiosocket.workers.socket_passing import Inbox, PassedSocket
from tests.support.logged_failures import LoggedFailures
from tests.support.loopback_server import LOOPBACK, reactor, until
from tests.support.server_process import free_ports

# affinity


def test_the_owner_is_the_same_in_every_process_and_version() -> None:
    ids = [UUID(int=number) for number in range(8)]
    assert [owner(call_id, 2) for call_id in ids] == [0, 1, 0, 0, 0, 1, 0, 1]
    assert {owner(uuid4(), 1) for _ in range(20)} == {0}


@pytest.mark.parametrize("step", [1, 1 << 64, 1 << 96], ids=["counted", "clocked", "high"])
def test_uuids_that_nobody_drew_at_random_are_spread_as_well(step: int) -> None:
    counts = Counter(owner(UUID(int=(7 + number * step) % (1 << 128)), 4) for number in range(4_000))
    assert sorted(counts) == [0, 1, 2, 3]
    assert min(counts.values()) > 850


# journals


def line(call_id: UUID, more: str = "") -> str:
    return f'{{"wall":1.0,"kind":"event","call":"{call_id}","more":"{more}"}}'


def test_journals_of_another_number_of_workers_are_dealt_out_anew(tmp_path: Path) -> None:
    ids = [uuid4() for _ in range(40)]
    lines = [line(call_id, more) for call_id in ids for more in ("first", "second")]
    (tmp_path / "calls.journal").write_text("\n".join([*lines, "[" * 100_000, "torn {"]))
    (tmp_path / "calls.journal.bak").write_text("not ours")
    journals.rearrange(tmp_path, 3)
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"calls.0of3.journal", "calls.1of3.journal", "calls.2of3.journal", "calls.journal.bak"}
    for index in range(3):
        kept = [each for each in (tmp_path / journals.name(index, 3)).read_text().split("\n") if each]
        assert kept == [each for each in lines if owner(UUID(each.split('"')[9]), 3) == index]
    journals.rearrange(tmp_path, 1)
    assert {path.name for path in tmp_path.iterdir()} == {"calls.journal", "calls.journal.bak"}
    assert sorted(each for each in (tmp_path / "calls.journal").read_text().split("\n") if each) == sorted(lines)


def test_a_journal_that_another_process_has_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "calls.1of2.journal"
    path.write_text(line(uuid4()))
    with path.open() as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        journals.rearrange(tmp_path, 1)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


# the channel


class Pair:
    """Both ends of a channel; what the far one does is ``obey``."""

    def __init__(self, obey: Any) -> None:
        self.lost: list[str] = []
        self.near = Channel("far", lambda message, fds: None, lambda: self.lost.append("near"), reactor)
        self.far = Channel("near", obey, lambda: self.lost.append("far"), reactor)
        for channel, end in zip((self.near, self.far), socket.socketpair(), strict=True):
            end.setblocking(False)
            with end:
                attach(channel, end, reactor)

    async def close(self) -> None:
        self.near.transport.loseConnection()
        await until(lambda: len(self.lost) == 2)


async def test_a_question_is_answered_and_descriptors_come_with_their_message() -> None:
    def obey(message: Message, descriptors: list[int]) -> Any:
        if message["kind"] == "count":
            return sum(message["numbers"])
        with os.fdopen(descriptors[0], "rb") as source, os.fdopen(descriptors[1], "rb") as other:
            return [source.read().decode(), other.read().decode()]

    pair = Pair(obey)
    assert await pair.near.ask("count", numbers=list(range(100_000))) == sum(range(100_000))
    ends = []
    for text in (b"one", b"two"):
        end, write = os.pipe()
        os.write(write, text)
        os.close(write)
        ends.append(end)
    assert await pair.near.ask("read", ends) == ["one", "two"]
    for end in ends:
        os.close(end)
    await pair.close()


async def test_an_error_of_ours_comes_back_as_what_it_was_and_others_are_logged_there(
    logged_failures: LoggedFailures,
) -> None:
    def obey(message: Message, _: list[int]) -> Any:
        raise UnknownCall("no such call") if message["kind"] == "ours" else ValueError("a bug")

    pair = Pair(obey)
    with pytest.raises(UnknownCall, match="no such call"):
        await pair.near.ask("ours")
    with pytest.raises(AudioSocketError, match="the log says why"):
        await pair.near.ask("bug")
    assert len(logged_failures.flush(ValueError)) == 1
    await pair.close()


async def test_questions_fail_when_the_other_side_goes_away() -> None:
    pair = Pair(lambda message, _: Deferred())
    asked = pair.near.ask("never")
    pair.far.transport.loseConnection()
    with pytest.raises(WorkerGone, match="far is gone"):
        await asked
    with pytest.raises(WorkerGone, match="far is not there"):
        await pair.near.ask("later")
    pair.near.tell("whatever")
    await until(lambda: len(pair.lost) == 2)


# the hand-over


HANDED = PassedSocket(7, DEFAULT_EXTENSION, Role.RESIDENT, b"\x01\x00\x10" + bytes(16) + b"more")


async def test_a_letter_brings_the_socket_and_what_was_read_of_it() -> None:
    into, out = handover.inbox()
    ours, theirs = socket.socketpair()
    got: list[tuple[PassedSocket, int]] = []
    inbox = Inbox(out, lambda handed, descriptor: got.append((handed, descriptor)), reactor)
    assert handover.send(into, HANDED, theirs.fileno())
    theirs.close()
    inbox.start()
    await until(lambda: bool(got))
    inbox.stop()
    ((handed, descriptor),) = got
    assert handed == HANDED
    with socket.socket(fileno=descriptor) as same, ours, into, out:
        ours.sendall(b"still here")
        assert same.recv(100) == b"still here"


async def test_a_letter_nobody_can_read_closes_its_socket(logged_failures: LoggedFailures) -> None:
    into, out = handover.inbox()
    ours, theirs = socket.socketpair()
    inbox = Inbox(out, lambda *_: pytest.fail("taken"), reactor)
    socket.send_fds(into, [b"\x00\x05abc"], [theirs.fileno()])
    theirs.close()
    inbox.start()
    ours.setblocking(True)
    assert await deferToThread(ours.recv, 1) == b""
    inbox.stop()
    assert logged_failures.flush(ValueError)
    for end in (ours, into, out):
        end.close()


def test_a_full_inbox_says_so() -> None:
    into, out = handover.inbox()
    with socket.socket() as connection, into, out:
        large = PassedSocket(7, DEFAULT_EXTENSION, Role.VISITOR, bytes(60_000))
        assert not all(handover.send(into, large, connection.fileno()) for _ in range(1_000))


async def test_a_socket_is_taken_out_of_twisteds_own_transport_unharmed() -> None:
    made: list[Protocol] = []

    class Told(Protocol):
        def connectionMade(self) -> None:
            made.append(self)

        def connectionLost(self, reason: object = None) -> None:
            pytest.fail("told of an end")

    port = reactor.listenTCP(0, Factory.forProtocol(Told), interface=LOOPBACK)
    with socket.create_connection((LOOPBACK, port.getHost().port)) as caller:
        await until(lambda: bool(made))
        with handover.take_out(made[0].transport) as same:
            await port.stopListening()
            caller.sendall(b"still here")
            same.setblocking(True)
            assert await deferToThread(same.recv, 100) == b"still here"
            same.sendall(b"and here")
            assert await deferToThread(caller.recv, 100) == b"and here"


# shared ports


class Elsewhere:
    """A worker as ports see it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def open_port(self, port: Any) -> None:
        self.seen.append(("open", port.token))

    def close_port(self, port: Any) -> Deferred[Any]:
        self.seen.append(("close", port.token))
        failed: Deferred[Any] = Deferred()
        failed.errback(WorkerGone("it died meanwhile"))
        return failed

    def relabel_port(self, port: Any) -> None:
        self.seen.append(("relabel", port.token))


async def test_a_port_is_opened_once_for_all_and_kept_from_others() -> None:
    (number,) = free_ports(1)
    workers = [Elsewhere(), Elsewhere()]
    ports = SharedPorts(workers, reactor)
    side = SharedPortFactory(DEFAULT_EXTENSION, Role.VISITOR)
    port = ports.listenTCP(number, side, interface=LOOPBACK)
    with pytest.raises(CannotListenError):  # also for us
        ports.listenTCP(number, SharedPortFactory(DEFAULT_EXTENSION, Role.VISITOR), interface=LOOPBACK)
    side.extension = DEFAULT_EXTENSION
    assert [worker.seen for worker in workers] == [[("open", 1), ("relabel", 1)]] * 2
    ports.count(0, {"1": 3})
    ports.count(1, {"1": 2})
    assert len(side.connections) == 5
    emptied: list[str] = []
    side.emptied = lambda: emptied.append("now")
    await port.stopListening()
    with socket.socket() as again:
        again.bind((LOOPBACK, number))
    ports.forget(0)
    assert not emptied
    ports.count(1, {"1": 0})
    assert emptied == ["now"]
    assert not ports.sides


# a worker that cannot live


@pytest.mark.deadline(30)
async def test_nobody_waits_for_a_worker_that_dies_again_and_again() -> None:
    (number,) = free_ports(1)
    pool = WorkerPool(1, Launch([sys.executable, "-c", "raise SystemExit(3)"], os.environ, {}), reactor)
    pool.startService()
    pool.ports.listenTCP(number, SharedPortFactory(DEFAULT_EXTENSION, Role.VISITOR), interface=LOOPBACK)
    (worker,) = pool.workers
    assert pool.problems() == ["worker 0 is starting"]
    await until(lambda: worker.out)
    with pytest.raises(ConnectionRefusedError):
        await deferToThread(socket.create_connection, (LOOPBACK, number))
    with socket.create_server((LOOPBACK, 0)) as server, socket.socket() as caller:
        caller.connect(server.getsockname())
        accepted, _ = server.accept()
        into = pool._boxes[0][0]
        assert handover.send(into, HANDED, accepted.fileno())
        accepted.close()
        caller.sendall(b"audio that nobody reads")
        assert await deferToThread(caller.recv, 100) == b""  # a FIN, and no hangup frame
    assert worker.restarts > 0
    with pytest.raises(WorkerGone):
        await worker.ask("calls")
    await ensureDeferred(pool.stopService())
    pool.ports.close()


# the log


async def test_events_of_a_worker_are_said_again_by_the_front(logged_failures: LoggedFailures) -> None:
    sent: list[Message] = []
    log = Logger("worker.test")
    to_front = relay.LogToSupervisor(_Sink(sent), None, reactor)

    def observer(event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "worker.test":  # the reactor and the thread pool may have their say, too
            to_front(event)

    globalLogPublisher.addObserver(observer)
    try:
        log.warn("extension {id} is {what}", id=7, what="late", leg=object())
        await deferToThread(log.info, "said in a thread")
        log.failure("it failed", Failure(KeyError("x")))
        await until(lambda: sum(len(each["events"]) for each in sent) == 3)
    finally:
        globalLogPublisher.removeObserver(observer)
    assert logged_failures.flush(KeyError)
    seen: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(seen.append)
    for message in sent:
        relay.publish(message, 1)
    globalLogPublisher.removeObserver(seen.append)
    first, second, third = (event for event in seen if event.get("log_namespace") == "worker.test")
    assert (first["text"], first["log_level"], first["worker"]) == ("extension 7 is late", LogLevel.warn, 1)
    assert (first["id"], "leg" in first, first["log_namespace"]) == (7, False, "worker.test")
    assert second["text"] == "said in a thread"
    assert third["text"].startswith("it failed | ")


async def test_lines_wait_for_a_busy_front_and_those_that_are_lost_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "LINES_WAITING", 3)
    sent: list[Message] = []
    sink = _Sink(sent)
    sink.full = True
    observer = relay.LogToSupervisor(sink, lambda event: f"{event['n']}\n", reactor)
    for n in range(5):
        observer({"n": n})
    observer.flush()
    assert not sent
    sink.full = False
    assert sink.drained is not None
    sink.drained()
    assert sent == [{"lost": 2, "lines": ["2\n", "3\n", "4\n"]}]
    await until(lambda: not [call for call in reactor.getDelayedCalls() if call.func == observer.flush])


class _Sink(Channel):
    """The near end of a channel whose other end only keeps what it hears."""

    def __init__(self, heard: list[Message]) -> None:
        super().__init__("the front", lambda message, fds: None, lambda: None, reactor)
        self.open = True
        self._heard_messages = heard

    def tell(self, kind: str, descriptors: Any = (), /, **fields: Any) -> None:
        self._heard_messages.append(fields)
