"""The AudioSocket codec: bytes to events and messages to bytes, without sockets, clocks or I/O.

A message is one byte of kind, two bytes of payload length (big endian) and the payload. The kinds are
those of ``res_audiosocket.h`` in Asterisk 22: 0x00 hangup, 0x01 UUID (16 bytes), 0x03 DTMF (one ASCII
byte), 0x10-0x18 signed linear audio at nine sample rates, 0xff error (one byte of code).

Asterisk ends the leg when it reads anything but 0x00 and non-empty 0x10-0x18, so the encoders towards
Asterisk, `audio_frame` and `HANGUP_FRAME`, can produce nothing else. The encoders of what Asterisk sends
(`uuid_frame`, `digit_frame`) are for `audiosocket.client`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from uuid import UUID

from audiosocket.errors import LocalProtocolError

HEADER_BYTES = 3
MAX_PAYLOAD_BYTES = 0xFFFF
UUID_BYTES = 16
FRAME_MS = 20
#: Bytes of one sample: signed 16 bit, little endian, one channel.
SAMPLE_BYTES = 2

HANGUP = 0x00
IDENTITY = 0x01
DTMF = 0x03
AUDIO = 0x10
ERROR = 0xFF

#: Kind to sample rate in Hz (``ast_audiosocket_msg_kind`` and its format table, Asterisk 22.7 and later).
RATES: Mapping[int, int] = MappingProxyType(
    {
        0x10: 8_000,
        0x11: 12_000,
        0x12: 16_000,
        0x13: 24_000,
        0x14: 32_000,
        0x15: 44_100,
        0x16: 48_000,
        0x17: 96_000,
        0x18: 192_000,
    }
)
KINDS: Mapping[int, int] = MappingProxyType({rate: kind for kind, rate in RATES.items()})
DIGITS = frozenset("0123456789*#ABCD")
#: Codes of an 0xff message, from the protocol description; Asterisk 22 defines but never sends them.
ERROR_TEXTS: Mapping[int, str] = MappingProxyType(
    {0x01: "caller hung up", 0x02: "frame could not be forwarded", 0x04: "out of memory"}
)

HANGUP_FRAME = bytes((HANGUP, 0, 0))

_HEADER = struct.Struct(">BH")

#: The header of a frame of 20 ms, for each of the nine rates, to its rate in Hz and its length in bytes with
#: the header. Nearly every message begins with one of these.
FRAME_HEADERS: dict[bytes, tuple[int, int]] = {
    _HEADER.pack(kind, rate * FRAME_MS // 1000 * SAMPLE_BYTES): (
        rate,
        HEADER_BYTES + rate * FRAME_MS // 1000 * SAMPLE_BYTES,
    )
    for kind, rate in RATES.items()
}


@dataclass(frozen=True)
class Identified:
    """The peer sent the UUID of its call."""

    call_id: UUID


@dataclass(frozen=True)
class Audio:
    """One frame of signed linear audio; ``pcm`` is never empty, ``rate`` is in Hz."""

    rate: int
    pcm: bytes


@dataclass(frozen=True)
class Digit:
    """The caller pressed one of ``0-9 * # A-D``."""

    digit: str


@dataclass(frozen=True)
class HungUp:
    """The peer sent a hangup frame."""


@dataclass(frozen=True)
class PeerError:
    """The peer reported an error; ``code`` is None when the message carried none."""

    code: int | None

    @property
    def text(self) -> str:
        """The meaning of the code."""
        if self.code is None:
            return "unspecified"
        return ERROR_TEXTS.get(self.code, f"code 0x{self.code:02x}")


@dataclass(frozen=True)
class Ignored:
    """A message of unknown kind or with an unusable payload; it can be skipped."""

    kind: int
    length: int
    why: str


@dataclass(frozen=True)
class Violation:
    """The peer violated the protocol; nothing after it is decoded."""

    why: str


Event = Identified | Audio | Digit | HungUp | PeerError | Ignored | Violation


class Parser:
    """Decodes a stream; the events do not depend on how it was split into pieces.

    Unless `receive` is given a limit, every complete message is decoded at once, so at most one unfinished message
    (65,538 bytes) is stored.
    With ``expect_identity`` the first message must be a UUID: any other is a violation as soon as its header
    is complete, before a byte of its payload is stored.
    """

    __slots__ = ("_broken", "_identified", "rest")

    def __init__(self, *, expect_identity: bool = True) -> None:
        #: The bytes of an unfinished message, and those behind the limit of `receive`.
        self.rest = b""
        self._identified = not expect_identity
        self._broken = False

    def receive(self, data: bytes, most: int | None = None) -> list[Event]:
        """Return the events completed by ``data``, in order; nothing follows a `Violation`.

        With ``most`` at most so many; call it again with ``b""`` for those behind them.
        """
        if self._broken:
            return []
        buffer = self.rest + data if self.rest else data
        events: list[Event] = []
        start, size = 0, len(buffer)
        while size - start >= HEADER_BYTES and len(events) != most:
            kind, length = _HEADER.unpack_from(buffer, start)
            wrong = self._wrong(kind, length)
            if wrong:
                self._broken, self.rest = True, b""
                return [*events, Violation(wrong)]
            end = start + HEADER_BYTES + length
            if end > size:
                break
            events.append(self._decode(kind, buffer[start + HEADER_BYTES : end]))
            start = end
        self.rest = buffer[start:] if start else buffer
        return events

    def _wrong(self, kind: int, length: int) -> str:
        """Return why this header is a violation at this point of the stream, or an empty text."""
        if self._identified:
            return "a second UUID on one connection" if kind == IDENTITY else ""
        if kind != IDENTITY:
            return f"the first message has kind 0x{kind:02x}, not a UUID (0x01)"
        if length != UUID_BYTES:
            return f"the UUID message has {length} bytes, not {UUID_BYTES}"
        return ""

    def _decode(self, kind: int, payload: bytes) -> Event:
        rate = RATES.get(kind)
        if rate is not None:
            return Audio(rate, payload) if payload else Ignored(kind, 0, "audio without samples")
        if kind == DTMF:
            return _digit(payload)
        if kind == HANGUP:
            return HungUp()
        if kind == IDENTITY:
            self._identified = True
            return Identified(UUID(bytes=payload))
        if kind == ERROR:
            return PeerError(payload[0] if payload else None)
        return Ignored(kind, len(payload), "unknown kind")


def has_equal_headers(data: bytes, size: int) -> bool:
    """Return whether ``data`` is whole pieces of ``size`` bytes that all begin with the header of the first."""
    count, rest = divmod(len(data), size)
    return (
        not rest
        and data[::size] == data[:1] * count
        and data[1::size] == data[1:2] * count
        and data[2::size] == data[2:3] * count
    )


def _digit(payload: bytes) -> Event:
    digit = payload.decode("latin-1").upper()
    if len(digit) == 1 and digit in DIGITS:
        return Digit(digit)
    return Ignored(DTMF, len(payload), "not a digit")


def frame_bytes(rate: int) -> int:
    """Return the payload bytes of 20 ms at ``rate`` Hz: 320 at 8 kHz, 1764 at 44.1 kHz, 7680 at 192 kHz."""
    return rate * FRAME_MS // 1000 * SAMPLE_BYTES


def audio_frame(rate: int, pcm: bytes) -> bytes:
    """Return header and samples as one bytes object.

    Raises `LocalProtocolError` for an empty or oversized payload (Asterisk ends the leg on an empty
    one) and for a rate that AudioSocket has no kind for.
    """
    return audio_header(rate, len(pcm)) + pcm


@lru_cache(maxsize=256)
def audio_header(rate: int, length: int) -> bytes:
    """Return the header of a frame of ``length`` bytes at ``rate`` Hz; raises as `audio_frame`."""
    kind = KINDS.get(rate)
    if kind is None:
        raise LocalProtocolError(f"AudioSocket has no kind for {rate} Hz")
    if not 0 < length <= MAX_PAYLOAD_BYTES:
        raise LocalProtocolError(f"an audio frame of {length} bytes")
    return _HEADER.pack(kind, length)


def uuid_frame(call_id: UUID) -> bytes:
    """Return the first message of a connection, as Asterisk sends it."""
    return _HEADER.pack(IDENTITY, UUID_BYTES) + call_id.bytes


def digit_frame(digit: str) -> bytes:
    """Return one DTMF digit, as Asterisk sends it when the key is released; raises `LocalProtocolError`."""
    if digit not in DIGITS:
        raise LocalProtocolError(f"{digit!r} is not a DTMF digit")
    return _HEADER.pack(DTMF, 1) + digit.encode("ascii")
