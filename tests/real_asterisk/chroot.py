"""A small Debian tree with Asterisk 22 and SIPp in it: built once, cached outside the repository.

``python -m tests.real_asterisk.chroot build`` builds it; a fixture of the tests does the same.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.real_asterisk.aptsources import find_archive, proxy_environment

SUITE = "unstable"  # the only suite of Debian's with Asterisk 22
VERSION = 2  # to be raised when what is installed below changes: the next run then builds again
PACKAGES = ("asterisk", "sip-tester")
MOUNT_POINT = "mnt"  # where a run's own directory appears inside
BUILD_SECONDS = 900.0
TOOLS = ("chroot", "mount", "setpriv", "setsid", "unshare")

_DPKG_OPTIONS = """\
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/man/*
"""
_GENTLY = ("nice", "-n", "19", "ionice", "-c3")


class Unavailable(Exception):
    """No Asterisk on this machine; the message is the reason."""


def cache_dir(environment: Mapping[str, str]) -> Path:
    """Return the directory where built trees are kept between runs."""
    own = environment.get("AUDIOSOCKET_ASTERISK_CACHE")
    if own:
        return Path(own)
    xdg = environment.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path("/var/cache")) / "audiosocket-tests"


def tree_path(environment: Mapping[str, str]) -> Path:
    return cache_dir(environment) / f"asterisk-{SUITE}-{VERSION}"


def is_built(tree: Path) -> bool:
    """Return whether the tree is complete: it gets its final name only then."""
    return tree.is_dir()


def why_not_run() -> str | None:
    """Return why this machine cannot start an Asterisk in a chroot, None if it can."""
    if os.geteuid() != 0:
        return "it needs root (chroot and mount namespaces)"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"it needs {', '.join(missing)} (coreutils and util-linux)"
    probe = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "true"], capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        return f"this kernel or container refuses mount namespaces: {probe.stderr.strip()}"
    return None


def ensure(environment: Mapping[str, str], seconds: float = BUILD_SECONDS) -> Path:
    """Return the tree; build it if it is missing.

    Raises `Unavailable` with one reason: no root, no debootstrap, no network, not in time.
    """
    tree = tree_path(environment)
    reason = why_not_run()
    if reason is not None:
        raise Unavailable(reason)
    if is_built(tree):
        return tree
    deadline = time.monotonic() + seconds
    tree.parent.mkdir(parents=True, exist_ok=True)
    with _locked(tree.with_suffix(".lock"), deadline):
        if not is_built(tree):  # another run may have built it while we waited
            _build(tree, environment, deadline)
    return tree


@contextmanager
def _locked(path: Path, deadline: float) -> Iterator[None]:
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unavailable(f"another run has held {path} for too long") from None
                time.sleep(0.5)
        yield


def _build(tree: Path, environment: Mapping[str, str], deadline: float) -> None:
    for old in tree.parent.glob("*.partial"):  # of a build that has ended: it does not hold the lock
        shutil.rmtree(old)
    partial = tree.with_suffix(".partial")
    log = tree.with_suffix(".log")
    log.write_text("")
    started = time.monotonic()

    def run(*command: str, env: Mapping[str, str] = environment) -> None:
        _run(command, env, log, deadline)

    quiet = {**environment, "DEBIAN_FRONTEND": "noninteractive"}
    if shutil.which("debootstrap") is None:
        run("apt-get", "update", env=quiet)
        run("apt-get", "install", "-y", "--no-install-recommends", "debootstrap", env=quiet)
    archive = find_archive()
    if archive is None:  # apt names the archive only after its first update
        run("apt-get", "update", env=quiet)
        archive = find_archive()
    if archive is None:
        raise Unavailable("no apt source of this machine is Debian's own archive")
    keyring = [f"--keyring={archive.keyring}"] if archive.keyring else []
    private = ("unshare", "--mount", "--propagation", "private")
    debootstrap = ("debootstrap", "--foreign", "--variant=minbase", f"--include={','.join(PACKAGES)}", *keyring)
    try:
        run(
            *private,
            *debootstrap,
            SUITE,
            str(partial),
            archive.uri,
            env=proxy_environment(archive.uri, environment),
        )
        (partial / "etc/dpkg/dpkg.cfg.d/audiosocket-tests").write_text(_DPKG_OPTIONS)
        policy = partial / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        # no network and a process namespace of its own: what a package starts ends with the build
        run(
            *private,
            *("--net", "--pid", "--fork", "--kill-child"),
            "chroot",
            str(partial),
            "/debootstrap/debootstrap",
            "--second-stage",
        )
        _trim(partial)
        facts = {"suite": SUITE, "version": VERSION, "build_seconds": round(time.monotonic() - started, 1)}
        (partial / "etc/audiosocket-tests.json").write_text(json.dumps(facts) + "\n")
        partial.rename(tree)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _trim(tree: Path) -> None:
    """Remove what no run needs, and what would query name servers during a run."""
    (tree / "etc/nsswitch.conf").write_text("hosts: files\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n")  # a run puts its own in its place
    (tree / "etc/resolv.conf").unlink(missing_ok=True)
    for directory in ("var/cache/apt", "var/lib/apt/lists", "usr/share/locale"):
        shutil.rmtree(tree / directory, ignore_errors=True)


def _run(command: Sequence[str], environment: Mapping[str, str], log: Path, deadline: float) -> None:
    gently = _GENTLY if shutil.which("ionice") else _GENTLY[:3]
    with log.open("a") as output:
        output.write(f"$ {' '.join(command)}\n")
        output.flush()
        process = subprocess.Popen(
            [*gently, *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            raise Unavailable(f"'{command[0]}' did not end in time; see {log}") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status != 0:
        last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1]
        raise Unavailable(f"'{' '.join(command[:6])} …' failed ({status}): {last}; see {log}")


def main(arguments: Sequence[str]) -> int:
    tree = tree_path(os.environ)
    if arguments == ["path"]:
        print(tree)
    elif arguments == ["clean"]:
        shutil.rmtree(tree, ignore_errors=True)
    elif arguments == ["build"]:
        started = time.monotonic()
        try:
            ensure(os.environ)
        except Unavailable as error:
            print(f"no Asterisk for tests on this machine: {error}", file=sys.stderr)
            return 1
        print(f"{tree} (ready after {time.monotonic() - started:.1f} s)")
    else:
        print("usage: python -m tests.real_asterisk.chroot build | path | clean", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
