"""The operator page as files: how they are served, their policy, and their words in both languages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from admin.page_files import CONTENT_TYPES, DIRECTORY, load_page_files
from admin.problems import _TEXTS
from admin.routes.page import PAGE_POLICY
from audiosocket.json_shapes.fleet import NodeJSON
from tests.support.admin_client import AdminClient

LANGUAGES = ("en", "pt-BR")


def words(language: str) -> dict[str, str]:
    """The words of a language; their file is one JSON object behind ``export default``."""
    text = (DIRECTORY / f"words-{language}.js").read_text(encoding="utf-8")
    found: dict[str, str] = json.loads(text.partition("export default")[2])
    return found


def scripts() -> list[Path]:
    return [path for path in sorted(DIRECTORY.glob("*.js")) if not path.name.startswith("words-")]


def test_the_document_is_served_without_a_token() -> None:
    answer = AdminClient(token="secret").request("GET", "/")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.body == (DIRECTORY / "index.html").read_bytes()


@pytest.mark.parametrize("name", sorted(path.name for path in DIRECTORY.iterdir()))
def test_every_file_is_served_with_its_type_and_the_policy(name: str) -> None:
    answer = AdminClient().request("GET", f"/page/{name}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == CONTENT_TYPES[Path(name).suffix]
    assert answer.headers["Content-Security-Policy"] == PAGE_POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.body == (DIRECTORY / name).read_bytes()


def test_the_policy_allows_nothing_inline_and_nothing_foreign() -> None:
    assert "unsafe" not in PAGE_POLICY
    assert "http" not in PAGE_POLICY
    assert "default-src 'none'" in PAGE_POLICY
    assert "frame-ancestors 'none'" in PAGE_POLICY


def test_a_file_that_the_browser_has_is_not_sent_again() -> None:
    web = AdminClient()
    etag = web.request("GET", "/page/page.js").headers["ETag"]
    answer = web.request("GET", "/page/page.js", **{"If-None-Match": etag})
    assert (answer.status, answer.body) == (304, b"")
    assert web.request("GET", "/page/page.js", **{"If-None-Match": '"other"'}).status == 200


@pytest.mark.parametrize("name", ["nope.js", "__init__.py", "..", "index.html.bak", ".", "Style.css"])
def test_an_unknown_file_is_404(name: str) -> None:
    assert AdminClient().request("GET", f"/page/{name}").status == 404


def test_other_files_of_the_directory_are_not_served(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("")
    (tmp_path / "secret.txt").write_text("")
    assert list(load_page_files(tmp_path)) == ["a.css"]


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """Neither scripts nor styles nor pictures of another host; the name of the SVG namespace is no address."""
    for path in sorted(DIRECTORY.iterdir()):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|\bimport\(|innerHTML|\beval\b", text), path.name


def test_the_document_has_no_inline_script_or_style() -> None:
    text = (DIRECTORY / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)


def test_without_javascript_the_document_names_the_command() -> None:
    (text,) = re.findall(r"<noscript>(.*?)</noscript>", (DIRECTORY / "index.html").read_text(), re.DOTALL)
    assert text.count("audiosocket status") == len(LANGUAGES)


def test_both_languages_have_the_same_keys_and_the_same_values_in_them() -> None:
    english, portuguese = (words(language) for language in LANGUAGES)
    assert list(english) == list(portuguese)
    for key, text in english.items():
        assert text.strip(), key
        assert portuguese[key].strip(), key
        assert set(re.findall(r"\{\w+\}", portuguese[key])) <= set(re.findall(r"\{\w+\}", text)), key


def test_every_word_that_the_page_asks_for_is_there() -> None:
    document = (DIRECTORY / "index.html").read_text(encoding="utf-8")
    asked = set(re.findall(r'data-(?:word|label)="([\w.]+)"', document))
    for path in scripts():
        asked |= set(re.findall(r"\bt\('([\w.]+)'", path.read_text(encoding="utf-8")))
    assert len(asked) > 70
    assert asked - set(words("en")) == set()


def test_every_state_of_a_node_has_its_word() -> None:
    """The states are those that the shape of the answer names."""
    states = set(re.findall(r'"(\w+)"', NodeJSON.__doc__ or ""))
    assert {"ready", "draining", "gone"} < states
    assert {f"node.{state}" for state in states} - set(words("en")) == set()


def test_the_document_shows_no_nodes_until_there_is_a_fleet() -> None:
    text = (DIRECTORY / "index.html").read_text(encoding="utf-8")
    assert re.search(r'<section [^>]*id="nodes-card"[^>]* hidden>', text)


def test_every_problem_has_what_it_is_what_it_means_and_its_cure() -> None:
    """In the words of the page; of some kinds also for many at once."""
    text = (DIRECTORY / "problems.js").read_text(encoding="utf-8")
    (listed,) = re.findall(r"GROUPED = new Set\(\[(.*?)\]\)", text)
    grouped = set(re.findall(r"'(\w+)'", listed))
    assert grouped < set(_TEXTS)
    keys = {*_TEXTS, "serverLost", *(f"{key}s" for key in grouped)}
    parts = {f"{key}.{part}" for key in keys for part in ("what", "means", "cure")}
    assert parts - set(words("en")) == set()
