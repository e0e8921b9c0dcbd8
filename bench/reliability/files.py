"""R9 and R10: damaged local files, and a disk that takes nothing more."""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path
from uuid import uuid4

from audiosocket.extensions.model import Extension
from audiosocket.provisioning.local_file import load, save
from audiosocket.wire import uuid_frame
from bench.reliability.live_calls import ECHO, api, calls_beside, connect, within
from bench.reliability.promise import Count, Trial
from bench.servers import Server, ours

LIMIT = 2_000
SOON = 5.0
EXTENSIONS = tuple(
    Extension(number, f"10{number}", "", "0.0.0.0", 8_000 + number, None, 1) for number in (1, 2, 3)
)


def damaged_local_file(trial: Trial) -> Count:
    """Cut at every byte, or with a byte changed: the file before it is used, with a reason, or what is left."""
    count = Count()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        path = Path(scratch) / "ramais_config.json"
        save(path, EXTENSIONS[:2], "api")
        save(path, EXTENSIONS, "api")
        whole = path.read_bytes()
        cut = [whole[:length] for length in range(len(whole) - 1)]
        for content in [*cut, *(_changed(whole, trial) for _ in range(trial.times(300, 30_000)))]:
            path.write_bytes(content)
            found = load(path, LIMIT)
            good = found.extensions is not None and (
                found.extensions == EXTENSIONS[:2] if found.trouble else bool(found.extensions)
            )
            count.add(good, f"{found.trouble or 'no trouble'}: {found.extensions}")
            for aside in path.parent.glob("*.damaged-*"):
                aside.unlink()
    return count


def full_disk(trial: Trial) -> Count:
    """Calls go on, the status says so, and all is written again when there is room."""
    count = Count()
    with ours(ECHO, core=None) as server, calls_beside(server, count):
        for number in range(trial.times(2, 50)):
            before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, before[1]))
            api(server, "/api/extensions/1", {"ramal_ia": str(4_000 + number)}, "PUT")
            _come_and_go(server)
            count.add(within(SOON, lambda: {"log", "journal"} <= _storage(server)), "the status does not say so")
            count.add(api(server, "/readyz")[0] == 200, "not ready")
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)
            count.add(within(SOON, lambda: _written_again(server)), "it did not end")
    return count


def _changed(whole: bytes, trial: Trial) -> bytes:
    content = bytearray(whole)
    for _ in range(trial.random.randint(1, 4)):
        content[trial.random.randrange(len(content))] = trial.random.randrange(256)
    return bytes(content)


def _storage(server: Server) -> set[str]:
    return {entry["what"] for entry in api(server, "/api/status")[1]["storage"]}


def _written_again(server: Server) -> bool:
    _come_and_go(server)
    return not _storage(server) & {"log", "journal"}


def _come_and_go(server: Server) -> None:
    """Make a call, which has lines in the log and in the journal."""
    with connect(server.ports[0]) as peer:
        peer.sendall(uuid_frame(uuid4()))
        peer.recv(323)
