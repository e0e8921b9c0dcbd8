"""The files of the operator page, read once at the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

#: Content type by the ending of a file's name; a file with another ending is not served.
CONTENT_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
DIRECTORY = Path(__file__).parent / "static"


@dataclass(frozen=True)
class PageFile:
    """One file of the page; ``etag`` is the value of its ETag header, quotes included."""

    content: bytes
    content_type: str
    etag: bytes


def load_page_files(directory: Path = DIRECTORY) -> Mapping[str, PageFile]:
    """Return the files of the page by name. Raises `OSError` where the installation lacks them."""
    found = {}
    for path in sorted(directory.iterdir()):
        if path.suffix in CONTENT_TYPES:
            content = path.read_bytes()
            etag = f'"{sha256(content).hexdigest()[:32]}"'.encode("ascii")
            found[path.name] = PageFile(content, CONTENT_TYPES[path.suffix], etag)
    return found
