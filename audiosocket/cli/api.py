"""A small blocking client of the HTTP API.

It follows no redirect and uses no proxy, so that nobody else gets the token.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from audiosocket.errors import AudioSocketError, InvalidSetting, describe_cause
from audiosocket.secret_files import secret_line, shown_path
from audiosocket.settings import Settings

#: How long a request may take, in seconds.
TIMEOUT_SECONDS = 30.0
#: The settings that say where the API is and what it wants.
_SETTINGS = ("API_HOST", "API_PORT", "API_TOKEN", "API_TOKEN_FILE", "API_TOKENS_FILE")
#: An API that listens on all addresses is asked on loopback.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


class Unreachable(AudioSocketError):
    """Nothing answered under the API's address, or what answered is another program."""


class Refused(AudioSocketError):
    """The API answered with an error; ``body`` is its JSON."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(str(body.get("message", "")) or f"the server answered {status}")
        self.status = status
        self.body = body


@dataclass(frozen=True)
class APIClient:
    """The API at ``url``; ``token`` is sent with every request if there is one."""

    url: str
    token: str = field(default="", repr=False)

    def get(self, path: str) -> Any:
        """Return the JSON, or the text, of a GET. Raises `Unreachable` and `Refused`."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON of a POST. Raises `Unreachable` and `Refused`."""
        return self._ask("POST", path, json.dumps(body).encode())

    def delete(self, path: str) -> Any:
        """Return the JSON of a DELETE. Raises `Unreachable` and `Refused`."""
        return self._ask("DELETE", path, None)

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        headers = {"Accept": "application/json, text/plain", "Accept-Language": "en"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, parts.path.rstrip("/") + path, body, headers)
            answer = connection.getresponse()
            data, status, form = answer.read(), answer.status, answer.headers.get_content_type()
        except TimeoutError:
            raise Unreachable(f"{self.url} did not answer within {TIMEOUT_SECONDS:.0f} s") from None
        except OSError as error:
            self._nobody(describe_cause(error))
        except http.client.HTTPException:
            raise Unreachable(f"{self.url} is not the HTTP API of an AudioSocket server") from None
        finally:
            connection.close()
        return self._checked(status, form, data)

    def _nobody(self, reason: str) -> NoReturn:
        raise Unreachable(
            f"no server answers at {self.url}: {reason}. Start it (audiosocket run), "
            "or name another address (--url, API_HOST, API_PORT)"
        )

    def _checked(self, status: int, form: str, data: bytes) -> Any:
        try:
            text = data.decode()
            found = text if form == "text/plain" else json.loads(text)
        except ValueError:
            found = None
        if status < 300 and found is not None:
            return found
        if not isinstance(found, dict):
            raise Unreachable(f"{self.url} is not the HTTP API of an AudioSocket server (it answered {status})")
        if status == 401:
            cure = "is wrong" if self.token else "is missing"
            found = {
                **found,
                "message": f"the token {cure}: set API_TOKEN in the environment or in .env, or use --token-file",
            }
        raise Refused(status, found)


def find_api(values: Mapping[str, str], url: str = "", token_file: Path | None = None) -> APIClient:
    """Return the client for ``url``, or for the API that the settings in ``values`` describe.

    The token is the first line of ``token_file``, else API_TOKEN, else the first line of API_TOKEN_FILE. Raises
    `InvalidSetting`.
    """
    token = _given_token(values) if token_file is None else _first_line(token_file)
    if not token.isascii() or not token.isprintable():
        raise InvalidSetting("API_TOKEN: (not shown) has characters that cannot be sent in a header")
    if url:
        return APIClient(_checked_url(url), token)
    given = {name: values.get(name, "") for name in _SETTINGS}
    # Where a file has the token, an API on another address than loopback has one too.
    given["API_TOKEN_FILE"] = "" if token else given["API_TOKEN_FILE"]
    settings = Settings.parse({**given, "API_TOKEN": token or given["API_TOKEN"]})
    host = _LOOPBACK.get(settings.api_host, settings.api_host)
    return APIClient(f"http://{f'[{host}]' if ':' in host else host}:{settings.api_port}", token)


def _given_token(values: Mapping[str, str]) -> str:
    token, path = values.get("API_TOKEN", ""), values.get("API_TOKEN_FILE", "").strip()
    return secret_line("API_TOKEN_FILE", path) if path and not token.strip() else token


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as source:
            return source.readline().strip()
    except (OSError, ValueError) as error:
        raise InvalidSetting(
            f"--token-file: {shown_path(str(path))} cannot be read: {describe_cause(error)}"
        ) from None


def _checked_url(text: str) -> str:
    """Return the URL; one that cannot be used is not repeated, as it may hold a password."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment or not text.isprintable():
        raise InvalidSetting("--url: this is not a URL like http://127.0.0.1:8082")
    return text.rstrip("/")
