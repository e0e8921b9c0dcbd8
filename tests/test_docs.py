"""The pages against the tree: links, module names, routes, settings, and both languages of the README."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints, is_typeddict

import pytest

from audiosocket import json_shapes
from audiosocket.settings import catalogue

ROOT = Path(__file__).parent.parent
SOURCES = ("audiosocket", "admin")
#: Directories that are not ours: environments, builds, caches.
_FOREIGN = {".venv", ".git", "build", "dist", ".hypothesis", ".pytest_cache"}


def pages() -> list[Path]:
    """Every page of the repository."""
    return sorted(
        path for path in ROOT.rglob("*.md") if not _FOREIGN & set(path.relative_to(ROOT).parts) and path.is_file()
    )


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    """The text without fenced blocks, whatever their indent."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors that hosting platforms make of headings: lower case, spaces to hyphens, no punctuation."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", without_code(text), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(anchor if anchor not in found else f"{anchor}-1")
    return found


def links(text: str) -> Iterator[str]:
    """The targets of inline links, outside of code."""
    plain = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", lambda code: code.group().replace("(", " "), without_code(text))
    yield from re.findall(r"\]\(([^)\s]+)\)", plain)


def resolves(page: Path, target: str) -> bool:
    """Whether a relative link leads to a file of the repository, and to a heading of it if it names one."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists() or not file.is_relative_to(ROOT):
        return False
    return not anchor or (file.is_file() and anchor in anchors(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_relative_links_resolve(page: Path) -> None:
    targets = [target for target in links(page.read_text(encoding="utf-8")) if not re.match(r"[a-z]+:", target)]
    assert [target for target in targets if not resolves(page, target)] == []


def test_the_link_checker_finds_links() -> None:
    """A checker that finds nothing finds nothing wrong."""
    assert list(links("see [a](b.md#c), `[x](y)` and [`d`](e/f)\n\n```\n[g](h)\n```\n")) == ["b.md#c", "e/f"]
    assert anchors("# Where is …?\n\n## The `.env` file, 2\n") == {"where-is-", "the-env-file-2"}


def named_modules(text: str) -> set[str]:
    """Paths of modules and SQL files in backticks."""
    return set(re.findall(r"`([\w./]+\.(?:py|sql))`", text))


def test_the_map_names_every_module_and_no_other() -> None:
    """A module that moves, comes or goes has its row in docs/architecture.md changed with it."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("## Where is")[2].partition("\n## ")[0]
    there = {
        str(path.relative_to(ROOT)).removeprefix("audiosocket/")
        for source in SOURCES
        for pattern in ("*.py", "*.sql")
        for path in (ROOT / source).rglob(pattern)
        if path.name != "__init__.py"
    }
    assert named_modules(table) == there


def defined_names(path: Path) -> set[str]:
    """Classes, functions and constants of a module, and methods as ``Class.method``."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
            methods = [each for each in ast.walk(node) if isinstance(each, ast.FunctionDef)]
            names |= {f"{node.name}.{method.name}" for method in methods}
    return names


def test_the_lines_that_the_map_names_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("## Which line decides")[2].partition("\n## ")[0]
    named = re.findall(r"`([\w/]+\.py)`: `([\w.]+)`", section)
    assert len(named) >= 15
    sources = {
        module: ROOT / module if module.startswith("admin/") else ROOT / "audiosocket" / module
        for module, _ in named
    }
    assert [(module, name) for module, name in named if name not in defined_names(sources[module])] == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_pages_name_files_that_exist(page: Path) -> None:
    """In full from the root, from the page's directory or from ``audiosocket/``."""
    text = page.read_text(encoding="utf-8")
    missing = [
        name
        for name in named_modules(without_code(text))
        if not any((base / name).exists() for base in (ROOT, page.parent, ROOT / "audiosocket"))
    ]
    assert missing == []


# routes


def routes() -> set[str]:
    """Method and path of every route of ``admin``, with a parameter as ``{}``."""
    found: set[str] = set()
    for path in (ROOT / "admin").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "route":
                options = {each.arg: ast.literal_eval(each.value) for each in node.keywords}
                where = re.sub(r"<[^>]*>", "{}", ast.literal_eval(node.args[0]))
                found.update(f"{method} {where}" for method in options["methods"])
    return found


def test_every_route_has_its_section_in_the_page_and_no_other() -> None:
    text = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
    sections = [re.sub(r"\{[^}]*\}", "{}", title) for title in re.findall(r"^### `([A-Z]+ [^`]+)`$", text, re.M)]
    assert sorted(sections) == sorted(routes())
    index = [
        re.sub(r"\{[^}]*\}", "{}", title) for title in re.findall(r"^\| \[`([A-Z]+ [^`]+)`\]", text, re.MULTILINE)
    ]
    assert sorted(index) == sorted(sections)


def test_every_section_of_a_route_says_how_it_fails() -> None:
    text = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[2:]:
        assert "Errors:" in section or "503" in section, section.splitlines()[0]


def test_every_key_of_answers_and_of_the_local_file_is_explained() -> None:
    """Whatever is renamed in the code is renamed there. Workers' answers to the supervisor are internal."""
    text = "".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("http-api.md", "operations.md"))
    shapes = [shape for shape in vars(json_shapes).values() if is_typeddict(shape)]
    assert len(shapes) > 20
    missing = [
        f"{shape.__name__}.{key}"
        for shape in shapes
        if shape is not json_shapes.WorkerStatusJSON
        for key in get_type_hints(shape)
        if not re.search(rf"\b{key}\b", text)
    ]
    assert missing == []


# settings


@pytest.mark.parametrize("page", ["settings.md", "settings.pt-BR.md"])
def test_every_setting_is_in_the_tables_and_no_other(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[A-Z_`, ]+`) \|", text, re.MULTILINE)
    names = [name for cell in cells for name in re.findall(r"`([A-Z_]+)`", cell)]
    assert sorted(names) == sorted(info.name for info in catalogue())


def test_the_tables_have_the_defaults() -> None:
    """A row of one setting shows its default as it is; words such as "empty" stand for what has none."""
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", text, re.MULTILINE))
    described = {"ALLOWED_PEERS"}
    for info in catalogue():
        if info.name in rows and info.default and info.name not in described:
            assert rows[info.name].strip("`") == info.default, info.name


# two languages


def headings(text: str) -> list[int]:
    """The level of each heading."""
    return [len(marks) for marks in re.findall(r"^(#+) ", without_code(text), re.MULTILINE)]


def code_blocks(text: str) -> list[str]:
    return re.findall(r"^ *```.*?^ *```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["bots", "gate", "page", "porteiro", "reverse-proxy"])
def test_both_languages_have_the_same_structure(page: str) -> None:
    """Comments in their code blocks are translated."""
    one, other = ((ROOT / "docs" / f"{page}{end}").read_text(encoding="utf-8") for end in (".md", ".pt-BR.md"))
    assert headings(one) == headings(other)
    assert len(code_blocks(one)) == len(code_blocks(other))
    rows = [sum(line.startswith("| ") for line in text.splitlines()) for text in (one, other)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("english", "portuguese"),
    [
        ("README.md", "README.pt-BR.md"),
        ("docs/settings.md", "docs/settings.pt-BR.md"),
        ("docs/moving.md", "docs/moving.pt-BR.md"),
        ("docs/command-line.md", "docs/command-line.pt-BR.md"),
        ("docs/troubleshooting.md", "docs/troubleshooting.pt-BR.md"),
    ],
)
def test_both_languages_have_the_same_structure_and_commands(english: str, portuguese: str) -> None:
    one, other = ((ROOT / page).read_text(encoding="utf-8") for page in (english, portuguese))
    assert headings(one) == headings(other)
    assert code_blocks(one) == code_blocks(other)
    rows = [[line for line in text.splitlines() if line.startswith("| ")] for text in (one, other)]
    assert len(rows[0]) == len(rows[1])
    for here, there in zip(*rows, strict=True):
        assert re.findall(r"`([A-Z_]+)`", here) == re.findall(r"`([A-Z_]+)`", there)
    linked = [[re.sub(r"\.pt-BR(?=\.md)", "", target) for target in links(text)] for text in (one, other)]
    assert linked[0] == linked[1]


# what only its authors could follow


def test_the_sources_refer_to_pages_of_the_repository_only() -> None:
    """A reference such as "the contract, section 8" leads nowhere for a stranger."""
    here = Path(__file__)
    texts = {
        name_of(path): path.read_text(encoding="utf-8")
        for source in (*SOURCES, "tests", "bench", "examples", "docs")
        for path in sorted((ROOT / source).rglob("*"))
        if path.suffix in {".py", ".md", ".conf", ".sql", ".c"} and path != here
    }
    assert [name for name, text in texts.items() if re.search(r"\bcontract(?:'s)?,? section\b", text, re.I)] == []
    missing = {
        f"{name}: {page}"
        for name, text in texts.items()
        for page in re.findall(r"\bdocs/[\w./-]+?\.md\b", text)
        if not (ROOT / page).exists() and not (ROOT / name).parent.joinpath(page).exists()
    }
    assert missing == set()
