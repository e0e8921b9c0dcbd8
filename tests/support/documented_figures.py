"""The names of the figures of ``GET /metrics``, as ``docs/http-api.md`` lists them."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "http-api.md"


def documented() -> set[str]:
    """The names of the figures in the table of the page, of histograms also those of their series."""
    text = DOCUMENT.read_text(encoding="utf-8").partition("### `GET /metrics`")[2].partition("\n### ")[0]
    found = set[str]()
    for cell in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE):
        for name, histogram in re.findall(r"`([a-z_]+)(?:\{[^}]*\})?`( \(h\))?", cell):
            found |= {
                f"audiosocket_{name}{end}" for end in (("_bucket", "_sum", "_count") if histogram else ("",))
            }
    return found
