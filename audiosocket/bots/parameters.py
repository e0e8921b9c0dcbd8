"""The tables of the bot apps in ``apps.toml``, checked; errors never show a value, which may be a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audiosocket.bots.commands import TOOLS, tool_schema
from audiosocket.bots.events import AudioFormat
from audiosocket.bots.openai_realtime import PCM, PCMU, RealtimeConfig
from audiosocket.bots.url_template import check_url
from audiosocket.errors import InvalidParameter

#: The app that takes over where an entry names none.
DEFAULT_FALLBACK = "porteiro"
MAX_INSTRUCTIONS_BYTES = 200_000
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE = re.compile(r"[\t\x20-\x7e]*")
_COMMON = ("url", "headers", "ca_file", "fallback", "connect_seconds", "retry_seconds", "hold_file")


@dataclass(frozen=True)
class BotParameters:
    """What all dialects have. ``files`` are those that were named: a change of one is a change of the rules."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    subprotocol: str = ""
    ca_file: str = ""
    #: The apps that take the leg over; empty: it is hung up.
    fallback: str = DEFAULT_FALLBACK
    #: For one attempt to connect, and for all of them together.
    connect_seconds: float = 3.0
    retry_seconds: float = 2.5
    #: A WAV that is played until the bot speaks; empty: silence.
    hold_file: str = ""
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class TwilioParameters:
    """``parameters`` become ``customParameters``; ``signature_token`` signs the URL as Twilio does."""

    bot: BotParameters
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    signature_token: str = field(default="", repr=False)

    @property
    def fallback(self) -> str:
        """The apps that take the leg over."""
        return self.bot.fallback

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that were named."""
        return self.bot.files


@dataclass(frozen=True)
class RealtimeParameters:
    """``tools`` are the commands that the model may use, see `commands.TOOLS`."""

    bot: BotParameters
    config: RealtimeConfig
    tools: frozenset[str] = frozenset()

    @property
    def fallback(self) -> str:
        """The apps that take the leg over."""
        return self.bot.fallback

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that were named."""
        return self.bot.files


class _Table:
    """Takes parameters out of a table; what is left in the end is unknown."""

    def __init__(self, given: Mapping[str, Any], known: tuple[str, ...], directory: Path) -> None:
        self._given = given
        self._directory = directory
        self.files: list[Path] = []
        for name in given:
            if name not in known:
                raise InvalidParameter(f"unknown parameter {name!r}; there are {', '.join(known)}", name)

    def text(self, name: str, default: str = "") -> str:
        value = self._given.get(name, default)
        if not isinstance(value, str):
            raise InvalidParameter(f"{name} must be a text", name)
        return value

    def one_line(self, name: str, default: str = "") -> str:
        value = self.text(name, default)
        if not _LINE.fullmatch(value):
            raise InvalidParameter(f"{name} has characters that a header cannot carry", name)
        return value

    def seconds(self, name: str, default: float, most: float) -> float:
        value = self._given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise InvalidParameter(f"{name} must be a number of seconds, 0 to {most:g}", name)
        return float(value)

    def texts(self, name: str) -> dict[str, str]:
        value = self._given.get(name, {})
        if not isinstance(value, dict):
            raise InvalidParameter(f"{name} must be a table of texts", name)
        for key, one in value.items():
            if isinstance(one, bool) or not isinstance(one, str | int | float):
                raise InvalidParameter(f"{name}.{key} must be a text", name)
        return {key: str(one) for key, one in value.items()}

    def headers(self, name: str = "headers") -> dict[str, str]:
        found = self.texts(name)
        for key, value in found.items():
            if not _HEADER.fullmatch(key) or not _LINE.fullmatch(value):
                raise InvalidParameter(f"{name}.{key[:60]} is no header that HTTP can carry", name)
        return found

    def file(self, name: str) -> Path | None:
        named = self.text(name)
        if not named:
            return None
        path = self._directory / Path(named).expanduser()
        self.files.append(path)
        if not path.is_file():
            raise InvalidParameter(f"{name}: there is no such file", name)
        return path

    def instructions(self) -> str:
        text, path = self.text("instructions"), self.file("instructions_file")
        if path is None:
            return text
        if text:
            raise InvalidParameter("instructions and instructions_file: keep one of them", "instructions")
        try:
            content = path.read_bytes()
            if len(content) > MAX_INSTRUCTIONS_BYTES:
                raise InvalidParameter(
                    f"the file has more than {MAX_INSTRUCTIONS_BYTES} bytes", "instructions_file"
                )
            return content.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as problem:
            reason = getattr(problem, "strerror", None) or "it is not UTF-8"
            raise InvalidParameter(f"instructions_file: {reason}", "instructions_file") from None

    def tools(self) -> frozenset[str]:
        value = self._given.get("tools", [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise InvalidParameter("tools must be a list of names", "tools")
        unknown = [one for one in value if one not in TOOLS]
        if unknown:
            raise InvalidParameter(f"unknown tool {unknown[0]!r}; there are {', '.join(TOOLS)}", "tools")
        return frozenset(value)

    def bot(self, url: str, headers: Mapping[str, str], subprotocol: str = "") -> BotParameters:
        ca_file, hold_file = self.file("ca_file"), self.file("hold_file")
        return BotParameters(
            url=check_url(url),
            headers=headers,
            subprotocol=subprotocol,
            ca_file=str(ca_file or ""),
            fallback=self.text("fallback", DEFAULT_FALLBACK),
            connect_seconds=self.seconds("connect_seconds", 3.0, 60),
            retry_seconds=self.seconds("retry_seconds", 2.5, 60),
            hold_file=str(hold_file or ""),
            files=tuple(self.files),
        )


def _required(table: _Table, name: str) -> str:
    value = table.text(name)
    if not value:
        raise InvalidParameter(f"{name} is missing", name)
    return value


def parse_twilio(given: Mapping[str, Any], directory: Path) -> TwilioParameters:
    """Return the table of the app ``twilio``; raises `InvalidParameter`."""
    table = _Table(given, (*_COMMON, "parameters", "signature_token"), directory)
    bot = table.bot(_required(table, "url"), table.headers())
    return TwilioParameters(bot, table.texts("parameters"), table.text("signature_token"))


def parse_asterisk_ws(given: Mapping[str, Any], directory: Path) -> BotParameters:
    """Return the table of the app ``asterisk_ws``; raises `InvalidParameter`."""
    table = _Table(given, (*_COMMON, "subprotocol"), directory)
    subprotocol = table.text("subprotocol", "media")
    if subprotocol and not _HEADER.fullmatch(subprotocol):
        raise InvalidParameter("subprotocol is not the name of one", "subprotocol")
    return table.bot(_required(table, "url"), table.headers(), subprotocol)


_REALTIME = (
    "model",
    "api_key",
    "voice",
    "instructions",
    "instructions_file",
    "audio_format",
    "greeting",
    "tools",
    "language",
    "transcription_model",
    "noise_reduction",
    "turn_detection",
)
_FORMATS: Mapping[str, AudioFormat | None] = {"auto": None, "pcmu": PCMU, "pcm": PCM}
_OPENAI = "wss://api.openai.com/v1/realtime"


def parse_openai_realtime(given: Mapping[str, Any], directory: Path) -> RealtimeParameters:
    """Return the table of the app ``openai_realtime``; raises `InvalidParameter`.

    Azure takes the key in a header of its own, the others as a bearer token. ``model`` goes into the query unless
    the URL names one.
    """
    table = _Table(given, (*_COMMON, *_REALTIME), directory)
    model, key = _required(table, "model"), table.one_line("api_key")
    url = table.text("url") or _OPENAI
    if not re.search(r"[?&](model|deployment)=", url):
        url += ("&" if "?" in url else "?") + f"model={model}"
    headers = table.headers()
    if key:
        azure = re.match(r"wss?://[^/]*\.azure\.com(?::\d+)?/", url, re.IGNORECASE)
        headers.update({"api-key": key} if azure else {"Authorization": f"Bearer {key}"})
    format_name = table.text("audio_format", "auto")
    if format_name not in _FORMATS:
        raise InvalidParameter(f"audio_format must be one of {', '.join(_FORMATS)}", "audio_format")
    greeting = given.get("greeting", "")
    if not isinstance(greeting, str | bool):
        raise InvalidParameter("greeting must be a text, or true for one of the model's own", "greeting")
    turns = given.get("turn_detection")
    if turns is not None and not isinstance(turns, dict):
        raise InvalidParameter("turn_detection must be a table", "turn_detection")
    tools = table.tools()
    config = RealtimeConfig(
        instructions=table.instructions(),
        voice=table.text("voice"),
        format=_FORMATS[format_name],
        language=table.text("language"),
        transcription_model=table.text("transcription_model"),
        greeting=greeting,
        tools=tuple(tool_schema(name) for name in TOOLS if name in tools),
        turn_detection=turns,
        noise_reduction=table.text("noise_reduction"),
    )
    return RealtimeParameters(table.bot(url, headers), config, tools)
