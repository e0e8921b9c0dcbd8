"""Our AMI client against a real Asterisk, with the account of ``examples/asterisk/manager.conf``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from twisted.internet import reactor, task
from twisted.internet.endpoints import TCP4ClientEndpoint

from audiosocket.asterisk.ami.channels import ChannelTracker
from audiosocket.asterisk.ami.client import AMIClient, Timeouts
from audiosocket.returncalls.backends.ami import AMIOriginator
from audiosocket.returncalls.dial_string import Route
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest
from tests.real_asterisk.rig import Asterisk
from tests.real_asterisk.sip_phones import SipPhones, sip_phones
from tests.support.bad_servers import PacedServer, serve

pytestmark = [pytest.mark.asterisk, pytest.mark.deadline(40)]

DIALPLAN = """
[audiosocket-return]
exten => 1001,1,UserEvent(Landed)
 same => n,Wait(20)
[through-the-dialplan]
exten => _X.,1,Dial(PJSIP/${EXTEN})
"""
ODD = r'a,INJECTED=evil \"q" (x) [y] ${CALLERID(num)} ção;'


def telephone(asterisk: Asterisk, reaction: str) -> AbstractAsyncContextManager[SipPhones]:
    return sip_phones(reactor, asterisk, {"2001": reaction})


@asynccontextmanager
async def client(asterisk: Asterisk, secret: str | None = None, **settings: Any) -> AsyncIterator[AMIClient]:
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", asterisk.ports.ami)
    ami = AMIClient(endpoint, "audiosocket", secret or asterisk.secret, reactor, **settings)
    ami.startService()
    try:
        yield ami
    finally:
        await ami.stopService()


@asynccontextmanager
async def originator(asterisk: Asterisk, route: Route | None = None) -> AsyncIterator[AMIOriginator]:
    async with client(asterisk) as ami:
        made = AMIOriginator(ami, reactor, route)
        try:
            yield made
        finally:
            made.close()


def request(number: str = "2001", ring: float = 5, exten: str = "1001", **more: Any) -> ReturnRequest:
    return ReturnRequest(uuid4(), number, exten, ring, **more)


@pytest.mark.parametrize("challenge", [True, False])
async def test_login_ping_and_events(asterisk: Asterisk, challenge: bool) -> None:
    async with client(asterisk, challenge=challenge, timeouts=Timeouts(ping=0.1)) as ami:
        await ami.ready(5)
        assert ami.state == ("up", "")
        await task.deferLater(reactor, 0.5)  # some pings later
        assert ami.state == ("up", "")
        assert await ami.collect("CoreShowChannels") == []
    assert ami.state == ("down", "stopped")


async def test_a_wrong_secret(asterisk: Asterisk) -> None:
    asterisk.expect(r"manager\.c: .* failed to authenticate")
    async with client(asterisk, secret="not the secret") as ami:
        result = await AMIOriginator(ami, reactor).place(request())
    assert result.end is AttemptEnd.FAILED
    assert "login refused" in result.reason


# The telephone's reaction, and the end of the attempt
ENDS = {
    "486 Busy Here": AttemptEnd.BUSY,
    "603 Decline": AttemptEnd.REFUSED,
    "404 Not Found": AttemptEnd.FAILED,
    "480 Temporarily Unavailable": AttemptEnd.NO_ANSWER,
    "500 Server Internal Error": AttemptEnd.FAILED,
    "ring": AttemptEnd.NO_ANSWER,
    "nothing": AttemptEnd.NO_ANSWER,
}


@pytest.mark.parametrize("channel", ["PJSIP/{number}", "Local/{number}@through-the-dialplan/n"])
async def test_every_end(asterisk: Asterisk, channel: str) -> None:
    await asterisk.dialplan(DIALPLAN)
    found: dict[str, AttemptResult] = {}
    async with originator(asterisk, Route(channel)) as calls:
        for reaction in ENDS:
            async with telephone(asterisk, reaction):
                found[reaction] = await calls.place(request(ring=1))
                await asterisk.no_channels(3)
    assert {reaction: result.end for reaction, result in found.items()} == ENDS, found


async def test_an_answered_call_has_its_variables(asterisk: Asterisk) -> None:
    await asterisk.dialplan(DIALPLAN)
    async with originator(asterisk) as calls, telephone(asterisk, "answer"):
        landed = asterisk.user_event("Landed")
        wanted = request(variables={"ODD": ODD}, caller_id="Portão <1000>")
        assert (await calls.place(wanted)).end is AttemptEnd.ANSWERED
        channel = (await landed)["Uniqueid"]
        found = {}
        for name in ("AUDIOSOCKET_CALL_ID", "ODD", "INJECTED", "CALLERID(all)"):
            answer = await asterisk.ami.action("Getvar", {"Channel": channel, "Variable": name})
            found[name] = answer["Value"]
        await asterisk.hang_up("PJSIP/2001")
        await asterisk.no_channels()
    assert found == {
        "AUDIOSOCKET_CALL_ID": str(wanted.call_id),
        "ODD": ODD,
        "INJECTED": "",
        "CALLERID(all)": '"Portão" <1000>',
    }


async def test_what_cannot_be_placed(asterisk: Asterisk) -> None:
    asterisk.expect(r"chan_pjsip\.c: Unable to create PJSIP channel")
    await asterisk.dialplan(DIALPLAN)
    async with originator(asterisk) as calls:
        results: Sequence[AttemptResult] = [
            await calls.place(request("2999")),
            await calls.place(request(exten="9999")),
            await calls.place(request("2001&PJSIP/2001")),
        ]
    assert {result.end for result in results} == {AttemptEnd.FAILED}, results
    assert "Extension does not exist" in results[1].reason


@pytest.mark.parametrize("moment", ["at once", "while it rings"])
async def test_cancelling_leaves_no_channel(asterisk: Asterisk, moment: str) -> None:
    await asterisk.dialplan(DIALPLAN)
    async with originator(asterisk) as calls, telephone(asterisk, "ring") as device:
        placed = calls.place(request(ring=20))
        if moment == "while it rings":
            await device.rings("2001")
        else:
            await calls._ami.ready(5)
        placed.cancel()
        assert (await placed).end is AttemptEnd.CANCELLED
        await task.deferLater(reactor, 0.3)
        await asterisk.no_channels(2)
        assert device.received.count("CANCEL") == device.received.count("INVITE")


@pytest.mark.parametrize("classes", ["call,dialplan", "call"])
async def test_the_caller_is_identified(asterisk: Asterisk, classes: str) -> None:
    """With AudioSocket() and Dial(), before and after a restart of ours, with and without the class dialplan."""
    if classes != "call,dialplan":
        manager = (asterisk.run_dir / "etc" / "manager.conf").read_text()
        assert manager.count("read = call,dialplan\n") == 1
        asterisk.configure({"manager.conf": manager.replace("read = call,dialplan\n", f"read = {classes}\n")})
        await asterisk.ami.command("manager reload")
    async with serve(PacedServer) as server:
        by_app, by_dial = uuid4(), uuid4()
        await asterisk.dialplan(f"""
[gate]
exten => 1000,1,Gosub(leg,s,1)
exten => 1002,1,Answer()
 same => n,Dial(AudioSocket/127.0.0.1:{server.port}/{by_dial}/c(slin16),,g)
[leg]
exten => s,1,Answer()
 same => n,TryExec(AudioSocket({by_app},127.0.0.1:{server.port}))
[waits]
exten => s,1,Wait(20)
""")
        async with client(asterisk) as ami:
            channels = ChannelTracker(ami)
            await ami.ready(5)
            for number in ("1000", "1002"):
                caller = f"Porta <55{number}>"
                await asterisk.originate(f"Local/{number}@gate/n", context="waits", extension="s", caller=caller)
            while len(server.calls) < 2:
                await task.deferLater(reactor, 0.02)
            if "dialplan" not in classes:
                await channels.listing()
            for call_id, number in ((by_app, "1000"), (by_dial, "1002")):
                while (info := channels.certain(call_id, server.port)) is None:
                    await task.deferLater(reactor, 0.02)
                assert (info.number, info.name, info.dialled) == (f"55{number}", "Porta", number)
                assert info.channel.startswith(f"Local/{number}@gate")
            channels.close()
        async with client(asterisk) as ami:
            channels = ChannelTracker(ami)
            await ami.ready(5)
            await channels.listing()
            for call_id, number in ((by_app, "1000"), (by_dial, "1002")):
                while (info := channels.certain(call_id, server.port)) is None:
                    await task.deferLater(reactor, 0.02)
                assert (info.number, info.name) == (f"55{number}", "Porta")
            channels.close()
        for call in server.calls:
            assert isinstance(call, PacedServer)
            call.hang_up()
        await asterisk.hang_up("Local")
        await asterisk.no_channels()
