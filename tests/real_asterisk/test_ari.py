"""Return calls over the ARI of a real Asterisk: every end, and no telephone left ringing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
import pytest_twisted
from twisted.internet import task
from twisted.internet.defer import ensureDeferred

from audiosocket.outbound.http_client import HTTPClient
from audiosocket.returncalls.backends.ari import ARIOriginator
from audiosocket.returncalls.dial_string import Route
from audiosocket.returncalls.originator import AttemptEnd, ReturnRequest
from tests.real_asterisk.rig import Asterisk
from tests.support.reactor import reactor

pytestmark = [pytest.mark.asterisk, pytest.mark.deadline(30)]

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
GATE = 'a, "b"; (${EXTEN})'
TELEPHONES = """
[telephones]
exten => 1,1,Ringing()
 same => n,Wait(0.6)
 same => n,Answer()
 same => n,Wait(20)
exten => 2,1,Ringing()
 same => n,Wait(20)
exten => 3,1,Hangup(17)
exten => 4,1,Ringing()
 same => n,Wait(0.8)
 same => n,Hangup(21)
[landing]
exten => 1001,1,UserEvent(Landed,Call: ${AUDIOSOCKET_CALL_ID},Gate: ${LEN(${GATE})},Caller: ${CALLERID(num)})
 same => n,Wait(1)
"""


#: Creates an originator with the shipped account.
MakeOriginator = Callable[..., ARIOriginator]


@pytest.fixture
def ari(asterisk: Asterisk) -> Iterator[MakeOriginator]:
    """Create originators with the shipped account."""

    made: list[ARIOriginator] = []

    def make(password: str = asterisk.secret, channel: str = "Local/{number}@telephones/n") -> ARIOriginator:
        url = f"http://127.0.0.1:{asterisk.ports.http}"
        route = Route(channel, context="landing")
        made.append(ARIOriginator(HTTPClient(reactor), reactor, url, "audiosocket", password, route))
        return made[-1]

    yield make
    for originator in made:
        pytest_twisted.blockon(ensureDeferred(originator.close()))


def request(number: str, ring_seconds: float = 5.0) -> ReturnRequest:
    return ReturnRequest(CALL, number, "1001", ring_seconds, "Gate <1000>", {"GATE": GATE})


async def test_an_answered_call_has_the_call_id(asterisk: Asterisk, ari: MakeOriginator) -> None:
    await asterisk.dialplan(TELEPHONES)
    originator = ari()
    originator.start()
    landed = asterisk.user_event("Landed")
    result = await originator.place(request("1"))
    assert (result.end, result.reason) == (AttemptEnd.ANSWERED, "")
    event = await landed
    assert (event["Call"], event["Gate"], event["Caller"]) == (str(CALL), str(len(GATE)), "1000")
    assert originator.state == ("up", "")
    await asterisk.no_channels()


@pytest.mark.parametrize(
    ("number", "ring", "end"),
    [
        ("2", 1.0, AttemptEnd.NO_ANSWER),
        ("3", 5.0, AttemptEnd.BUSY),
        ("4", 5.0, AttemptEnd.REFUSED),
        ("999", 5.0, AttemptEnd.BUSY),  # no such extension: a Local channel that vanishes looks no different
    ],
)
async def test_every_end_without_an_answer(
    asterisk: Asterisk, ari: MakeOriginator, number: str, ring: float, end: AttemptEnd
) -> None:
    await asterisk.dialplan(TELEPHONES)
    asterisk.expect("No such extension")
    originator = ari()
    result = await originator.place(request(number, ring))
    assert result.end is end, result
    await asterisk.no_channels()


async def test_a_call_that_cannot_be_placed_fails(asterisk: Asterisk, ari: MakeOriginator) -> None:
    await asterisk.dialplan(TELEPHONES)
    asterisk.expect(".")
    for originator, reason in (
        (ari(password="wrong"), "refuses the user or the password"),
        (ari(channel="Nonsense/{number}"), "HTTP 500"),
        (ari(channel="PJSIP/{number}"), "HTTP 500"),
    ):
        result = await originator.place(request("999"))
        assert result.end is AttemptEnd.FAILED, result
        assert reason in result.reason
    await asterisk.no_channels()


async def test_cancelling_stops_the_ringing(asterisk: Asterisk, ari: MakeOriginator) -> None:
    await asterisk.dialplan(TELEPHONES)
    originator = ari()
    placed = originator.place(request("2"))
    await task.deferLater(reactor, 0.8)
    placed.cancel()
    assert (await placed).end is AttemptEnd.CANCELLED
    await asterisk.no_channels(1)
    at_once = originator.place(request("2"))
    at_once.cancel()
    assert (await at_once).end is AttemptEnd.CANCELLED
    await asterisk.no_channels(1)


async def test_an_unreachable_ari_fails_the_attempt(asterisk: Asterisk, ari: MakeOriginator) -> None:
    await asterisk.dialplan(TELEPHONES)
    asterisk.ports = type(asterisk.ports)(**{**vars(asterisk.ports), "http": 1})
    originator = ari()
    result = await originator.place(request("1"))
    assert result.end is AttemptEnd.FAILED
    assert "no connection" in result.reason
    assert originator.state[0] == "down"
