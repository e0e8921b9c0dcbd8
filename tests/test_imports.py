"""The import table of ``docs/architecture.md``, and further rules, checked against the syntax trees.

A new package needs a row in the table; the row says what it may know.
"""

from __future__ import annotations

import ast
import re
import sys
from configparser import ConfigParser
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.pure_modules import PURE, files

ROOT = Path(__file__).parent.parent

#: May import all packages in the rows above.
ABOVE = "all above"

#: Package, or module directly in ``audiosocket``, to the packages it may import.
MAY_IMPORT: dict[str, str] = {
    "errors": "",
    "json_shapes": "",
    "setting_kinds": "",
    "settings": "errors setting_kinds",
    "api_address": "settings",
    "setting_advice": "settings api_address",
    "secret_files": "errors",
    "settings_files": "errors settings secret_files",
    "wire": "errors",
    "proxy_header": "errors",
    "api_tokens": "errors secret_files",
    "extensions": "errors json_shapes",
    "media": "errors wire",
    "transport": "wire",
    "outbound": "errors secret_files",
    "runtime": "json_shapes",
    "event_webhook": "errors json_shapes outbound runtime",
    "postgres": "errors json_shapes settings outbound runtime",
    "interfaces": "extensions json_shapes outbound.websocket_interface settings",
    "asterisk": "errors extensions interfaces outbound",
    "control_interface": "extensions json_shapes asterisk",
    "calls": "errors json_shapes wire proxy_header extensions interfaces media transport",
    "returncalls": "errors json_shapes settings extensions interfaces calls asterisk outbound",
    "prompts": "errors interfaces media",
    "gate": "errors extensions interfaces outbound asterisk",
    "bots": "errors extensions interfaces json_shapes media outbound prompts settings wire",
    "apps": (
        "bots errors json_shapes wire extensions interfaces media prompts settings calls.outcomes "
        "returncalls.dial_string returncalls.templates"
    ),
    "provisioning": "errors json_shapes settings extensions interfaces postgres calls.protocol transport",
    "fleet": (
        "errors json_shapes settings api_address extensions outbound runtime postgres control_interface calls"
    ),
    "server": ABOVE,
    "upgrade": ABOVE,
    "workers": ABOVE,
    "client": "errors wire media",
    "cli": ABOVE,
    "testing": (
        "errors settings wire extensions interfaces media transport outbound calls apps provisioning server client"
    ),
    "admin": "api_tokens control_interface errors json_shapes extensions asterisk.dialplan runtime",
}
for position, (row, allowed) in enumerate(list(MAY_IMPORT.items())):
    if allowed == ABOVE:
        MAY_IMPORT[row] = " ".join(list(MAY_IMPORT)[:position])
#: Where programs begin: they may import everything, but only `composition` imports `admin`.
PROGRAMS = "options composition tap __main__ dial schema show_dialplan workers.__main__ cli.__main__"
#: Standard modules that reach out of the process.
IMPURE = {"socket", "select", "selectors", "asyncio", "threading", "subprocess", "os", "time", "http", "urllib"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    name_of(path): path
    for pattern in ("audiosocket/**/*.py", "admin/**/*.py", "twisted/plugins/*.py")
    for path in sorted(ROOT.glob(pattern))
}


def tree(name: str) -> ast.Module:
    """Parse a module again each time: kept trees would slow down the garbage collection after every later test."""
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


def inner(name: str) -> str:
    return name.removeprefix("audiosocket.")


def package_of(name: str) -> str:
    """The row of the table that a module belongs to."""
    return inner(name).partition(".")[0]


def ours(name: str) -> bool:
    return name.partition(".")[0] in {"audiosocket", "admin"}


def is_program(name: str) -> bool:
    return inner(name) in PROGRAMS.split() or name.startswith("twisted.")


def is_in(name: str, names: str) -> bool:
    """Whether a module is one of ``names``, or inside a package that is."""
    return any(inner(name) == each or inner(name).startswith(f"{each}.") for each in names.split())


def packages() -> list[str]:
    return [name for name in MODULES if name != "audiosocket" and not is_program(name)]


def test_every_module_is_in_the_table() -> None:
    assert {package_of(name) for name in packages()} == set(MAY_IMPORT)
    assert len(MODULES) > 100


def test_packages_import_what_the_table_allows() -> None:
    wrong = [
        f"{name} imports {other}"
        for name in packages()
        for other in imports(name)
        if ours(other)
        and other != "audiosocket"
        and package_of(other) != package_of(name)
        and not is_in(other, MAY_IMPORT[package_of(name)])
    ]
    assert wrong == []


def test_packages_do_not_import_each_other_in_a_circle() -> None:
    graph = {
        name: {each.partition(".")[0] for each in allowed.split()} - {name} for name, allowed in MAY_IMPORT.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(MAY_IMPORT)


def test_rows_of_the_table_import_rows_above_them_only() -> None:
    """A reader finds what a package may know above its row."""
    rows = list(MAY_IMPORT)
    wrong = [
        f"{name} imports {other}"
        for name, allowed in MAY_IMPORT.items()
        for other in allowed.split()
        if rows.index(other.partition(".")[0]) >= rows.index(name)
    ]
    assert wrong == []


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    sorter = TopologicalSorter({name: {each for each in imports(name) if each in MODULES} for name in MODULES})
    assert len(list(sorter.static_order())) == len(MODULES)


def test_the_map_shows_the_same_table() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| [^|]+ \| ([^|]*) \|", text, re.MULTILINE))
    shown = {
        name: set(list(rows)[:position]) if cell.strip() == ABOVE else set(re.findall(r"`([a-z_.]+)`", cell))
        for position, (name, cell) in enumerate(rows.items())
    }
    assert shown == {name: set(allowed.split()) for name, allowed in MAY_IMPORT.items()}


def test_the_map_shows_the_sentence_of_each_package() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for name, path in MODULES.items():
        if path.name == "__init__.py" and name.count(".") == 1 and name.startswith("audiosocket."):
            sentence = (ast.get_docstring(tree(name)) or "").split("\n\n")[0].replace("\n", " ")
            assert sentence, name
            assert sentence in text, name


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES.values()}))
def test_no_folder_holds_more_modules_than_a_person_keeps_in_mind(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= 22


def test_coverage_finds_every_pure_module() -> None:
    assert [pattern for pattern in files() if not list(ROOT.glob(pattern))] == []


def test_pure_modules_use_the_standard_library_and_each_other() -> None:
    pure = [name for name in MODULES if name != "audiosocket" and is_in(name, PURE)]
    assert len(pure) >= len(PURE.split())
    for name in pure:
        for other in imports(name):
            first = other.partition(".")[0]
            assert is_in(other, PURE) or first in sys.stdlib_module_names, f"{name} imports {other}"
            assert first not in IMPURE, f"{name} imports {other}"


def test_apps_do_not_import_each_other() -> None:
    for name in MODULES:
        if name.startswith("audiosocket.apps.") and name != "audiosocket.apps.registry":
            own = ".".join(name.split(".")[:3])
            others = [o for o in imports(name) if o.startswith("audiosocket.apps.") and not o.startswith(own)]
            assert others == [], name


def test_only_the_composition_imports_admin() -> None:
    importers = {n for n in MODULES if package_of(n) != "admin" and any(o.startswith("admin") for o in imports(n))}
    assert importers == {"audiosocket.composition"}


def test_packages_do_not_import_programs() -> None:
    """The plugin names ``tap`` as a string, so that ``twistd --help`` does not import the server."""
    for name in packages():
        assert not [other for other in imports(name) if ours(other) and is_program(other)], name


@pytest.mark.parametrize("word", ["environ", "getenv"])
def test_the_environment_is_read_where_programs_begin(word: str) -> None:
    readers = {
        name
        for name in MODULES
        for node in ast.walk(tree(name))
        if (isinstance(node, ast.Attribute) and node.attr == word)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and word in [a.name for a in node.names])
    }
    assert [name for name in readers if not is_program(name)] == []


def test_the_reactor_is_an_argument() -> None:
    """Imported by the programs alone, and there inside a function: twistd chooses it first."""
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


def test_the_wheel_has_every_package() -> None:
    """A package that is missing there is noticed only where the wheel is installed without the checkout."""
    configured = ConfigParser()
    configured.read(ROOT / "setup.cfg")
    listed = set(configured["options"]["packages"].split())
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("audiosocket", "admin")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert listed - {"twisted.plugins"} == there
