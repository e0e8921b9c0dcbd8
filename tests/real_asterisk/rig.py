"""One Asterisk in the chroot: started and stopped by its own process id, driven over AMI."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet import defer, endpoints, error, protocol, task
from twisted.python.failure import Failure

from tests.real_asterisk import configuration
from tests.real_asterisk.amiclient import AmiClient, AmiError, Message
from tests.real_asterisk.chroot import MOUNT_POINT
from tests.support.ports import free_port, free_rtp_ports

USER_ID = 61185  # a user without a name: Asterisk and SIPp run without privileges
RTP_PORTS = 400
START_SECONDS = 60.0
STOP_SECONDS = 5.0

# What Asterisk logs in a normal run; any other WARNING or ERROR fails the test
NORMAL = (  # each time a caller hangs up first; which of the two depends on what Asterisk was doing just then
    r"app_audiosocket\.c: Failed to receive frame from channel",
    r"app_audiosocket\.c: Failed to forward frame from AudioSocket server .* to channel",
)

# What it may also log about a server that was killed: anything but an invalid descriptor of its own, and the end
# of the connection that the server had to ARI, in the words of the system
OUTAGE = (
    r"(res|app|chan)_audiosocket\.c: (?!.*Bad file descriptor)",
    r"ari/ari_websockets\.c: WebSocket read error: ",
    r"res_http_websocket\.c: Web socket closed abruptly",
)

# The mounts are in a namespace of the process and end with it
_ENTER = f"""\
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount --bind "$2" "$1/$3"
mount --bind "$2/tmp" "$1/tmp"
mount --bind "$2/etc/hosts" "$1/etc/hosts"
tree="$1"
shift 3
exec chroot "$tree" setpriv --reuid={USER_ID} --regid={USER_ID} --clear-groups --pdeathsig KILL "$@"
"""


class RigError(Exception):
    """A failure of Asterisk or SIPp; the message has their output."""


class Process(protocol.ProcessProtocol):
    """A program inside the chroot; ``ended`` fires with its exit status (None: killed by a signal)."""

    def __init__(self) -> None:
        self.output = b""
        self.status: int | None = None
        self.ended: defer.Deferred[None] = defer.Deferred()

    def outReceived(self, data: bytes) -> None:
        self.output += data

    def errReceived(self, data: bytes) -> None:
        self.output += data

    def processEnded(self, reason: Failure) -> None:
        assert isinstance(reason.value, error.ProcessDone | error.ProcessTerminated)
        self.status = reason.value.exitCode
        self.ended.callback(None)

    @property
    def running(self) -> bool:
        return not self.ended.called

    async def stop(self, reactor: Any, seconds: float = STOP_SECONDS) -> None:
        """Send SIGTERM, and SIGKILL when the process does not end in time."""
        for signal in ("TERM", "KILL"):
            if not self.running:
                return
            self.transport.signalProcess(signal)  # type: ignore[union-attr]
            with suppress(defer.TimeoutError):
                await within(self.ended, seconds, reactor)


def spawn(reactor: Any, tree: Path, run_dir: Path, command: Sequence[str]) -> Process:
    """Start a command in the chroot, where it can write to ``run_dir`` only."""
    process = Process()
    script = ["sh", "-c", _ENTER, "sh", str(tree), str(run_dir), MOUNT_POINT, *command]
    arguments = ["setsid", "unshare", "--mount", "--propagation", "private", *script]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    reactor.spawnProcess(process, "/usr/bin/env", ["env", *arguments], env=environment)
    return process


async def within(deferred: defer.Deferred[Any], seconds: float, reactor: Any) -> Any:
    """Wait for a shared Deferred without consuming or cancelling it."""
    waiter: defer.Deferred[Any] = defer.Deferred()

    def passed(result: Any) -> Any:
        if not waiter.called:
            waiter.callback(None)
        return result

    deferred.addBoth(passed)
    return await waiter.addTimeout(seconds, reactor)


class Asterisk:
    """A running Asterisk with an empty dialplan.

    ``run_dir`` is its only writable directory; ``inside(path)`` is a path in it as Asterisk sees it.
    """

    ami: AmiClient

    def __init__(self, reactor: Any, tree: Path, run_dir: Path) -> None:
        self._reactor = reactor
        self.tree = tree
        self.run_dir = run_dir
        self.secret = secrets.token_hex(16)
        first = free_rtp_ports(RTP_PORTS)
        self.ports = configuration.Ports(
            ami=free_port(),
            http=free_port(),
            sip=free_port(socket.SOCK_DGRAM),
            telephone=free_port(socket.SOCK_DGRAM),
            rtp_first=first,
            rtp_last=first + RTP_PORTS - 1,
        )
        self._process: Process | None = None
        self._log_read = 0
        self._normal: tuple[str, ...] = NORMAL

    def configure(self, files: Mapping[str, str]) -> None:
        """Write configuration files by name; a running Asterisk reads them on its next reload."""
        self.run_dir.mkdir(exist_ok=True)
        for name in ("etc", "lib", "log", "run", "sounds", "spool", "tmp"):
            (self.run_dir / name).mkdir(exist_ok=True)
            os.chown(self.run_dir / name, USER_ID, USER_ID)
        for name, text in files.items():
            (self.run_dir / "etc" / name).write_text(text)
        os.chown(self.run_dir, USER_ID, USER_ID)

    async def start(self) -> None:
        """Start, and wait until Asterisk is fully booted; raise `RigError` with its log otherwise."""
        command = ["asterisk", "-f", "-n", "-C", self.inside("etc/asterisk.conf")]
        self._process = spawn(self._reactor, self.tree, self.run_dir, command)
        deadline = self._reactor.seconds() + START_SECONDS
        endpoint = endpoints.TCP4ClientEndpoint(self._reactor, "127.0.0.1", self.ports.ami, timeout=1)
        while True:
            try:
                self.ami = await endpoints.connectProtocol(endpoint, AmiClient())
                # An Asterisk that is still loading may close a connection before it has answered.
                booted = self.ami.wait_for(lambda event: event.get("Event") == "FullyBooted")
                booted.addErrback(lambda failure: failure.trap(AmiError) and None)  # the login reports it, too
                await self.ami.action("Login", {"Username": "rig", "Secret": self.secret})
                break
            except Exception as reason:
                if not self._process.running or self._reactor.seconds() > deadline:
                    await self.stop()
                    raise RigError(f"Asterisk did not start: {reason}\n{self.report()}") from reason
            await task.deferLater(self._reactor, 0.02)
        try:
            await booted.addTimeout(max(deadline - self._reactor.seconds(), 0.1), self._reactor)
        except defer.TimeoutError:
            await self.stop()
            raise RigError(f"Asterisk never finished booting\n{self.report()}") from None
        complaints = await self.log_errors()
        if complaints:
            await self.stop()
            raise RigError("Asterisk started with complaints:\n" + "\n".join(complaints))

    async def stop(self) -> None:
        """Stop Asterisk with all its processes."""
        if hasattr(self, "ami"):
            await self.ami.close(self._reactor)
        if self._process is not None:
            await self._process.stop(self._reactor)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int:
        """The process id of Asterisk."""
        assert self._process is not None
        return int(self._process.transport.pid)  # type: ignore[union-attr]

    def inside(self, path: str | Path) -> str:
        """Return the path inside the chroot of a path relative to (or below) the run's directory."""
        return (
            f"{configuration.INSIDE}/{Path(path).relative_to(self.run_dir) if Path(path).is_absolute() else path}"
        )

    async def dialplan(self, text: str) -> None:
        """Load this text as the whole extensions.conf."""
        self.configure({"extensions.conf": text})
        answer = await self.ami.command("dialplan reload")
        if "reloaded" not in answer:
            raise RigError(f"the dialplan did not load: {answer}\n{self.report()}")

    async def originate(
        self,
        channel: str,
        *,
        context: str,
        extension: str,
        variables: Mapping[str, str] | None = None,
        codecs: str = "",
        caller: str = "",
        seconds: float = 10,
    ) -> str:
        """Place a call without waiting for its answer; return the id of its first channel."""
        channel_id = f"rig-{secrets.token_hex(8)}"
        fields: dict[str, str | Iterable[str]] = {
            "Channel": channel,
            "ChannelId": channel_id,
            "Context": context,
            "Exten": extension,
            "Priority": "1",
            "Async": "true",
            "Timeout": str(int(seconds * 1000)),
            "Variable": [f"{name}={value}" for name, value in (variables or {}).items()],
        }
        if channel.startswith("Local/"):
            fields["OtherChannelId"] = f"{channel_id}-2"
        if codecs:
            fields["Codecs"] = codecs
        if caller:
            fields["CallerID"] = caller
        await self.ami.action("Originate", fields)
        return channel_id

    async def channels(self) -> list[Message]:
        """Return the live channels, as ``core show channels`` counts them."""
        return await self.ami.listing("CoreShowChannels")

    async def no_channels(self, seconds: float = 5) -> None:
        """Wait until there is no channel; raise `RigError` with those that are left."""
        deadline = self._reactor.seconds() + seconds
        while left := await self.channels():
            if self._reactor.seconds() > deadline:
                names = ", ".join(f"{c['Channel']} in {c.get('Application', '?')}" for c in left)
                raise RigError(f"still up after {seconds} s: {names}\n{self.report()}")
            await task.deferLater(self._reactor, 0.05)

    async def hang_up(self, prefix: str) -> None:
        """Make Asterisk hang up every channel whose name begins with ``prefix``."""
        await self.ami.action("Hangup", {"Channel": f"/^{prefix}/"})

    def ended(self, channel_id: str) -> defer.Deferred[Message]:
        """Return the next Hangup event of a channel."""
        return self.ami.wait_for(lambda e: e.get("Event") == "Hangup" and e.get("Uniqueid") == channel_id)

    def user_event(self, name: str) -> defer.Deferred[Message]:
        """Return the next UserEvent(name, …) of the dialplan."""
        return self.ami.wait_for(lambda e: e.get("Event") == "UserEvent" and e.get("UserEvent") == name)

    async def log_errors(self) -> list[str]:
        """Return the WARNING and ERROR lines since the last call, without the normal ones."""
        await self._flush_log()
        lines = self._log()[self._log_read :]
        self._log_read += len(lines)
        bad = [line for line in lines if re.search(r"\] (WARNING|ERROR)\[", line)]
        return [line for line in bad if not any(re.search(normal, line) for normal in self._normal)]

    async def logged(self, pattern: str) -> list[str]:
        """Return all lines of its log that match; every step of the dialplan is one."""
        await self._flush_log()
        return [line for line in self._log() if re.search(pattern, line)]

    def expect(self, *patterns: str) -> None:
        """Treat lines that match these patterns as normal from now on."""
        self._normal = (*self._normal, *patterns)

    async def _flush_log(self) -> None:
        """Wait until Asterisk's log thread has written what was logged: a known line marks the end."""

        def marks() -> int:
            return sum("Reloading module 'app_playback.so'" in line for line in self._log())

        seen = marks()
        await self.ami.command("module reload app_playback.so")
        for _ in range(200):
            if marks() > seen:
                return
            await task.deferLater(self._reactor, 0.01)
        raise RigError("Asterisk's log does not move")

    def _log(self) -> list[str]:
        path = self.run_dir / "log" / "messages"
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def report(self, lines: int = 60) -> str:
        """Return what Asterisk printed and the end of its log, for a failed test."""
        printed = self._process.output.decode(errors="replace") if self._process else ""
        return "\n".join([printed.strip(), "--- Asterisk's log, its end", *self._log()[-lines:]])


__all__ = ["AmiError", "Asterisk", "RigError", "free_port", "spawn"]
