"""A server in a process of its own that is replaced by the next one, at SIGUSR2."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.threads import deferToThread

from tests.support.loopback_server import until
from tests.support.server_process import (
    ROOT,
    START_SECONDS,
    ServerProcess,
    checkout_environment,
    wait_until,
)

#: What the log says of an upgrade that has failed.
FAILED = "; nothing has changed"
BEGAN = re.compile(r"process (\d+) goes on with (\d+) legs")


class UpgradedServer(ServerProcess):
    """A server whose process may have been started by the one before; it is stopped by its own pid."""

    def __enter__(self) -> UpgradedServer:
        super().__enter__()
        return self

    @property
    def pid(self) -> int:
        """The id of the process that has the calls now."""
        began = BEGAN.findall(self.log()) if (self.directory / "logs" / "audiosocket.log").exists() else []
        return int(began[-1][0]) if began else super().pid

    async def upgrade(self) -> None:
        """Send SIGUSR2, and wait until the next process has begun and this one is gone.

        It is sent again where the next process was too slow, as on a machine that does too much else.
        """
        old = self.pid
        for _ in range(3):
            failed = self.log().count(FAILED)
            os.kill(old, signal.SIGUSR2)
            await until(lambda failed=failed: self.pid != old or self.log().count(FAILED) > failed)  # type: ignore[misc]
            if self.pid != old:
                gone = await deferToThread(wait_until, lambda: is_gone(old), START_SECONDS)
                assert gone, f"process {old} is still there"
                return
            last = self.log().rpartition("no upgrade: ")[2].partition("\n")[0]
            assert " within " in last, last
        raise AssertionError("the next process was too slow three times")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop the process that has the calls now; the exit status is that of the first one."""
        assert self.process is not None
        if self.pid != self.process.pid and not is_gone(self.pid):
            os.kill(self.pid, how)
            stopped = wait_until(lambda: is_gone(self.pid), START_SECONDS)
            if not stopped:
                os.kill(self.pid, signal.SIGKILL)
            if self.process.poll() is None:
                super().stop(signal.SIGKILL)
            assert stopped, f"the next process did not stop:\n{self.stdout()[-5_000:]}"
            return self.process.wait(START_SECONDS)
        return super().stop(how)

    def __exit__(self, *problem: object) -> None:
        if self.process is not None and (self.process.poll() is None or not is_gone(self.pid)):
            self.stop()


class Load:
    """``numbered_calls`` in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    async def finish(self) -> dict[str, int]:
        """End all calls; return what was counted."""
        out, _ = await deferToThread(self._process.communicate, b"", 60)
        report: dict[str, int] = json.loads(out.splitlines()[-1])
        return report


@asynccontextmanager
async def numbered_calls(count: int, port: int, new: int) -> AsyncIterator[Load]:
    """Keep so many calls with numbered frames, and begin ``new`` ones each second."""
    command = [sys.executable, "-m", "tests.support.numbered_calls", str(count), str(port), "--new", str(new)]
    with subprocess.Popen(
        command, cwd=ROOT, env=checkout_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert (await deferToThread(process.stdout.readline)).strip() == b"up"
            yield Load(process)
        finally:
            if process.poll() is None:
                process.kill()


def is_gone(pid: int) -> bool:
    """Return whether there is no such process, or only its exit status."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
