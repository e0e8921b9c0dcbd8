"""The parts of this suite: finding Debian's archive, reasons why it cannot run, leaving no process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet import reactor, task

from tests.real_asterisk import chroot, sound
from tests.real_asterisk.aptsources import Archive, parse_signed_by, parse_targets
from tests.real_asterisk.wiretap import Lateness, share

DEB822 = """\
# a remark

Types: deb
URIs: http://mirror.example/debian-security
Suites: x-security
Signed-By: /keys/security.gpg

Types: deb
URIs: http://mirror.example/debian
Suites: x
Signed-By:
 /keys/two-lines.gpg

Types: deb
URIs: http://mirror.example/debian
Suites: x
Signed-By: /keys/debian.gpg
"""

ONE_LINE = """\
# a remark

deb [arch=amd64 signed-by=/keys/debian.gpg] http://mirror.example/debian x main
deb http://mirror.example/debian x-updates main
"""


def test_the_archive_is_the_first_one_of_debian() -> None:
    listing = (
        "/s/vendor.list:1\tVendor\tDebian\thttp://vendor.example/debian/\tmain\n"
        "/s/a.sources:1\tDebian\tDebian-Security\thttp://mirror.example/debian-security/\tmain\n"
        "/s/a.sources:2\tDebian\tDebian\tcdrom://disc/\tmain\n"
        "/s/a.sources:3\tDebian\tDebian\thttp://mirror.example/debian/\tcontrib\n"
        "/s/a.sources:3\tDebian\tDebian\thttp://mirror.example/debian/\tmain\n"
        "/s/b.list:7\tDebian\tDebian\thttp://other.example/debian/\tmain\n"
    )
    assert parse_targets(listing) == ("http://mirror.example/debian", "/s/a.sources:3")
    assert parse_targets("") is None


@pytest.mark.parametrize(
    ("text", "entry", "deb822", "keyring"),
    [
        (DEB822, 1, True, "/keys/security.gpg"),
        (DEB822, 2, True, None),
        (DEB822, 3, True, "/keys/debian.gpg"),
        (ONE_LINE, 3, False, "/keys/debian.gpg"),
        (ONE_LINE, 4, False, None),
    ],
)
def test_the_keyring_is_that_of_the_entry(text: str, entry: int, deb822: bool, keyring: str | None) -> None:
    assert parse_signed_by(text, entry, deb822=deb822) == keyring


def test_the_directory_of_the_tree() -> None:
    assert chroot.cache_dir({}) == Path("/var/cache/audiosocket-tests")
    assert chroot.cache_dir({"XDG_CACHE_HOME": "/x"}) == Path("/x/audiosocket-tests")
    assert chroot.cache_dir({"XDG_CACHE_HOME": "/x", "AUDIOSOCKET_ASTERISK_CACHE": "/y"}) == Path("/y")


def test_without_root_the_reason_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(chroot.Unavailable, match="needs root"):
        chroot.ensure({"AUDIOSOCKET_ASTERISK_CACHE": str(tmp_path)})


def test_a_failed_build_leaves_no_tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(chroot, "why_not_run", lambda: None)
    monkeypatch.setattr(chroot, "find_archive", lambda: Archive("file:///nowhere", None))
    (tmp_path / "bin").mkdir()
    debootstrap = tmp_path / "bin" / "debootstrap"
    debootstrap.write_text('#!/bin/sh\nfor a; do case "$a" in *.partial) mkdir "$a";; esac; done\nexit 1\n')
    debootstrap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    unshare = tmp_path / "bin" / "unshare"  # mounts need root, and this test does not
    unshare.write_text(
        '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; [ "$1" = private ] && shift; done\nexec "$@"\n'
    )
    unshare.chmod(0o755)
    environment = {**os.environ, "AUDIOSOCKET_ASTERISK_CACHE": str(tmp_path / "cache")}
    with pytest.raises(chroot.Unavailable, match="debootstrap"):
        chroot.ensure(environment, seconds=20)
    assert not chroot.is_built(chroot.tree_path(environment))
    assert list((tmp_path / "cache").glob("*.partial")) == []


def test_ulaw_is_exact_to_its_precision() -> None:
    tone = sound.tone(8000, 1000, 200, 20_000)
    back = sound.from_ulaw(sound.to_ulaw(tone))
    assert sound.strength(back, 8000, 1000) > 0.99
    assert sound.from_ulaw(b"\xff\x7f\x80\x00")[4:] == (32124).to_bytes(2, "little") + (-32124).to_bytes(
        2, "little", signed=True
    )


def test_a_frame_is_late_on_its_own_calls_schedule() -> None:
    lateness = Lateness()
    lateness.add([0, 20, 90, 91, 92, 100])  # one frame 50 ms late, and what was owed right behind it
    lateness.add([5, 25, 10_045, 10_065])  # ten seconds away: what was not sent then is not owed for ever
    assert lateness.gaps == [20, 70, 1, 1, 8, 20, 10_020, 20]
    assert lateness.late == [0, 50, 31, 12, 0, 0, 100, 100]
    assert share(lateness.late, 40) == 37.5
    assert [len(part) for part in lateness.slices(10_000)] == [6, 2]


@pytest.mark.asterisk
async def test_asterisk_dies_with_the_process_that_started_it(asterisk_tree: Path, tmp_path: Path) -> None:
    program = tmp_path / "starts.py"
    program.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from twisted.internet import reactor\n"
        "from tests.real_asterisk.rig import spawn\n"
        "run = Path(sys.argv[2])\n"
        "for name in ('etc', 'tmp'): (run / name).mkdir(parents=True)\n"
        "(run / 'etc' / 'hosts').touch()\n"
        "process = spawn(reactor, Path(sys.argv[1]), run, ['sleep', '600'])\n"
        "print(process.transport.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, str(program), str(asterisk_tree), str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        command = Path(f"/proc/{child}/cmdline")
        while b"sleep" not in command.read_bytes().split(b"\0")[0]:
            await task.deferLater(reactor, 0.02)
        parent.kill()
    for _ in range(100):
        if not command.exists():
            break
        await task.deferLater(reactor, 0.02)
    assert not command.exists()
