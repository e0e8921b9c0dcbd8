"""The command line of `audiosocket.dial`, checked before any call is placed."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from uuid import UUID, uuid4

from audiosocket.errors import InvalidSound, LocalProtocolError
from audiosocket.wire import KINDS, digit_frame

#: Seconds of a call without ``--play`` and ``--seconds``: one second of notes, and time for their echo.
DEFAULT_SECONDS = 5.0
#: Seconds to wait after the audio of ``--play`` and the digits were sent.
TAIL_SECONDS = 2.0
#: Largest number of seconds to wait for the end of the server's greeting; less in calls shorter than 5 s.
GREETING_SECONDS = 3.0
#: The same where keys are pressed at times: a door-keeper greets, and asks for a name.
LONG_GREETING_SECONDS = 20.0
#: A call shorter than this hardly waits for a greeting.
SHORT_SECONDS = 2.0
#: Seconds of a call with ``--press`` or ``--keyboard``, unless ``--seconds`` says so or the server hangs up.
VISIT_SECONDS = 300.0
MAX_CALLS = 10_000

_PROGRAM = "python -m audiosocket.dial"
_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<name>[^:\[\]\s]+)):(?P<port>[0-9]{1,5})", re.ASCII)
_DESCRIPTION = """\
Call an AudioSocket server as Asterisk 22 would, with its limits and time-outs, and report what happened.
Without --play, wait for the end of a greeting (3 s at most), send four notes, then silence, so that an
echo is easy to notice.
"""
_EPILOG = """\
exit status: 0 the server broke no rule, 1 it broke one, or a call failed or was refused,
2 wrong arguments

examples:
  python -m audiosocket.dial localhost:8080
  python -m audiosocket.dial [::1]:8080 --play question.wav --digits 12# --save answer.wav
  python -m audiosocket.dial 192.0.2.7:8080 --calls 100 --seconds 30

a visit to the app porteiro, in two terminals (the first one prints what to paste into the second):
  python -m audiosocket.dial localhost:8080 --keyboard --resident-port 8081
  python -m audiosocket.dial localhost:8081 --keyboard --uuid UUID
"""


@dataclass(frozen=True)
class DialOptions:
    """The calls to place. ``sound`` is slin at ``rate`` Hz; without ``seconds`` a call ends 2 s after it.

    ``greeting_seconds`` limits the wait for a pause before ``sound`` is sent. ``presses`` are keys, each with the
    seconds after the connection; with ``keyboard`` keys are read from standard input, too. ``resident_port`` is
    for the command that `resident_line` shows. With ``json`` the report is JSON.
    """

    host: str
    port: int
    call_ids: tuple[UUID, ...]
    sound: bytes
    digits: str
    rate: int
    seconds: float | None
    save: Path | None
    greeting_seconds: float = 0.0
    presses: tuple[tuple[float, str], ...] = ()
    keyboard: bool = False
    resident_port: int | None = None
    json: bool = False

    def resident_line(self, python: str) -> str:
        """Return the command that places the resident's side of the first call; empty without its port.

        ``python`` is the interpreter to name in it.
        """
        if self.resident_port is None:
            return ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        program = f"{shlex.quote(python)} -m audiosocket.dial"
        return f"{program} {host}:{self.resident_port} --uuid {self.call_ids[0]} --keyboard"

    @property
    def recordings(self) -> list[Path | None]:
        """The file for each call's received audio: heard.wav for one call, heard-1.wav and so on for more."""
        if self.save is None or len(self.call_ids) == 1:
            return [self.save] * len(self.call_ids)
        save = self.save
        numbers = range(1, len(self.call_ids) + 1)
        return [save.with_name(f"{save.stem}-{number}{save.suffix}") for number in numbers]


class _OneLine(argparse.ArgumentParser):
    """A parser that reports wrong arguments in one line on stderr, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help explains)\n")


def parse(arguments: Sequence[str], program: str = _PROGRAM) -> DialOptions:
    """Return the options in ``arguments``; report wrong ones in one line and raise `SystemExit` with 2."""
    parser = make_parser(program)
    given = parser.parse_args(arguments)
    if given.uuid is not None and given.calls > 1:
        parser.error("--uuid is for one call; with --calls each has its own")
    if given.save is not None and not given.save.parent.is_dir():
        parser.error(f"--save: there is no directory {given.save.parent}")
    if given.save is not None and given.save.is_dir():
        parser.error(f"--save: {given.save} is a directory")
    if given.save is not None and not os.access(given.save.parent, os.W_OK):
        parser.error(f"--save: {given.save.parent} is not writable")
    seconds = given.seconds
    visits = bool(given.press or given.keyboard)
    if given.keyboard and given.calls > 1:
        parser.error("--keyboard is for one call")
    if seconds is None and visits:
        seconds = VISIT_SECONDS
    elif seconds is None and given.play is None:
        seconds = DEFAULT_SECONDS
    host, port = given.address
    try:
        sound = b"" if visits and given.play is None else _sound(given.play, given.rate)
    except InvalidSound as error:
        parser.error(f"--play: {error}")
    return DialOptions(
        host=host,
        port=port,
        call_ids=(given.uuid,) if given.uuid else tuple(uuid4() for _ in range(given.calls)),
        sound=sound,
        digits=given.digits,
        rate=given.rate,
        seconds=seconds,
        save=given.save,
        greeting_seconds=_wait_for_greeting(given.play is not None, visits, seconds),
        presses=tuple(sorted(given.press)),
        keyboard=given.keyboard,
        resident_port=given.resident_port,
        json=given.json,
    )


def _wait_for_greeting(plays: bool, visits: bool, seconds: float | None) -> float:
    if visits:
        return LONG_GREETING_SECONDS if plays else 0.0
    return 0.0 if plays or seconds is None else _greeting_seconds(seconds)


def _greeting_seconds(seconds: float) -> float:
    """Return the seconds that leave two for the notes and their echo, or half of a short call.

    In a very short one the notes begin almost at once: the first of them and its echo need the time.
    """
    if seconds < SHORT_SECONDS:
        return seconds / 8
    return min(GREETING_SECONDS, max(seconds / 2, seconds - 2))


def make_parser(program: str = _PROGRAM) -> argparse.ArgumentParser:
    """Return the parser; ``program`` is the command as it was typed."""
    parser = _OneLine(
        prog=program,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("address", metavar="HOST:PORT", type=_address, help="a name, an IPv4 address, or [IPv6], and the port")
    add("--uuid", type=_uuid, help="the call's UUID (default: a new one)")
    add("--play", metavar="IN.WAV", type=Path, help="send this sound (any rate and width, mono or stereo)")
    add("--digits", metavar="12#", type=_digits, default="", help="send these digits after the sound")
    add(
        "--press",
        metavar="12#@3",
        type=_press,
        action="append",
        default=[],
        help="send these digits 3 seconds after the connection; may be repeated",
    )
    add("--keyboard", action="store_true", help="send the digits that are typed here, at each Enter")
    add(
        "--resident-port",
        metavar="PORT",
        type=_port,
        help="print the command for the other side of the call: the same UUID on this port",
    )
    add("--save", metavar="HEARD.WAV", type=Path, help="write the received audio; heard-1.wav … for several calls")
    add("--calls", metavar="N", type=_calls, default=1, help="place N calls at once (default 1)")
    add(
        "--seconds",
        metavar="S",
        type=_seconds,
        help=f"hang up after S seconds (default {DEFAULT_SECONDS:.0f}, or {TAIL_SECONDS:.0f} s after the sound; "
        f"{VISIT_SECONDS:.0f} with --press or --keyboard)",
    )
    rates = ", ".join(map(str, sorted(KINDS)))
    add("--json", action="store_true", help="print the report as JSON")
    add("--rate", metavar="HZ", type=_rate, default=8_000, help=f"rate of the audio sent: {rates} (default 8000)")
    return parser


def _sound(path: Path | None, rate: int) -> bytes:
    # Imported late: numpy and soxr would delay the report of wrong arguments.
    if path is None:
        from audiosocket.client.echo_detection import tone_pattern  # noqa: PLC0415

        return tone_pattern(rate)
    from audiosocket.media.soundfile import read_wav  # noqa: PLC0415

    return read_wav(path, rate)


def _address(text: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT (an IPv6 address goes in brackets)")
    port = int(found["port"])
    if not 1 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r}: a port is 1 to 65535")
    return found["v6"] or found["name"], port


def _uuid(text: str) -> UUID:
    try:
        call_id = UUID(text)
    except ValueError:
        call_id = None
    if call_id is None or len(text) != 36:  # Asterisk accepts the dashed form only
        raise argparse.ArgumentTypeError(f"{text!r} is not a UUID like {UUID(int=0)}")
    return call_id


def _digits(text: str) -> str:
    try:
        for digit in text.upper():
            digit_frame(digit)
    except LocalProtocolError:
        raise argparse.ArgumentTypeError(f"{text!r}: the keys are 0-9, *, # and A-D") from None
    return text.upper()


def _press(text: str) -> tuple[float, str]:
    digits, at, seconds = text.partition("@")
    try:
        when = float(seconds) if at else -1.0
    except ValueError:
        when = -1.0
    if not digits or not 0 <= when <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not keys and seconds, like 12#@3")
    return when, _digits(digits)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r}: a port is 1 to 65535")
    return int(text)


def _calls(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_CALLS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MAX_CALLS}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0, up to a day")
    return seconds


def _rate(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) not in KINDS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(map(str, sorted(KINDS)))} Hz")
    return int(text)
