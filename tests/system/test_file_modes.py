"""What the server creates is not writable for others, whatever the umask."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.ports import free_ports
from tests.support.server_calls import all_up, hang_up
from tests.support.server_process import ServerProcess, wait_until

WITHOUT_UMASK = ("sh", "-c", 'umask 0; exec "$@"', "sh", sys.executable, "-m", "audiosocket")


@pytest.mark.slow
@pytest.mark.deadline(60)
@pytest.mark.parametrize("workers", ["0", "2"])
async def test_nothing_is_writable_for_others_without_a_umask(tmp_path: Path, workers: str) -> None:
    settings = {"WORKERS": workers} if workers != "0" else {}
    with ServerProcess(tmp_path, settings, command=WITHOUT_UMASK, app="play+record") as server:
        own = {path for path in tmp_path.rglob("*") if path.name in {"stdout.txt", "data"}}
        port = free_ports(1)[0]
        server.api("/api/extensions", {"ramal_ia": "7", "porta_ia": port})
        callers = await all_up(server.visitor, [uuid4()])
        await hang_up(callers)
        assert wait_until(lambda: any(tmp_path.rglob("*.wav")), 10)
    created = [path for path in tmp_path.rglob("*") if path not in own]
    assert {"audiosocket.log", "ramais_config.json", "recordings"} <= {path.name for path in created}
    assert any("journal" in path.name for path in created)
    assert [path for path in created if path.stat().st_mode & 0o022] == []
