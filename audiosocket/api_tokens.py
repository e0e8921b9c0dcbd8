"""The named tokens of the HTTP API: the file that lists them, and the key of the cookies of signed-in browsers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes

from audiosocket.errors import InvalidSetting, describe_cause
from audiosocket.secret_files import secret_line, shown_path

#: What a token may do, each one also what those before it may.
SCOPES = ("read", "operate", "admin")
#: The name of the token of API_TOKEN.
API_TOKEN_NAME = "API_TOKEN"  # noqa: S105 - the name of a setting
KEY_FILE_NAME = "session.key"
KEY_BYTES = 32

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class ApiToken:
    """One token: whose it is, the SHA-256 of its text, and the most that it allows."""

    name: str
    digest: bytes
    scope: str

    @classmethod
    def of(cls, text: str, name: str = API_TOKEN_NAME, scope: str = "admin") -> ApiToken:
        """Return the token with this text."""
        return cls(name, sha256(text.encode("utf-8")).digest(), scope)


class KnownTokens:
    """The tokens in force, by name; those of the file are replaced while the server runs."""

    def __init__(self, tokens: Iterable[ApiToken] = ()) -> None:
        self._by_name = {token.name: token for token in tokens}
        #: Whether requests need a token. It never changes: a file that becomes empty must not open the API.
        self.required = bool(self._by_name)

    def __iter__(self) -> Iterator[ApiToken]:
        return iter(self._by_name.values())

    def get(self, name: str) -> ApiToken | None:
        """Return the token with this name, None where there is none."""
        return self._by_name.get(name)

    def replace(self, tokens: Iterable[ApiToken]) -> None:
        """Use these tokens from now on; raise ValueError for none where a token is required."""
        by_name = {token.name: token for token in tokens}
        if bool(by_name) != self.required:
            raise ValueError("whether a token is needed is decided at the start")
        self._by_name = by_name


def parse_tokens(lines: Iterable[str], file: str) -> tuple[ApiToken, ...]:
    """Return the tokens in the lines of ``file``; raise `InvalidSetting` with the number of a wrong line.

    A line has name, SHA-256 in hexadecimal and scope, separated by blanks or commas. Blank lines and lines that
    begin with ``#`` are left out. Nothing of a wrong line is repeated: it may be the token itself.
    """
    tokens: dict[str, ApiToken] = {}
    digests: set[bytes] = set()
    for number, line in enumerate(lines, start=1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        reason = _wrong(words)
        if not reason:
            name, digest = words[0], bytes.fromhex(words[1][-64:])
            if name in tokens or name == API_TOKEN_NAME:
                reason = "its name is taken; give each token a name of its own"
            elif digest in digests:
                reason = "its SHA-256 is that of a token above; give each person a token of their own"
            else:
                digests.add(digest)
                tokens[name] = ApiToken(name, digest, words[2].lower())
        if reason:
            raise InvalidSetting(f"API_TOKENS_FILE: line {number} of {file!r}: {reason}")
    if not tokens:
        raise InvalidSetting(f"API_TOKENS_FILE: {file!r} has no token; write lines of name, SHA-256 and scope")
    return tuple(tokens.values())


def read_tokens(path: str, token_path: str = "") -> tuple[ApiToken, ...]:
    """Return the tokens in the file, none without a file; blocks. Raises `InvalidSetting`.

    The first line of the file at ``token_path``, that of API_TOKEN_FILE, is the token of API_TOKEN.
    """
    first = (ApiToken.of(secret_line("API_TOKEN_FILE", token_path)),) if token_path else ()
    return (*first, *_listed_tokens(path)) if path else first


def _listed_tokens(path: str) -> tuple[ApiToken, ...]:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InvalidSetting(
            f"API_TOKENS_FILE: {shown_path(path)} cannot be read: {describe_cause(error)}"
        ) from None
    return parse_tokens(text.splitlines(), path)


def session_key(directory: Path) -> bytes:
    """Return the key that cookies are signed with, made on first use; blocks.

    It is kept in a file that only our user can read, so that a restart does not sign anybody out. Where it cannot
    be kept, it is a new one.
    """
    path = directory / KEY_FILE_NAME
    key = token_bytes(KEY_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        try:
            kept = path.read_bytes()
        except OSError:
            return key
        return kept if len(kept) == KEY_BYTES else key
    except OSError:
        return key
    with open(descriptor, "wb") as file:
        file.write(key)
    return key


def _wrong(words: list[str]) -> str:
    """Return what is wrong with the words of a line, nothing for a good one."""
    if len(words) != 3:
        return "it has not three words; write name, SHA-256 and scope"
    if not _NAME.fullmatch(words[0]):
        return "the name has other characters than letters, digits, - and _, or more than 64"
    if not _DIGEST.fullmatch(words[1]):
        return "the second word is not a SHA-256 in hexadecimal; take it from: printf %s TOKEN | sha256sum"
    if words[2].lower() not in SCOPES:
        return f"the scope is none of {', '.join(SCOPES)}"
    return ""
