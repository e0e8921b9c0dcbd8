"""Imports point down: who may know of whom, read from the syntax trees (docs/architecture.md has the map).

A new module needs a rank here; the table is where one says what it is allowed to know.
"""

from __future__ import annotations

import ast
import sys
from fnmatch import fnmatchcase
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Layer to the modules in it, relative to ``audiosocket``; a pattern stands for a family.
LAYERS: dict[int, str] = {
    0: (
        "errors wire amiwire amileg aritold audio extensions reconcile settings playout speech timeline wavfile "
        "backoff quota diagnosis evidence dialplan dialplantext replay compaction deadlines templates workers "
        "workers.affinity"
    ),
    1: "interfaces calls callregistry events originate q850 clues",
    2: (
        "protocol legs legface pacing metronome legpoll legtransport database extension_table lookup pg* cache "
        "journal sounds soundfiles lateload resample recording logs "
        "caller caller_* dial ami* ari* web* numbers ringing "
        "workers.channel workers.relay workers.handover workers.farewell workers.journals"
    ),
    3: "apps apps.* returncall returnrun returnattempt",
    4: (
        "listening listeners poller readings returnbackend switchboard watchdog stacks causes "
        "pauses garbage settling apiport server "
        "control callside callserver filethread tablecontrol callcontrol "
        "workers.sharedports workers.life workers.worker workers.fleet workers.front workers.frontcontrol "
        "workers.doors workers.process"
    ),
    6: "tap __main__ workers.__main__ schema show_dialplan",
}
ADMIN, PLUGIN = 5, 7
#: What the HTTP API may know of the server.
ADMIN_MAY_KNOW = {
    "audiosocket",
    *(f"audiosocket.{name}" for name in ("interfaces", "errors", "extensions", "dialplan", "metrics")),
}
#: The words of layer 1 need no more than these of other packages.
WORDS_MAY_KNOW = {"twisted.logger", "twisted.internet.defer"}
#: The real leg and what is beneath it; an app sees `interfaces.Leg`.
BENEATH_APPS = {f"audiosocket.{name}" for name in ("legs", "protocol", "pacing", "playout", "switchboard")}


def files() -> list[Path]:
    """All code that is installed, and the plugin."""
    found = [*ROOT.glob("audiosocket/**/*.py"), *ROOT.glob("admin/**/*.py"), *ROOT.glob("twisted/plugins/*.py")]
    return sorted(found)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in files()}


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


@cache
def imports(name: str) -> frozenset[str]:
    """What a module imports anywhere, also inside functions; ``from package import module`` is the module."""
    found: set[str] = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: a relative import hides where it points"
            source = str(node.module)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add(inner if inner in MODULES else source)
    return frozenset(found)


def rank(name: str) -> int | None:
    """The layer of one of our modules; None when nobody gave it one."""
    if name.partition(".")[0] == "twisted":
        return PLUGIN
    if name.partition(".")[0] == "admin":
        return ADMIN
    inner = name.removeprefix("audiosocket.")
    if inner == "audiosocket":
        return 0
    exact = [layer for layer, names in LAYERS.items() if inner in names.split()]
    family = [layer for layer, names in LAYERS.items() for each in names.split() if fnmatchcase(inner, each)]
    return (exact or family or [None])[0]


def ours(name: str) -> bool:
    return name.partition(".")[0] in {"audiosocket", "admin"}


def with_rank(wanted: int) -> list[str]:
    return [name for name in MODULES if rank(name) == wanted]


def test_every_module_has_a_layer() -> None:
    assert [name for name in MODULES if rank(name) is None] == []
    assert len(MODULES) > 50


def test_every_layer_is_inhabited_and_no_module_is_in_two() -> None:
    assert {rank(name) for name in MODULES} == {0, 1, 2, 3, 4, 5, 6, 7}
    named = [each for names in LAYERS.values() for each in names.split()]
    assert len(named) == len(set(named))


def test_imports_point_down() -> None:
    wrong = [
        f"{name} (layer {rank(name)}) imports {other} (layer {rank(other)})"
        for name in MODULES
        for other in imports(name)
        if ours(other) and (rank(other) or 0) > (rank(name) or 0)
    ]
    assert wrong == []


def test_no_imports_in_a_circle() -> None:
    sorter = TopologicalSorter({name: {each for each in imports(name) if each in MODULES} for name in MODULES})
    assert len(list(sorter.static_order())) == len(MODULES)


def test_layer_0_is_pure() -> None:
    """The standard library and itself, and of those nothing that reaches out of the process."""
    outside = {
        "socket",
        "select",
        "selectors",
        "asyncio",
        "threading",
        "subprocess",
        "os",
        "time",
        "http",
        "urllib",
    }
    for name in with_rank(0):
        for other in imports(name):
            assert ours(other) or other.partition(".")[0] in sys.stdlib_module_names, f"{name} imports {other}"
            assert other.partition(".")[0] not in outside, f"{name} imports {other}"


def test_layer_1_is_words() -> None:
    for name in with_rank(1):
        for other in imports(name):
            standard = other.partition(".")[0] in sys.stdlib_module_names
            assert ours(other) or standard or other in WORDS_MAY_KNOW, f"{name} imports {other}"


def test_apps_see_a_leg_through_its_interface_and_not_each_other() -> None:
    for name in with_rank(3):
        assert not imports(name) & BENEATH_APPS, name
        if name != "audiosocket.apps.registry":
            assert not [other for other in imports(name) if other.startswith("audiosocket.apps.")], name


def test_admin_is_a_guest() -> None:
    for name in with_rank(ADMIN):
        known = {other for other in imports(name) if other.partition(".")[0] == "audiosocket"}
        assert known <= ADMIN_MAY_KNOW, f"{name} imports {sorted(known - ADMIN_MAY_KNOW)}"


def test_only_the_composition_knows_admin() -> None:
    knows = {name for name in MODULES if rank(name) != ADMIN and any(o.startswith("admin") for o in imports(name))}
    assert knows == {"audiosocket.tap"}


def test_nobody_imports_the_composition() -> None:
    """The plugin names ``tap`` as a string, so that ``twistd --help`` does not import the server."""
    for name in MODULES:
        assert not [other for other in imports(name) if rank(other) == 6 and ours(other) and other != name], name


@pytest.mark.parametrize("word", ["environ", "getenv"])
def test_the_environment_is_read_where_programs_begin(word: str) -> None:
    readers = {
        name
        for name in MODULES
        for node in ast.walk(tree(name))
        if (isinstance(node, ast.Attribute) and node.attr == word)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and word in [a.name for a in node.names])
    }
    assert readers <= set(with_rank(6))


def test_the_reactor_is_an_argument() -> None:
    """Imported by the composition alone, and there inside a function: twistd chooses it first."""
    importers = {
        name
        for name in MODULES
        for node in ast.walk(tree(name))
        if isinstance(node, ast.ImportFrom)
        and node.module == "twisted.internet"
        and "reactor" in [alias.name for alias in node.names]
    }
    assert importers == {"audiosocket.tap", "audiosocket.workers.__main__"}
    assert not [
        node
        for node in tree("audiosocket.tap").body
        if isinstance(node, ast.ImportFrom) and "reactor" in [alias.name for alias in node.names]
    ]


def test_nothing_sleeps() -> None:
    """A reactor that sleeps is a second in which no caller hears anything."""
    for name in MODULES:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Attribute) and node.attr == "sleep":
                assert not (isinstance(node.value, ast.Name) and node.value.id == "time"), name
