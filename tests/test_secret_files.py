"""Files whose first line is a secret, and which of their paths an error may repeat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from audiosocket.errors import InvalidSetting
from audiosocket.secret_files import secret_line, shown_path
from audiosocket.settings import Settings
from audiosocket.settings_files import read_secret, with_absolute_secret_files

SECRETS = (
    "hunter2",
    "c2Vn/cmVk/bw==",
    "/9j4AAQSkZJRg",
    "/9j4/AAQ/SkZJRg",
    "-----BEGIN KEY-----\nMI/IE",
    "x" * 5000,
    "a\0b",
)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_the_place_of_its_file_is_not_repeated(
    secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidSetting) as raised:
        secret_line("API_TOKEN_FILE", secret)
    assert str(raised.value).startswith("API_TOKEN_FILE: (not shown) cannot be read: ")
    assert secret not in str(raised.value)
    settings = with_absolute_secret_files(replace(Settings.parse({}), ami_secret_file=secret))
    with pytest.raises(InvalidSetting) as raised:
        read_secret(settings, "AMI_SECRET")
    assert secret not in str(raised.value)


def test_a_path_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    (here / "password").touch()
    monkeypatch.chdir(here)
    for path in ("password", str(here / "password"), str(elsewhere / "none"), str(elsewhere / "no" / "directory")):
        assert shown_path(path) == repr(path)
