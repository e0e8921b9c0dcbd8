"""The local file: whole or set aside, replaced as a whole or not at all, whatever happens to the process."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.extensions.model import Extension
from audiosocket.provisioning import local_file as cache
from audiosocket.provisioning.local_file import Loaded, load, save
from tests.support.loopback_server import extension, no_deadline

THREE = (
    Extension(1, "1000", "1001", "192.0.2.1", 8080, 8081, 7),
    Extension(2, "São João", "", "0.0.0.0", 8090, None, 0),
    extension(30, 9000, 9001),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ramais_config.json"


def write(path: Path, data: bytes | str | object) -> Path:
    path.parent.mkdir(exist_ok=True)
    if not isinstance(data, bytes | str):
        data = json.dumps(data)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def names(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.iterdir())


def check_set_aside(path: Path, loaded: Loaded, content: bytes | None = None) -> None:
    """Nothing is loaded, the reason names the file, and the file waits under another name for its owner."""
    assert loaded.extensions is None
    assert str(path) in loaded.trouble
    assert loaded.trouble.isprintable()
    assert not path.exists()
    (aside,) = (found for found in path.parent.iterdir() if found.name.startswith("ramais_config.json.damaged-"))
    assert aside.name in loaded.trouble
    if content is not None:
        assert aside.read_bytes() == content
    aside.unlink()


def test_a_saved_file_is_loaded_and_names_its_source(path: Path) -> None:
    save(path, THREE, "database")
    loaded = load(path, 2000)
    assert (loaded.extensions, loaded.problems, loaded.trouble) == (THREE, (), "")
    assert loaded.saved_at == path.stat().st_mtime
    document = json.loads(path.read_bytes())
    assert document["ramais"][1]["porta_retorno"] is None
    assert document["source"] == "database"
    assert names(path) == ["ramais_config.json"]


def test_a_missing_file_is_no_error_and_an_empty_list_is_a_configuration(path: Path) -> None:
    assert load(path, 2000) == Loaded(None)
    save(path, [], "api")
    assert load(path, 2000).extensions == ()


def test_files_of_the_old_service_load_as_they_are(path: Path) -> None:
    entry = {
        "id": 5,
        "ramal_ia": "1000",
        "ramal_retorno": "1001",
        "ip_servidor": "192.0.2.7",
        "porta_ia": 8080,
        "condominio_id": 3,
        "binding_ip": "0.0.0.0",
    }
    old = [
        {**entry, "porta_retorno": 8081},
        {**entry, "id": 6, "ramal_ia": "1002", "porta_ia": 8082, "porta_retorno": 0},
        {**entry, "id": 7, "ramal_ia": "1003", "porta_ia": 8083, "porta_retorno": ""},
        {**entry, "id": 8, "ramal_ia": "1004", "porta_ia": 8084, "porta_retorno": None},
    ]
    for bom in (b"", b"\xef\xbb\xbf"):
        write(path, bom + json.dumps({"ramais": old}, indent=2).encode())
        loaded = load(path, 2000)
        assert loaded.extensions is not None
        assert [e.return_port for e in loaded.extensions] == [8081, None, None, None]
        assert loaded.extensions[0] == Extension(5, "1000", "1001", "192.0.2.7", 8080, 8081, 3)
        assert not loaded.problems


def test_a_bad_entry_does_not_concern_the_others(path: Path) -> None:
    entries = [THREE[0].to_json(), {"id": 9, "ramal_ia": "x", "porta_ia": 99999}, None, THREE[1].to_json()]
    loaded = load(write(path, {"ramais": entries}), 2000)
    assert loaded.extensions == THREE[:2]
    assert [problem.id for problem in loaded.problems] == [9, None]
    assert path.exists()


def test_more_extensions_than_allowed_are_problems(path: Path) -> None:
    save(path, THREE, "database")
    loaded = load(path, 2)
    assert loaded.extensions == THREE[:2]
    assert "MAX_EXTENSIONS" in loaded.problems[0].reason


def test_a_truncated_file_is_set_aside(path: Path) -> None:
    save(path, THREE[:2], "database")
    whole = path.read_bytes()
    complete = 0
    for length in range(len(whole)):
        write(path, whole[:length])
        loaded = load(path, 2000)
        if loaded.extensions is None:
            check_set_aside(path, loaded, whole[:length])
        else:
            assert loaded.extensions == THREE[:2]
            complete += 1
    assert complete == 1  # the newline at the end is not needed


@no_deadline
@given(st.data())
def test_a_corrupted_file_loads_valid_extensions_or_none(path: Path, data: Any) -> None:
    save(path, THREE, "database")
    content = bytearray(path.read_bytes())
    flips = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for where, value in data.draw(st.lists(flips, min_size=1, max_size=4)):
        content[where] = value
    loaded = load(write(path, bytes(content)), 2000)
    if loaded.extensions is None:
        check_set_aside(path, loaded, bytes(content))
    else:
        assert len(loaded.extensions) + len(loaded.problems) >= len(THREE)


def test_a_file_without_a_configuration_is_set_aside_with_the_reason(path: Path) -> None:
    strange: list[bytes | object] = [
        b"", b"\n", b"\0" * 4096, b"\xef\xbb\xbf", b"\xff\xfe{\x00}\x00", b"{", b"not json", b"[" * 100_000,
        b'{"ramais": [' + b"[" * 100_000, b'{"ramais": [{"id": ' + b"9" * 5000 + b"}]}",
        [], [THREE[0].to_json()], None, 7, "ramais", {}, {"ramais": None}, {"ramais": {}}, {"ramais": "x"},
        {"Ramais": []}, {"ramais": [None]}, {"ramais": [{"id": 1}]}, {"ramais": [[]] * 1000},
    ]  # fmt: skip
    for content in strange:
        write(path, content)
        check_set_aside(path, load(path, 2000))


def test_a_file_that_is_too_large_is_not_read_to_the_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 1_000_000)
    write(path, {"ramais": [THREE[0].to_json()], "more": "x" * 1_000_000})
    check_set_aside(path, load(path, 2000))


def test_damaged_files_do_not_overwrite_each_other(path: Path) -> None:
    for content in (b"first", b"second", b"third"):
        load(write(path, content), 2000)
    assert {found.read_bytes() for found in path.parent.iterdir()} == {b"first", b"second", b"third"}


def test_a_directory_in_its_place_is_reported_and_left_alone(path: Path) -> None:
    path.mkdir(parents=True)
    loaded = load(path, 2000)
    assert loaded.extensions is None
    assert str(path) in loaded.trouble
    with pytest.raises(OSError, match="directory"):
        save(path, THREE, "database")
    assert names(path) == ["ramais_config.json"]


def unreadable(*_: object, **__: object) -> Any:
    raise PermissionError(13, "Permission denied")


def test_a_file_that_cannot_be_read_is_reported_and_left_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(path, THREE, "database")
    monkeypatch.setattr(Path, "open", unreadable)
    assert load(path, 2000).extensions is None
    assert load(path, 2000).trouble.startswith(f"{path} cannot be read: Permission denied")
    monkeypatch.undo()
    write(path, b"damaged")
    monkeypatch.setattr(os, "replace", unreadable)
    assert "could not be set aside: Permission denied" in load(path, 2000).trouble


def test_a_symbolic_link_stays_one(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real.json"
    path.parent.mkdir()
    path.symlink_to(real)
    assert load(path, 2000) == Loaded(None)
    for extensions in (THREE, THREE[:1]):
        save(path, extensions, "database")
        assert path.is_symlink()
        assert load(real, 2000).extensions == load(path, 2000).extensions == extensions
    assert {found.name for found in real.parent.iterdir()} == {"real.json", "real.json.1"}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_permissions_of_the_file_are_kept(path: Path) -> None:
    before = os.umask(0o027)
    try:
        save(path, THREE, "database")
        assert mode(path) == 0o640
        path.chmod(0o664)
        save(path, THREE[:1], "database")
        assert mode(path) == 0o664
    finally:
        os.umask(before)


def fail(*_: object) -> Any:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    save(path, THREE, "database")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        save(path, [], "database")
    monkeypatch.undo()
    assert load(path, 2000).extensions == THREE
    assert names(path) == ["ramais_config.json"]


def test_a_directory_that_cannot_be_flushed_is_no_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems refuse it; the file is in its place by then."""
    flush: Callable[[int], None] = os.fsync

    def refuse_directories(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        flush(handle)

    monkeypatch.setattr(os, "fsync", refuse_directories)
    save(path, THREE, "database")
    assert load(path, 2000).extensions == THREE


KILLER = """
import os, random, signal, sys, threading
from pathlib import Path
from audiosocket.provisioning.local_file import load, save
from audiosocket.extensions.model import Extension

path, rounds = Path(sys.argv[1]), int(sys.argv[2])
few = tuple(Extension(n, f"n{n}", "", "0.0.0.0", 9000 + n, None, 0) for n in range(3))
many = tuple(Extension(n, f"n{n}", "", "0.0.0.0", 9000 + n, None, 0) for n in range(200))
save(path, few, "start")
seen = {few: 0, many: 0}
for _ in range(rounds):
    child = os.fork()
    if not child:
        while True:
            save(path, many, "child")
            save(path, few, "child")
    threading.Event().wait(random.uniform(0.001, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    loaded = load(path, 2000)
    assert not loaded.trouble, loaded.trouble
    seen[loaded.extensions] += 1
print(*seen.values(), *(found.name for found in path.parent.iterdir()))
"""


def test_kill_9_in_the_middle_of_saving_leaves_a_whole_file(path: Path) -> None:
    rounds = 40
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(path), str(rounds)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    few, many, *left = done.stdout.split()
    assert int(few) + int(many) == rounds
    assert set(left) == {"ramais_config.json", "ramais_config.json.1"}, (
        "what killed processes left behind is cleared away by the next start"
    )


class TestThePreviousFile:
    def test_it_is_kept_beside_the_current_one(self, path: Path) -> None:
        save(path, THREE[:1], "api")
        save(path, THREE, "api")
        assert names(path) == ["ramais_config.json", "ramais_config.json.1"]
        assert load(path.with_name("ramais_config.json.1"), 2000).extensions == THREE[:1]

    def test_it_does_not_become_the_current_one_when_nothing_changes(self, path: Path) -> None:
        save(path, THREE[:1], "api")
        save(path, THREE, "api")
        save(path, THREE, "database")
        assert load(path.with_name("ramais_config.json.1"), 2000).extensions == THREE[:1]

    @pytest.mark.parametrize("content", [b"", b"{", b'{"ramais": [{"id": 1}]}', b"\0" * 4096])
    def test_it_is_used_with_a_reason_when_the_current_one_is_damaged(self, path: Path, content: bytes) -> None:
        save(path, THREE[:2], "api")
        save(path, THREE, "api")
        loaded = load(write(path, content), 2000)
        assert loaded.extensions == THREE[:2]
        assert str(path) in loaded.trouble
        assert "ramais_config.json.1 is used instead" in loaded.trouble
        (aside,) = path.parent.glob("*.damaged-*")
        assert aside.read_bytes() == content
        assert aside.name in loaded.trouble

    def test_it_is_in_the_place_of_the_damaged_one_at_the_next_start(self, path: Path) -> None:
        save(path, THREE[:2], "api")
        save(path, THREE, "api")
        load(write(path, b"{"), 2000)
        assert (load(path, 2000).extensions, load(path, 2000).trouble) == (THREE[:2], "")

    def test_it_is_used_when_the_current_one_cannot_be_read(self, path: Path) -> None:
        save(path, THREE[:2], "api")
        save(path, THREE, "api")
        path.unlink()
        path.mkdir()
        loaded = load(path, 2000)
        assert loaded.extensions == THREE[:2]
        assert "cannot be read" in loaded.trouble

    def test_both_damaged_is_no_configuration_and_names_both(self, path: Path) -> None:
        save(path, THREE[:2], "api")
        save(path, THREE, "api")
        write(path.with_name("ramais_config.json.1"), b"}")
        loaded = load(write(path, b"{"), 2000)
        assert loaded.extensions is None
        assert "ramais_config.json.1 is damaged" in loaded.trouble

    def test_an_edit_in_place_of_the_restored_file_does_not_reach_it(self, path: Path) -> None:
        save(path, THREE[:2], "api")
        save(path, THREE, "api")
        load(write(path, b"{"), 2000)
        write(path, b"once more")
        assert load(path, 2000).extensions == THREE[:2]

    def test_it_is_kept_where_the_file_system_has_no_links(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "link", unreadable)
        save(path, THREE[:1], "api")
        save(path, THREE, "api")
        assert load(path.with_name("ramais_config.json.1"), 2000).extensions == THREE[:1]


class TestEditsByHand:
    def test_an_edited_file_is_kept_whatever_is_saved_over_it(self, path: Path) -> None:
        save(path, THREE[:1], "api")
        edited = path.read_bytes().replace(b"192.0.2.1", b"192.0.2.9")
        write(path, edited)
        for extensions in (THREE[:2], THREE, THREE[:1]):
            save(path, extensions, "api")
        (aside,) = path.parent.glob("*.edited-*")
        assert aside.read_bytes() == edited

    def test_a_file_that_was_damaged_while_the_server_ran_is_kept(self, path: Path) -> None:
        save(path, THREE[:1], "api")
        write(path, b"{ half an edit")
        save(path, THREE, "api")
        (aside,) = path.parent.glob("*.damaged-*")
        assert aside.read_bytes() == b"{ half an edit"
        assert load(path, 2000).extensions == THREE

    def test_indentation_alone_is_no_edit(self, path: Path) -> None:
        save(path, THREE[:1], "api")
        write(path, json.loads(path.read_bytes()))
        save(path, THREE, "api")
        assert not list(path.parent.glob("*.edited-*"))


def test_nothing_is_writable_for_others_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        save(path, THREE[:1], "api")
        save(path, THREE, "api")
    finally:
        os.umask(before)
    for each in (path, path.parent, path.with_name("ramais_config.json.1")):
        assert not each.stat().st_mode & 0o022, each
