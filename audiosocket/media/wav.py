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

from audiosocket.errors import InvalidSound, UnreadableFormat
from audiosocket.wire import SAMPLE_BYTES

HEADER_BYTES = 44
MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 4_000, 384_000
#: Sizes that mean "not known when the header was written" (streams, and RF64, where the ds64 chunk has the size).
_UNKNOWN_SIZES = frozenset((0, 0xFFFFFFFF))
_EXTENSIBLE = 0xFFFE
_MAX_FORMAT_BYTES = 1024
_RIFF_NAMES = frozenset((b"RIFF", b"RF64", b"BW64"))
#: Chunks that occur beside the samples; a missing pad byte, and the end of samples of unknown size, show in them.
_CHUNK_NAMES = frozenset(
    (
        *(b"fmt ", b"data", b"fact", b"LIST", b"bext", b"cue ", b"smpl", b"inst", b"PEAK", b"id3 ", b"ID3 "),
        *(b"JUNK", b"junk", b"PAD ", b"FLLR", b"iXML", b"axml", b"chna", b"plst", b"cart", b"afsp", b"_PMX"),
    )
)
#: Chunks after samples of unknown size are looked for in so many bytes at the end of the file.
_TAIL_BYTES = 65_536


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


def is_wav(head: bytes) -> bool:
    """Return whether these 12 bytes begin a WAV file."""
    return head[:4] in _RIFF_NAMES and head[8:12] == b"WAVE"


def read_layout(source: BinaryIO, size: int) -> WavLayout:
    """Return the layout of the WAV in ``source``, a seekable file of ``size`` bytes.

    Wrong sizes are tolerated as long as the samples can be found. Raises `InvalidSound` with the cause, without
    the name of the file.
    """
    begin = after_id3(source)
    head = source.read(12)
    if not head and not begin:
        raise InvalidSound("the file is empty")
    if not is_wav(head):
        raise InvalidSound(f"not a WAV file: it begins with {head[:4]!r} instead of RIFF … WAVE")
    found: tuple[Encoding, int, int, int] | None = None
    real_length = 0
    empty = False
    for name, start, length in _chunks(source, begin + 12, size):
        if name == b"ds64":
            real_length = int.from_bytes(source.read(16)[8:16], "little")
        elif name == b"fmt ":
            found = _format(source.read(min(length, _MAX_FORMAT_BYTES)))
        elif name == b"data":
            if found is None:
                raise InvalidSound("damaged WAV: the samples come before their format (fmt chunk)")
            encoding, channels, rate, width = found
            if length == 0 and not real_length and _is_chunk(source, start, size):
                empty = True
                continue  # the samples may be in another chunk
            if length in _UNKNOWN_SIZES:
                length = real_length or _end_of_samples(source, start, size) - start  # noqa: PLW2901
            length = min(length, size - start)  # noqa: PLW2901
            length -= length % (width * channels)  # noqa: PLW2901
            return WavLayout(encoding, channels, rate, width, start, length)
    if empty:
        raise InvalidSound("it contains no audio")
    raise InvalidSound("damaged WAV: it has no samples (data chunk)")


def after_id3(source: BinaryIO) -> int:
    """Return where the file begins after an ID3 tag, which some programs put before it; the file is there."""
    head = source.read(10)
    begin = 0
    if len(head) == 10 and head[:3] == b"ID3" and max(head[6:]) < 0x80:
        length = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        begin = 10 + length + (10 if head[5] & 0x10 else 0)  # the last for a footer
    source.seek(begin)
    return begin


def _end_of_samples(source: BinaryIO, start: int, size: int) -> int:
    """Return where samples of unknown size end: before a chunk that ends with the file, or with the file."""
    begin = max(start, size - _TAIL_BYTES)
    source.seek(begin)
    tail = source.read(size - begin)
    for name in _CHUNK_NAMES:
        at = tail.find(name)
        while at >= 0:
            end = at + 8 + int.from_bytes(tail[at + 4 : at + 8], "little")
            if len(tail) <= end + (end & 1) <= len(tail) + 1 and at + 8 <= len(tail):
                return _end_of_samples(source, start, begin + at)
            at = tail.find(name, at + 1)
    return size


def _is_chunk(source: BinaryIO, position: int, size: int) -> bool:
    """Return whether a chunk of a known name begins here and fits into the file."""
    source.seek(position)
    head = source.read(8)
    source.seek(position)
    return head[:4] in _CHUNK_NAMES and position + 8 + int.from_bytes(head[4:], "little") <= size + 1


def _chunks(source: BinaryIO, position: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and length of each chunk's content, with the file positioned at the start."""
    while position + 8 <= size:
        source.seek(position)
        name, length = struct.unpack("<4sI", source.read(8).ljust(8, b"\0"))
        start = position + 8
        yield name, start, length
        position = start + length
        if length & 1 and not _is_unpadded(source, position, size):
            position += 1


def _is_unpadded(source: BinaryIO, position: int, size: int) -> bool:
    """Return whether the pad byte after an odd chunk is missing, so that the next chunk begins here."""
    source.seek(position)
    head = source.read(9)
    if head[:4] in _CHUNK_NAMES or head[1:5] in _CHUNK_NAMES:
        return head[:4] in _CHUNK_NAMES
    printable = all(0x20 <= byte < 0x7F for byte in head[:4])
    return printable and position + 8 + int.from_bytes(head[4:8], "little") <= size


def _format(chunk: bytes) -> tuple[Encoding, int, int, int]:
    """Return encoding, channels, rate and width from the content of a fmt chunk."""
    if len(chunk) < 16:
        raise InvalidSound(f"damaged WAV: its format has {len(chunk)} bytes instead of 16")
    tag, channels, rate, _bytes_per_second, block, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        (tag,) = struct.unpack_from("<H", chunk, 24)
    if tag not in _ENCODINGS:
        codec = _COMPRESSED.get(tag, "an unknown codec")
        raise UnreadableFormat(f"the audio is compressed with {codec} (format 0x{tag:04x})")
    if not 1 <= channels <= MAX_CHANNELS:
        raise InvalidSound(f"it has {channels} channels; 1 to {MAX_CHANNELS} can be read")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidSound(f"its sample rate is {rate} Hz; {MIN_RATE} to {MAX_RATE} can be read")
    encoding, widths = _ENCODINGS[tag]
    width = 1 if widths == {1} else _width(bits, block / channels)
    if width not in widths:
        raise InvalidSound(f"samples of {bits} bits are not known for {encoding.value}")
    return encoding, channels, rate, width


def _width(bits: int, container: float) -> int:
    """Return the bytes of a sample of ``bits`` bits.

    Only samples of 20 and 24 bits may be in a wider container, in its upper bits; the size of the container in the
    header (block align) is often wrong for all others.
    """
    return 4 if bits in {20, 24} and container == 4 else (bits + 7) // 8
