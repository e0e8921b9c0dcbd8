"""The residents' telephones: SIP in Python, each with RTP of its own.

All numbers of a run live at one UDP port. What a telephone does when it is rung is the test's choice.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet import defer, interfaces, protocol, task

from tests.real_asterisk import sound
from tests.real_asterisk.rig import Asterisk, within

_ULAW_FRAME = 160  # bytes of G.711 in 20 ms
_SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"


class RTPReceiver(protocol.DatagramProtocol):
    """RTP packets by their sequence numbers, payload type 0 only."""

    def __init__(self) -> None:
        self.packets: dict[int, bytes] = {}

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        flags, kind, number = struct.unpack_from(">BBH", datagram)
        if flags >> 6 == 2 and kind & 0x7F == 0:
            self.packets[number] = datagram[12:]

    @property
    def heard(self) -> bytes:
        """8 kHz signed linear."""
        return sound.from_ulaw(b"".join(payload for _, payload in sorted(self.packets.items())))


class _RTPStream(RTPReceiver):
    """Both directions of one answered call: sends ``said`` (u-law) repeatedly, or silence."""

    def __init__(self, reactor: Any, said: bytes, there: tuple[str, int]) -> None:
        super().__init__()
        self._said = said or b"\xff" * _ULAW_FRAME
        self._there = there
        self._sent = 0
        self._clock = task.LoopingCall.withCount(self._speak)
        self._clock.clock = reactor

    def startProtocol(self) -> None:
        self._clock.start(sound.FRAME_MS / 1000)

    def stopProtocol(self) -> None:
        if self._clock.running:
            self._clock.stop()

    def _speak(self, ticks: int) -> None:
        for _ in range(ticks):
            at = self._sent * _ULAW_FRAME % len(self._said)
            header = struct.pack(">BBHII", 0x80, 0, self._sent & 0xFFFF, self._sent * _ULAW_FRAME, 1)
            assert self.transport is not None
            self.transport.write(header + self._said[at : at + _ULAW_FRAME], self._there)
            self._sent += 1


class _Call:
    """One call to one telephone."""

    def __init__(self, number: str, invite: str, address: tuple[str, int]) -> None:
        self.number = number
        self.invite = invite
        self.address = address
        self.tag = f"{random.getrandbits(64):x}"
        self.talk: _RTPStream | None = None
        self.port: interfaces.IListeningPort | None = None
        self.gone: defer.Deferred[None] = defer.Deferred()


class SipPhones(protocol.DatagramProtocol):
    """``reactions`` by number: "answer", "ring", "nothing", or the status that refuses, such as "486 Busy Here".

    A number without one is unknown (404). ``says`` are the sounds of those who answer, 8 kHz signed linear of
    whole frames. ``received`` are the methods of the requests that came, in their order.
    """

    transport: interfaces.IUDPTransport

    def __init__(self, reactor: Any, reactions: Mapping[str, str], says: Mapping[str, bytes]) -> None:
        self.reactions = dict(reactions)
        self.received: list[str] = []
        self._reactor = reactor
        self._says = {number: sound.to_ulaw(audio) for number, audio in says.items()}
        self._calls: dict[str, _Call] = {}
        self._rings: dict[str, defer.Deferred[None]] = {}

    # called by tests

    async def rings(self, number: str, seconds: float = 10) -> None:
        """Wait until that telephone rings."""
        await within(self._ringing(number), seconds, self._reactor)

    def answer(self, number: str) -> None:
        """Answer the telephone that rings."""
        self._answer(self._last(number))

    def decline(self, number: str) -> None:
        """Decline the call."""
        call = self._last(number)
        self._reply(call, call.invite, "603 Decline")
        self._over(call)

    def heard(self, number: str) -> bytes:
        """Return the audio received in the latest call, 8 kHz signed linear; empty before the answer."""
        talks = [call.talk for call in self._calls.values() if call.number == number and call.talk is not None]
        return talks[-1].heard if talks else b""

    async def listen(self, number: str, enough: Callable[[bytes], bool], seconds: float = 10) -> bytes:
        """Wait until the audio received is enough, or for ``seconds``; return it."""
        deadline = self._reactor.seconds() + seconds
        while not enough(self.heard(number)) and self._reactor.seconds() < deadline:
            await task.deferLater(self._reactor, 0.05)
        return self.heard(number)

    def hang_up(self, number: str) -> None:
        """Hang up."""
        call = self._last(number)
        fields = _fields(call.invite)
        target = re.search(r"<([^>]+)>", fields["contact"])
        assert target is not None
        lines = [
            f"BYE {target[1]} SIP/2.0",
            f"Via: SIP/2.0/UDP {self._here};branch=z9hG4bK{random.getrandbits(64):x}",
            f"From: {fields['to']};tag={call.tag}",
            f"To: {fields['from']}",
            f"Call-ID: {fields['call-id']}",
            "CSeq: 1 BYE",
            "Max-Forwards: 70",
            "Content-Length: 0",
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode(), call.address)
        self._over(call)

    async def gone(self, number: str, seconds: float = 10) -> None:
        """Wait until the latest call of that telephone has ended."""
        await within(self._last(number).gone, seconds, self._reactor)

    async def close(self) -> None:
        """End all calls and close their ports."""
        for call in self._calls.values():
            self._over(call)
            if call.port is not None:
                await defer.maybeDeferred(call.port.stopListening)

    # SIP messages

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        message = datagram.decode()
        method = message.split(" ", 1)[0]
        if method == "SIP/2.0":
            return  # the answer to our BYE
        self.received.append(method)
        fields = _fields(message)
        call = self._calls.get(fields["call-id"])
        if method == "INVITE" and call is None:
            self._rung(message, addr)
        elif method == "CANCEL" and call is not None:
            self._reply(call, message, "200 OK")
            self._reply(call, call.invite, "487 Request Terminated")
            self._over(call)
        elif method == "BYE" and call is not None:
            self._reply(call, message, "200 OK")
            self._over(call)
        elif method not in {"ACK", "INVITE"}:
            self._reply(call or _Call("", message, addr), message, "200 OK")

    def _rung(self, invite: str, address: tuple[str, int]) -> None:
        found = re.match(r"INVITE sip:([^@;> ]+)@", invite)
        assert found is not None
        call = self._calls[_fields(invite)["call-id"]] = _Call(found[1], invite, address)
        reaction = self.reactions.get(call.number, "404 Not Found")
        if reaction == "nothing":
            return
        if reaction not in {"ring", "answer"}:
            self._reply(call, invite, reaction)
            self._over(call)
            return
        self._reply(call, invite, "180 Ringing")
        if not self._ringing(call.number).called:
            self._ringing(call.number).callback(None)
        if reaction == "answer":
            self._answer(call)

    def _answer(self, call: _Call) -> None:
        host = re.search(r"(?m)^c=IN IP4 (\S+)", call.invite)
        port = re.search(r"(?m)^m=audio (\d+) ", call.invite)
        assert host is not None
        assert port is not None
        call.talk = _RTPStream(self._reactor, self._says.get(call.number, b""), (host[1], int(port[1])))
        call.port = port_of_call = self._reactor.listenUDP(0, call.talk, interface="127.0.0.1")
        self._reply(call, call.invite, "200 OK", _SDP.format(port=port_of_call.getHost().port))

    def _over(self, call: _Call) -> None:
        if call.talk is not None:
            call.talk.stopProtocol()
        if not call.gone.called:
            call.gone.callback(None)

    def _reply(self, call: _Call, request: str, status: str, body: str = "") -> None:
        fields = _fields(request)
        to = fields["to"] if "tag=" in fields["to"] else f"{fields['to']};tag={call.tag}"
        lines = [f"SIP/2.0 {status}", f"Via: {fields['via']}", f"From: {fields['from']}", f"To: {to}"]
        lines += [f"Call-ID: {fields['call-id']}", f"CSeq: {fields['cseq']}"]
        lines += [f"Contact: <sip:{call.number}@{self._here}>"]
        lines += ["Content-Type: application/sdp"] * bool(body) + [f"Content-Length: {len(body)}", "", body]
        self.transport.write("\r\n".join(lines).encode(), call.address)

    @property
    def _here(self) -> str:
        return f"127.0.0.1:{self.transport.getHost().port}"

    def _ringing(self, number: str) -> defer.Deferred[None]:
        return self._rings.setdefault(number, defer.Deferred())

    def _last(self, number: str) -> _Call:
        return [call for call in self._calls.values() if call.number == number][-1]


def _fields(message: str) -> dict[str, str]:
    """Return the header fields of a SIP message by name; Asterisk sends one Via."""
    head = message.partition("\r\n\r\n")[0].split("\r\n")[1:]
    split = (line.partition(":") for line in head)
    return {name.strip().lower(): value.strip() for name, _, value in split}


@asynccontextmanager
async def sip_phones(
    reactor: Any, asterisk: Asterisk, reactions: Mapping[str, str], says: Mapping[str, bytes] | None = None
) -> AsyncIterator[SipPhones]:
    """Give the telephones of PJSIP/2001 to PJSIP/2003 of this Asterisk."""
    house = SipPhones(reactor, reactions, says or {})
    port = reactor.listenUDP(asterisk.ports.telephone, house, interface="127.0.0.1")
    try:
        yield house
    finally:
        await house.close()
        await port.stopListening()
