"""One connection: its handshake, its end, its limits, with a server in memory behind it."""

from __future__ import annotations

import socket
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import IConsumer, ITCPTransport
from zope.interface.verify import verifyClass

from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.protocol.connection import CLOSE_SECONDS, HANDSHAKE_SECONDS, STUCK_SECONDS
from audiosocket.calls.protocol.socket_options import SEND_BUFFER_BYTES, USER_TIMEOUT_MS
from audiosocket.extensions.model import Role
from audiosocket.json_shapes import LegJSON
from audiosocket.wire import (
    HANGUP_FRAME,
    RATES,
    Audio,
    Digit,
    Parser,
    audio_frame,
    digit_frame,
    frame_bytes,
    uuid_frame,
)
from tests.support.in_memory import (
    BUFFER_BYTES,
    CALL,
    FRAME,
    OTHER_CALL,
    AsteriskConnection,
    InMemoryServer,
    RecordingApp,
)

UNKNOWN = b"\x42\x00\x02hi"
EMPTY_AUDIO = b"\x10\x00\x00"
PEER_ERROR = b"\xff\x00\x01\x04"


def leg_record(server: InMemoryServer, call_id: UUID = CALL) -> LegJSON:
    """The first leg of a call, as the API shows it."""
    call = server.registry.get(call_id)
    assert call is not None
    return call.to_json(server.now)["legs"][0]


def outcome(server: InMemoryServer, call_id: UUID = CALL) -> str | None:
    call = server.registry.get(call_id)
    return call.outcome if call is not None else None


def handshakes(server: InMemoryServer) -> int:
    """Connections counted as closed before they became a leg."""
    return server.admission.rejected_total["handshake"]


def test_the_fake_transport_is_complete() -> None:
    assert verifyClass(ITCPTransport, AsteriskConnection)
    assert verifyClass(IConsumer, AsteriskConnection)


# the beginning


def test_the_socket_has_no_delay_and_keep_alive() -> None:
    server = InMemoryServer(RecordingApp())
    line = server.connect()
    assert line.no_delay
    assert line.keep_alive
    assert line.writes == []


def test_the_kernel_holds_little_for_a_peer_that_does_not_read() -> None:
    options: list[tuple[int, int, int]] = []

    class Handle:
        def setsockopt(self, level: int, option: int, value: int) -> None:
            options.append((level, option, value))

    class Real(AsteriskConnection):
        def getHandle(self) -> Handle:
            return Handle()

    server = InMemoryServer(RecordingApp())
    line = Real(server.time, "127.0.0.1", 8080)
    line.protocol = server.factory().buildProtocol(line.getPeer())
    assert line.protocol is not None
    line.protocol.makeConnection(line)
    assert (socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES) in options
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        assert (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS) in options
    line.hang_up()


def test_a_uuid_within_5_s_makes_a_leg() -> None:
    server = InMemoryServer(RecordingApp())
    line = server.connect()
    for byte in uuid_frame(CALL)[:-1]:
        line.send(bytes([byte]))
        server.run(270)
    assert line.writes == []
    line.send(uuid_frame(CALL)[-1:])
    assert leg_record(server)["peer"] == "127.0.0.1:50123"
    server.run(6_000)
    assert not line.aborted
    assert handshakes(server) == 0


@pytest.mark.parametrize("sent", [b"", b"\x01", uuid_frame(CALL)[:-1]], ids=["nothing", "one byte", "all but one"])
def test_without_a_uuid_within_5_s_the_connection_is_closed_and_counted(sent: bytes) -> None:
    server = InMemoryServer(RecordingApp())
    line = server.connect()
    server.run(1_000)
    line.send(sent)
    server.run(HANDSHAKE_SECONDS * 1000 - 1_010)
    assert not line.aborted
    server.run(20)
    assert line.aborted
    assert line.closed
    assert line.writes == []
    assert handshakes(server) == 1
    assert server.idle
    assert server.registry.started_total == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        FRAME,
        HANGUP_FRAME,
        PEER_ERROR,
        b"\x01\x00\x0f" + bytes(15),
        b"\x01\xff\xff",
        b"\x16\x03\x01",
        b"\x01\x00\x24" + str(CALL).encode(),
    ],
    ids=["http", "audio", "hangup", "error", "short uuid", "huge", "tls", "text uuid"],
)
def test_a_first_message_that_is_no_uuid_is_aborted_and_counted(sent: bytes) -> None:
    server = InMemoryServer(RecordingApp())
    line = server.connect()
    line.send(sent)
    server.run(5)
    assert line.closed
    assert line.writes == []
    assert handshakes(server) == 1
    assert server.idle
    assert server.admission.connections == server.factory().connections == set()


def test_a_peer_that_closes_without_a_message_is_no_leg() -> None:
    """Seen with a real one: no byte, then FIN. Nothing of it is an error."""
    server = InMemoryServer(RecordingApp())
    server.connect().hang_up()
    assert handshakes(server) == 0
    assert server.idle
    assert server.events == []


def test_uuid_audio_and_hangup_in_one_read_are_a_call() -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    line = server.connect()
    line.send(uuid_frame(CALL) + FRAME + digit_frame("5") + HANGUP_FRAME + FRAME)
    assert app.methods == ["joined", "audio", "digit", "left"]
    assert line.ended_by_server


# the end


def test_the_server_ends_with_hangup_frame_and_fin_and_reads_on() -> None:
    server = InMemoryServer(RecordingApp())
    line = server.join()
    server.run(100, line)
    server.switchboard.hang_up(CALL, server.factory().role, LegOutcome.ADMIN_HANGUP)
    assert line.ended_by_server
    assert line.writes[-1][1] == b"\x00\x00\x00"
    written = len(line.writes)
    for _ in range(10):  # what Asterisk had already sent is read and thrown away
        line.send(FRAME)
        line.send(UNKNOWN + uuid_frame(OTHER_CALL) + b"\xde\xad\xbe\xef")
        server.run(20)
    assert len(line.writes) == written
    assert not line.aborted
    line.hang_up()
    assert server.idle
    assert outcome(server) == "admin_hangup"
    assert leg_record(server)["frames_in"] == 5


def test_a_peer_that_does_not_close_is_aborted_2_s_after_the_hangup_frame() -> None:
    server = InMemoryServer(RecordingApp(digit=lambda leg: leg.hang_up()))
    line = server.join()
    line.send(digit_frame("1"))
    server.run(CLOSE_SECONDS * 1000 - 10, line)
    assert not line.aborted
    server.run(20)
    assert line.closed
    assert server.idle
    assert outcome(server) == "server_hangup"


def test_a_caller_that_hangs_up_ends_the_leg() -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    line = server.join()
    line.hang_up()
    assert app.values("left") == ["caller_hangup"]
    assert outcome(server) == "caller_hangup"
    assert not line.ended_by_server
    assert server.idle


def test_a_connection_that_is_reset_is_lost() -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    server.join().reset()
    assert app.values("left") == ["connection_lost"]
    assert server.idle


@pytest.mark.parametrize(("sent", "outcome"), [(HANGUP_FRAME, "caller_hangup"), (PEER_ERROR, "peer_error")])
def test_a_hangup_of_the_peer_is_answered_with_one(sent: bytes, outcome: str) -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    line = server.join()
    line.send(sent + FRAME)
    assert app.methods == ["joined", "left"]
    assert app.values("left") == [outcome]
    assert line.ended_by_server
    line.send(FRAME)
    line.hang_up()
    assert server.idle
    assert server.event_names().count("leg.left") == 1


def test_a_leg_that_ended_receives_no_more_of_the_same_read() -> None:
    app = RecordingApp(digit=lambda leg: leg.hang_up())
    server = InMemoryServer(app)
    line = server.join()
    line.send(digit_frame("1") + FRAME + digit_frame("2") + UNKNOWN + uuid_frame(OTHER_CALL))
    assert app.methods == ["joined", "digit", "left"]
    assert outcome(server) == "server_hangup"
    assert line.ended_by_server
    assert not line.aborted
    line.hang_up()


def test_a_factory_reports_the_end_of_its_last_connection() -> None:
    server = InMemoryServer(RecordingApp())
    emptied: list[int] = []
    server.factory().when_empty(lambda: emptied.append(1))
    first, second = server.join(), server.connect()
    assert len(server.factory().connections) == 2
    first.hang_up()
    assert emptied == []
    second.hang_up()
    assert emptied == [1]


# what breaks the protocol


def test_a_second_uuid_ends_the_leg() -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    line = server.join()
    line.send(FRAME + uuid_frame(OTHER_CALL) + FRAME)
    server.run(5)
    assert app.methods == ["joined", "audio", "left"]
    assert outcome(server) == "protocol_error"
    assert line.closed
    assert server.registry.get(OTHER_CALL) is None
    assert handshakes(server) == 0
    assert server.idle


def test_a_second_uuid_does_not_change_a_call_that_goes_on() -> None:
    server = InMemoryServer(RecordingApp())
    line = server.join()
    server.join(role=Role.RESIDENT)
    line.send(uuid_frame(OTHER_CALL))
    server.run(5)
    assert leg_record(server)["outcome"] == "protocol_error"
    assert server.join().ended_by_server
    assert outcome(server) is None, "the resident is none of its business"


def test_no_number_of_messages_without_meaning_ends_a_call() -> None:
    """Kind 0x02 is silence elsewhere, and Asterisk sends comfort noise as empty audio."""
    app = RecordingApp()
    server = InMemoryServer(app)
    line = server.join()
    harmless = (
        b"\x02\0\0",
        b"\x02\x01\x40" + bytes(320),
        EMPTY_AUDIO,
        UNKNOWN,
        digit_frame("1").replace(b"1", b"f"),
    )
    for _ in range(1_000):
        line.send(b"".join(harmless))
        server.run(20)
    line.send(FRAME)
    server.run(5)
    assert app.methods == ["joined", "audio"]
    assert leg_record(server)["ignored"] == 5_000
    assert not line.aborted
    line.hang_up()
    server.run(5)
    assert leg_record(server)["outcome"] == "caller_hangup"


# a peer that does not read


def test_a_peer_that_reads_nothing_for_2_s_is_aborted() -> None:
    app = RecordingApp(audio=lambda leg: leg.pass_on(bytes(7_680), 192_000))
    server = InMemoryServer(app)
    line = server.join()
    line.not_reading = True
    while not line.paused:
        server.run(20, line)
    assert line.unread_bytes > BUFFER_BYTES
    written = len(line.writes)
    server.run(STUCK_SECONDS * 1000 - 20, line)
    assert not line.aborted
    assert len(line.writes) == written
    server.run(40)
    assert line.closed
    assert app.values("left") == ["slow_reader"]
    assert server.idle


def test_a_peer_that_reads_within_2_s_goes_on() -> None:
    server = InMemoryServer(RecordingApp(audio=lambda leg: leg.pass_on(bytes(7_680), 192_000)))
    line = server.join()
    for _ in range(3):
        line.not_reading = True
        while not line.paused:
            server.run(20, line)
        server.run(STUCK_SECONDS * 1000 - 50, line)
        line.resume_reading()
    before = len(line.writes)
    server.run(3_000, line)
    assert len(line.writes) - before == pytest.approx(150, abs=5)
    assert outcome(server) is None


def test_a_peer_that_does_not_read_the_hangup_frame_is_aborted_after_2_s() -> None:
    app = RecordingApp(audio=lambda leg: leg.pass_on(bytes(7_680), 192_000))
    server = InMemoryServer(app)
    line = server.join()
    line.not_reading = True
    while not line.paused:
        server.run(20, line)
    server.switchboard.hang_up(CALL, server.factory().role, LegOutcome.ADMIN_HANGUP)
    assert not line.aborted
    server.run(CLOSE_SECONDS * 1000 + 10)
    assert line.closed
    assert outcome(server) == "admin_hangup"
    assert server.idle


def test_reading_is_never_paused() -> None:
    """Asterisk ends or deafens a leg whose audio is not read; only what we write may be stopped."""
    server = InMemoryServer(RecordingApp())
    line = server.join()
    assert line.protocol is not None
    for stop in (line.protocol.pauseProducing, line.protocol.stopProducing):
        stop()
        line.send(FRAME)
    assert leg_record(server)["frames_in"] == 2
    line.protocol.resumeProducing()
    line.hang_up()


# anything


@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    uuid_frame(CALL),
                    uuid_frame(OTHER_CALL),
                    FRAME,
                    HANGUP_FRAME,
                    PEER_ERROR,
                    UNKNOWN,
                    digit_frame("#"),
                ]
            ),
            st.binary(max_size=12),
            st.integers(1, 3_000),
        ),
        max_size=12,
    ),
    st.sampled_from(["fin", "reset", "stay"]),
)
@settings(max_examples=150, deadline=None)
def test_any_sequence_of_messages_ends_without_leftovers(steps: list[bytes | int], end: str) -> None:
    server = InMemoryServer(RecordingApp())
    line = server.connect()
    for step in steps:
        if isinstance(step, int):
            server.run(step, step=20)
        else:
            line.send(step)
    if end == "fin":
        line.hang_up()
    elif end == "reset":
        line.reset()
    else:
        server.switchboard.close()
        server.run(8_000, step=20)
    server.run(40)
    assert line.closed
    assert server.idle
    assert server.admission.connections == server.factory().connections == set()
    assert len(server.registry) == 0
    assert server.event_names().count("call.started") == server.event_names().count("call.ended")


def test_a_long_frame_has_the_length_of_its_header() -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    line = server.join()
    line.send(audio_frame(8000, bytes(65_535)) + FRAME)
    assert [len(pcm) for pcm, _ in app.values("audio")] == [65_535, 320]
    line.hang_up()


ANY_MESSAGE = st.one_of(
    st.sampled_from(
        [audio_frame(rate, bytes((n, 7)) * (frame_bytes(rate) // 2)) for rate in RATES.values() for n in (1, 2)]
    ),
    st.sampled_from([audio_frame(8_000, b"odd"), audio_frame(8_000, bytes(160)), digit_frame("5"), UNKNOWN]),
)


@settings(deadline=None)
@given(st.lists(ANY_MESSAGE, max_size=40), st.lists(st.integers(0, 80_000), max_size=12))
def test_a_leg_receives_the_same_however_its_frames_were_read(messages: list[bytes], cuts: list[int]) -> None:
    """Reads of nothing but ordinary frames go past the parser; any other cut goes through it."""
    stream = b"".join(messages)
    app = RecordingApp()
    server = InMemoryServer(app)
    line = server.join()
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        line.send(stream[start:end])
    server.run(500)  # what is more than a step's messages is handled in the clock's ticks
    wanted = [event for event in Parser(expect_identity=False).receive(stream) if isinstance(event, Audio | Digit)]
    received = [event for event in app.events if event.method in {"audio", "digit"}]
    assert [event.method for event in received] == [type(event).__name__.lower() for event in wanted]
    assert app.values("audio") == [(event.pcm, event.rate) for event in wanted if isinstance(event, Audio)]
