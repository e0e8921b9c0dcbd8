"""The configuration of ``examples/asterisk``, unchanged except for the test's settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests.real_asterisk import configuration
from tests.real_asterisk.configuration import Ports
from tests.real_asterisk.product import Row

DIRECTORY = Path(__file__).parents[2] / "examples" / "asterisk"


def load(name: str, **settings: str) -> str:
    """Return a shipped file with some of its settings changed.

    A setting is written as ``NAME=value``, ``name = value`` or in a Set(). Raises `AssertionError` for a setting
    that the file has not, or has twice.
    """
    text = (DIRECTORY / name).read_text()
    for setting, value in settings.items():
        text, found = re.subn(
            rf"(?m)^((?:(?:exten => s,1|[ ]same => n),Set\()?{setting}[ \t]*=[ \t]*)[^\s)]*",
            lambda match, value=value: match.group(1) + value,  # type: ignore[misc]
            text,
        )
        assert found == 1, f"{name} sets {setting} {found} times"
    return text


def files(ports: Ports, secret: str) -> dict[str, str]:
    """Return Asterisk's configuration: the shipped AMI and ARI accounts, and the tests' own."""
    rig = f"\n[rig]\nsecret = {secret}\nread = system,call,user\nwrite = all\n"
    return configuration.files(
        ports,
        manager=load("manager.conf", port=str(ports.ami), secret=secret) + rig,
        ari=load("ari.conf", password=secret),
    )


def with_rows(text: str, rows: Sequence[Row]) -> str:
    """Return a shipped dialplan with its block repeated for each row, as its comments say."""
    for number, port, values in (
        ("1000", "${AUDIOSOCKET_PORT}", [(row.number, row.port) for row in rows]),
        ("1001", "${AUDIOSOCKET_RETURN_PORT}", [(row.return_number, row.return_port) for row in rows]),
    ):
        found = re.search(rf"(?ms)^exten => {number},.*?(?=^; ----)", text)
        assert found is not None
        assert found[0].count(port) == 1
        blocks = [found[0].replace(f"=> {number},", f"=> {own},").replace(port, str(at)) for own, at in values]
        text = text.replace(found[0], "".join(blocks))
    return text
