"""A telephone: SIPp for SIP and for sending RTP; the received RTP is recorded here.

SIPp cannot record what it receives, so its SDP names a UDP port of ours. The chroot has SIPp beside Asterisk.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import defer, interfaces

from tests.real_asterisk import configuration, sound
from tests.real_asterisk.rig import USER_ID, Asterisk, Process, RigError, spawn, within
from tests.real_asterisk.sip_phones import RTPReceiver
from tests.support.ports import free_port

_SCENARIOS = Path(__file__).with_name("sipp")


#: Creates a telephone that sends a sound.
MakeTelephone = Callable[[bytes], "Telephone"]


class Telephone:
    """One SIPp process with one call, in the run's directory of an Asterisk.

    ``said`` is 8 kHz signed linear; ``heard`` grows while the call is up.
    """

    def __init__(self, reactor: Any, asterisk: Asterisk, said: bytes) -> None:
        self._reactor = reactor
        self._asterisk = asterisk
        self._ears = RTPReceiver()
        self._port: interfaces.IListeningPort | None = None
        self._process: Process | None = None
        (asterisk.run_dir / "sounds" / "said.ulaw").write_bytes(sound.to_ulaw(said))

    @property
    def heard(self) -> bytes:
        return self._ears.heard

    def call(self, number: str, seconds: float = 3) -> None:
        """Call ``number``, send the sound, hang up after ``seconds``."""
        dialled = ["-s", number, "-d", str(round(seconds * 1000)), f"127.0.0.1:{self._asterisk.ports.sip}"]
        self._start("visitor.xml", free_port(socket.SOCK_DGRAM), *dialled)

    def wait_for_call(self) -> None:
        """Answer one call of PJSIP/2001 and send the sound until the call ends."""
        self._start("resident.xml", self._asterisk.ports.telephone)

    async def done(self, seconds: float = 20) -> None:
        """Wait for the end of the scenario; raise `RigError` with SIPp's output if it failed."""
        process = self._process
        assert process is not None
        await within(process.ended, seconds, self._reactor)
        if process.status != 0:
            raise RigError(f"SIPp ended with {process.status}:\n{self.report()}")

    async def close(self) -> None:
        """Stop SIPp if it still runs, and the recording."""
        if self._process is not None:
            await self._process.stop(self._reactor)
        if self._port is not None:
            await defer.maybeDeferred(self._port.stopListening)

    def report(self) -> str:
        errors = self._asterisk.run_dir / "log" / "sipp.err"
        said = self._process.output.decode(errors="replace")[-2000:] if self._process else ""
        return said + (errors.read_text(errors="replace") if errors.exists() else "")

    def _start(self, scenario: str, sip_port: int, *arguments: str) -> None:
        ears_port = free_port(socket.SOCK_DGRAM)
        self._port = self._reactor.listenUDP(ears_port, self._ears, interface="127.0.0.1")
        place = self._asterisk.run_dir / "spool" / scenario
        shutil.copyfile(_SCENARIOS / scenario, place)
        shutil.chown(place, USER_ID, USER_ID)
        command = ["sipp", "-sf", self._asterisk.inside(place), "-m", "1", "-nostdin", "-i", "127.0.0.1"]
        command += ["-p", str(sip_port), "-mi", "127.0.0.1", "-mp", str(free_port(socket.SOCK_DGRAM))]
        command += ["-key", "ears_port", str(ears_port), "-timeout", "20s", "-timeout_error"]
        command += ["-trace_err", "-error_file", f"{configuration.INSIDE}/log/sipp.err", *arguments]
        self._process = spawn(self._reactor, self._asterisk.tree, self._asterisk.run_dir, command)
