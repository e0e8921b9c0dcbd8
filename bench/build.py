"""The build of the two C programs: the load generator and the C server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")


class CannotBuild(Exception):
    """An error of the build; the text has what is missing and what to do."""


@dataclass(frozen=True)
class Programs:
    """The paths of the built programs."""

    load: Path
    echo: Path


def compiler() -> str | None:
    """Return the C compiler: ``CC``, else the first one installed, None without one."""
    names = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


def build(into: Path) -> Programs:
    """Compile both programs into an existing directory.

    Raises `CannotBuild` on other systems than Linux (epoll and timerfd are used), without a compiler, or with the
    compiler's message.
    """
    if not sys.platform.startswith("linux"):
        raise CannotBuild(f"the generator needs Linux (epoll, timerfd, /proc); this is {sys.platform}")
    cc = compiler()
    if cc is None:
        raise CannotBuild(
            "there is no C compiler, and the generator is written in C: install one (Debian: apt install gcc "
            "libc6-dev) or name it in CC"
        )
    for name in ("load", "echo"):
        command = [cc, *FLAGS, "-o", str(into / name), str(HERE / f"{name}.c"), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotBuild(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return Programs(load=into / "load", echo=into / "echo")
