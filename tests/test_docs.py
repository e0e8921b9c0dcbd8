"""The pages against the tree: links, module names, routes, settings, and both languages of the README."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for target in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or not file.is_relative_to(ROOT):
            broken.append(target)
        elif anchor and (file.is_dir() or anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []


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
