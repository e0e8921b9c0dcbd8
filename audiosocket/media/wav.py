"""The header of a RIFF/WAVE file: read, and written for our own recordings.

The standard library's ``wave`` rejects float, extensible and G.711 files and fails on damaged ones, so the chunks
are read here, and the samples by the caller. Layout from Microsoft's "Multimedia
Programming Interface and Data Specifications 1.0" and ``WAVEFORMATEXTENSIBLE``; RF64 from EBU Tech 3306.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO

from audiosocket.errors import InvalidSound
from audiosocket.wire import SAMPLE_BYTES

HEADER_BYTES = 44
MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 4_000, 384_000
#: Sizes that mean "not known when the header was written" (streams, and RF64, where the ds64 chunk has the size).
_UNKNOWN_SIZES = frozenset((0, 0xFFFFFFFF))
_EXTENSIBLE = 0xFFFE
_MAX_FORMAT_BYTES = 1024


class Encoding(enum.Enum):
    """The encoding of a sample."""

    PCM = "PCM"
    FLOAT = "float"
    ALAW = "A-law"
    ULAW = "u-law"


_ENCODINGS: Mapping[int, tuple[Encoding, frozenset[int]]] = MappingProxyType(
    {
        0x0001: (Encoding.PCM, frozenset((1, 2, 3, 4))),
        0x0003: (Encoding.FLOAT, frozenset((4, 8))),
        0x0006: (Encoding.ALAW, frozenset((1,))),
        0x0007: (Encoding.ULAW, frozenset((1,))),
    }
)
_COMPRESSED: Mapping[int, str] = MappingProxyType(
    {
        0x0002: "Microsoft ADPCM",
        0x0011: "IMA ADPCM",
        0x0031: "GSM 6.10",
        0x0040: "G.721 ADPCM",
        0x0050: "MPEG",
        0x0055: "MP3",
        0x0064: "G.726 ADPCM",
        0x0065: "G.722",
        0x00FF: "AAC",
        0x0161: "Windows Media Audio",
        0x674F: "Vorbis",
    }
)


@dataclass(frozen=True)
class WavLayout:
    """Position and format of the samples.

    ``width`` is the bytes of one sample of one channel; ``offset`` and ``length`` are bytes in the file,
    ``length`` is a multiple of ``block`` and never beyond the end of the file.
    """

    encoding: Encoding
    channels: int
    rate: int
    width: int
    offset: int
    length: int

    @property
    def block(self) -> int:
        """Bytes of one sample of all channels."""
        return self.width * self.channels

    @property
    def frames(self) -> int:
        """Samples per channel."""
        return self.length // self.block


def wav_header(rate: int, channels: int, data_bytes: int) -> bytes:
    """Return the 44 bytes before ``data_bytes`` of 16 bit PCM; raises `struct.error` above 4 GB."""
    block = channels * SAMPLE_BYTES
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", HEADER_BYTES - 8 + data_bytes, b"WAVE"),
        *(b"fmt ", 16, 1, channels, rate, rate * block, block, 16),
        *(b"data", data_bytes),
    )


def read_layout(source: BinaryIO, size: int) -> WavLayout:
    """Return the layout of the WAV in ``source``, a seekable file of ``size`` bytes.

    Wrong sizes are tolerated as long as the samples can be found. Raises `InvalidSound` with the cause, without
    the name of the file.
    """
    head = source.read(12)
    if not head:
        raise InvalidSound("the file is empty")
    if len(head) < 12 or head[:4] not in {b"RIFF", b"RF64", b"BW64"} or head[8:] != b"WAVE":
        raise InvalidSound(f"not a WAV file: it begins with {head[:4]!r} instead of RIFF … WAVE")
    found: tuple[Encoding, int, int, int] | None = None
    real_length = 0
    for name, start, length in _chunks(source, size):
        if name == b"ds64":
            real_length = int.from_bytes(source.read(16)[8:16], "little")
        elif name == b"fmt ":
            found = _format(source.read(min(length, _MAX_FORMAT_BYTES)))
        elif name == b"data":
            if found is None:
                raise InvalidSound("damaged WAV: the samples come before their format (fmt chunk)")
            encoding, channels, rate, width = found
            if length in _UNKNOWN_SIZES:
                length = real_length or size - start  # noqa: PLW2901
            length = min(length, size - start)  # noqa: PLW2901
            length -= length % (width * channels)  # noqa: PLW2901
            return WavLayout(encoding, channels, rate, width, start, length)
    raise InvalidSound("damaged WAV: it has no samples (data chunk)")


def _chunks(source: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and length of each chunk's content, with the file positioned at the start."""
    position = 12
    while position + 8 <= size:
        source.seek(position)
        name, length = struct.unpack("<4sI", source.read(8).ljust(8, b"\0"))
        start = position + 8
        yield name, start, length
        position = start + length
        if length & 1 and not _is_unpadded(source, position):
            position += 1


def _is_unpadded(source: BinaryIO, position: int) -> bool:
    """Return whether the pad byte after an odd chunk is missing, so that the next chunk begins here."""
    source.seek(position)
    return source.read(4) in {b"fmt ", b"data", b"fact", b"LIST"}


def _format(chunk: bytes) -> tuple[Encoding, int, int, int]:
    """Return encoding, channels, rate and width from the content of a fmt chunk."""
    if len(chunk) < 16:
        raise InvalidSound(f"damaged WAV: its format has {len(chunk)} bytes instead of 16")
    tag, channels, rate, _bytes_per_second, block, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        (tag,) = struct.unpack_from("<H", chunk, 24)
    if tag not in _ENCODINGS:
        codec = _COMPRESSED.get(tag, "an unknown codec")
        raise InvalidSound(f"the audio is compressed with {codec} (format 0x{tag:04x}); save it as 16 bit PCM")
    if not 1 <= channels <= MAX_CHANNELS:
        raise InvalidSound(f"it has {channels} channels; 1 to {MAX_CHANNELS} can be read")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidSound(f"its sample rate is {rate} Hz; {MIN_RATE} to {MAX_RATE} can be read")
    encoding, widths = _ENCODINGS[tag]
    # A 20 or 24 bit sample may sit in a wider container, always in its upper bits.
    width = block // channels if block and block % channels == 0 else (bits + 7) // 8
    if width not in widths or bits > width * 8:
        raise InvalidSound(f"samples of {bits} bits in {width} bytes are not known for {encoding.value}")
    return encoding, channels, rate, width
