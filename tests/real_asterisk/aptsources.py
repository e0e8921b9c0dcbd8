"""Debian's archive as this machine's apt is configured, so that this project names no mirror."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_FORMAT = "$(SOURCESENTRY)\t$(ORIGIN)\t$(LABEL)\t$(REPO_URI)\t$(COMPONENT)"
_SCHEMES = ("http", "https", "file")  # what debootstrap can read


@dataclass(frozen=True)
class Archive:
    """A mirror of Debian's own archive and its keyring (None: debootstrap's default)."""

    uri: str
    keyring: Path | None


def parse_targets(listing: str) -> tuple[str, str] | None:
    """Return (URI, "file:entry") of the first usable line of ``apt-get indextargets``, in ``_FORMAT``."""
    for line in listing.splitlines():
        entry, origin, label, uri, component = line.split("\t")
        wanted = (origin, label, component) == ("Debian", "Debian", "main")
        if wanted and urlsplit(uri).scheme in _SCHEMES:
            return uri.rstrip("/"), entry
    return None


def parse_signed_by(text: str, entry: int, *, deb822: bool) -> str | None:
    """Return the Signed-By of one entry: apt counts paragraphs in a .sources file and lines in a .list file."""
    if deb822:
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        paragraphs = [p for p in re.split(r"\n\s*\n", "\n".join(lines).strip()) if p.strip()]
        found = re.search(r"(?im)^signed-by:[ \t]*(/\S+)", paragraphs[entry - 1])
    else:
        found = re.search(r"\[[^]]*\bsigned-by=(/[^\]\s,]+)", text.splitlines()[entry - 1])
    return found.group(1) if found else None


def find_archive() -> Archive | None:
    """Return the archive, from apt itself, which reads both source formats with their options and includes."""
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", _FORMAT, "Identifier: Packages"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    target = parse_targets(listing)
    if target is None:
        return None
    uri, entry = target
    name, _, number = entry.rpartition(":")
    signed_by = parse_signed_by(Path(name).read_text(), int(number), deb822=name.endswith(".sources"))
    # gpgv reads binary keyrings only: an armoured or inline key leaves debootstrap's own keyring in force
    binary = signed_by is not None and signed_by.endswith((".gpg", ".pgp")) and os.path.isfile(signed_by)
    return Archive(uri, Path(signed_by) if binary and signed_by else None)


def proxy_environment(uri: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for debootstrap's downloads: with apt's proxy for this mirror unless one is set."""
    scheme, host = urlsplit(uri).scheme, urlsplit(uri).hostname
    result = dict(environment)
    name = f"{scheme}_proxy"
    if scheme == "file" or name in result:
        return result
    for option in (f"Acquire::{scheme}::Proxy::{host}", f"Acquire::{scheme}::Proxy"):
        answer = subprocess.run(
            ["apt-config", "shell", "proxy", option],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        proxy = answer.strip().removeprefix("proxy=").strip("'")
        if proxy:
            if proxy != "DIRECT":
                result[name] = proxy
            break
    return result
