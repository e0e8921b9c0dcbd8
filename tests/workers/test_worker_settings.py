"""`audiosocket.workers.worker_settings`: what a worker is given, and what is kept from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiosocket.settings import Settings
from audiosocket.workers.worker_settings import settings_of_workers

DATABASE = {"DB_HOST": "192.0.2.1", "DB_NAME": "pbx", "DB_USER": "pbx"}


def of_workers(given: dict[str, str], *, password: str = "", node: str = "") -> dict[str, str]:
    return settings_of_workers(Settings.parse(given), given, password, node)


def test_a_worker_has_the_settings_of_calls_and_no_api() -> None:
    given = of_workers({"RESUME_SECONDS": "90", "API_HOST": "127.0.0.1"})
    assert (given["RESUME_SECONDS"], given["API_HOST"]) == ("90", "")
    Settings.parse(given)


def test_a_worker_is_given_no_secret_of_the_api_and_of_the_events() -> None:
    secrets = {
        "API_TOKEN": "t" * 40,
        "EVENTS_WEBHOOK_URL": "http://192.0.2.1/",
        "EVENTS_WEBHOOK_SECRET": "s" * 40,
    }
    given = of_workers(secrets)
    assert given.keys() & secrets.keys() == set()


def test_without_a_fleet_a_worker_has_no_database() -> None:
    given = of_workers(DATABASE, password="p" * 40)
    assert given["DB_HOST"] == ""
    assert "DB_PASSWORD" not in given


def test_in_a_fleet_a_worker_has_the_password_or_its_file() -> None:
    given = of_workers(DATABASE, password="p" * 40, node="a")
    assert (given["DB_HOST"], given["DB_PASSWORD"], given["DB_PASSWORD_FILE"]) == ("192.0.2.1", "p" * 40, "")
    given = of_workers({**DATABASE, "DB_PASSWORD_FILE": "/run/password"}, password="p" * 40, node="a")
    assert (given["DB_PASSWORD"], given["DB_PASSWORD_FILE"]) == ("", "/run/password")


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = of_workers({"DATA_DIR": "data", "APPS_FILE": "apps.toml"})
    assert (given["DATA_DIR"], given["APPS_FILE"]) == (f"{tmp_path}/data", f"{tmp_path}/apps.toml")
