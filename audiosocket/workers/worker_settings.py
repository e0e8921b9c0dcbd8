"""Which settings a worker is given: those of its supervisor, without the secrets that only that one uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from audiosocket.settings import Settings, catalogue

#: The events of workers are sent by the supervisor.
_WEBHOOK = {"EVENTS_WEBHOOK_URL", "EVENTS_WEBHOOK_SECRET", "EVENTS_WEBHOOK_SECRET_FILE"}
_NOT_GIVEN = {"DB_PASSWORD", "DB_PASSWORD_FILE", "API_TOKEN", "API_TOKEN_FILE", "API_TOKENS_FILE", *_WEBHOOK}


def settings_of_workers(settings: Settings, given: Mapping[str, str], password: str, node: str) -> dict[str, str]:
    """Return the settings of all workers as texts by name, paths absolute.

    ``given`` is what ``settings`` was parsed from, ``password`` that of the database. ``node`` is the name of this
    node; without one, outside a fleet, workers have no database.
    """
    result = {info.name: given.get(info.name, "") for info in catalogue() if info.name not in _NOT_GIVEN}
    for name in ("AMI_SECRET_FILE", "ARI_PASSWORD_FILE", "WEBHOOK_SECRET_FILE", "GATE_WEBHOOK_SECRET_FILE"):
        result[name] = getattr(settings, name.lower())  # an absolute path
    # A worker has no API, and does not read the table.
    result.update(DATA_DIR=str(Path(settings.data_dir).absolute()), API_HOST="")
    if node:
        path = settings.db_password_file
        result.update(DB_PASSWORD="" if path else password, DB_PASSWORD_FILE=path)
    else:
        result.update(DB_HOST="")
    if settings.apps_file:
        result.update(APPS_FILE=str(Path(settings.apps_file).expanduser().absolute()))
    return result
