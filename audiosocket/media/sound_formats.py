"""The formats of sound files: told by the first bytes and by Asterisk's suffixes; what converts those not read.

Suffixes as in ``formats/format_*.c`` of Asterisk 22. ``.pcm`` is u-law there, and ``.raw`` is slin at 8 kHz.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from audiosocket.errors import InvalidSound, UnreadableFormat
from audiosocket.media.wav import Encoding, WavLayout, after_id3, is_wav, read_layout

_SLIN_RATES: Mapping[str, int] = MappingProxyType(
    {
        ".sln": 8_000,
        ".raw": 8_000,
        ".sln12": 12_000,
        ".sln16": 16_000,
        ".sln24": 24_000,
        ".sln32": 32_000,
        ".sln44": 44_100,
        ".sln48": 48_000,
        ".sln96": 96_000,
        ".sln192": 192_000,
    }
)
_LAWS: Mapping[str, Encoding] = MappingProxyType(
    {
        **dict.fromkeys((".pcm", ".ulaw", ".ul", ".mu", ".ulw"), Encoding.ULAW),
        **dict.fromkeys((".alaw", ".al", ".alw"), Encoding.ALAW),
    }
)
_SOX = "sox {source} -e signed-integer -b 16 -c 1 {target}"
_FFMPEG = "ffmpeg -i {source} -c:a pcm_s16le -ac 1 {target}"
_ASTERISK = "asterisk -rx {convert}"
#: Suffixes of files without a recognisable beginning: the name of the format and the command that converts it.
_NOT_READ: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        ".gsm": ("GSM 06.10", _SOX),
        ".vox": ("Dialogic ADPCM", _SOX),
        ".mp3": ("MP3", _SOX),
        ".g722": ("G.722", "ffmpeg -f g722 -i {source} -c:a pcm_s16le -ac 1 {target}"),
        ".g729": ("G.729", "ffmpeg -f g729 -i {source} -c:a pcm_s16le -ac 1 {target}"),
        **{suffix: ("G.723.1", _ASTERISK) for suffix in (".g723", ".g723sf")},
        **{suffix: ("G.726", _ASTERISK) for suffix in (".g726-40", ".g726-32", ".g726-24", ".g726-16")},
        ".g719": ("G.719", _ASTERISK),
        ".ilbc": ("iLBC", _ASTERISK),
        ".siren7": ("Siren 7", _ASTERISK),
        ".siren14": ("Siren 14", _ASTERISK),
    }
)
#: The first bytes of files that are no WAV.
_BEGINNINGS: Mapping[bytes, tuple[str, str]] = MappingProxyType(
    {
        b"ID3": ("MP3", _SOX),
        b"OggS": ("Ogg", _SOX),
        b"fLaC": ("FLAC", _SOX),
        b".snd": ("Sun audio (.au)", _SOX),
        b"FORM": ("AIFF", _SOX),
        b"RIFX": ("a big-endian WAV file", _SOX),
        b"#!AMR": ("AMR", _SOX),
        b"caff": ("Core Audio", _FFMPEG),
        b"\x1aE\xdf\xa3": ("WebM or Matroska", _FFMPEG),
        b"0&\xb2u": ("Windows Media Audio", _FFMPEG),
    }
)


def sound_layout(source: BinaryIO, path: Path, size: int) -> WavLayout:
    """Return the layout of the sound in ``source``, a seekable file of ``size`` bytes whose name is ``path``.

    Raises `InvalidSound` with the cause, and with the command that converts a format that is not read.
    """
    suffix = path.suffix.lower()
    head = source.read(12)
    source.seek(0)
    if not is_wav(head):
        if suffix in _SLIN_RATES:
            return WavLayout(Encoding.PCM, 1, _SLIN_RATES[suffix], 2, 0, size - size % 2)
        if suffix in _LAWS:
            return WavLayout(_LAWS[suffix], 1, 8_000, 1, 0, size)
    try:
        return read_layout(source, size)
    except UnreadableFormat as why:
        raise InvalidSound(f"{why}; convert it: {_command(_SOX, path)}") from None
    except InvalidSound:
        if head.startswith(b"ID3"):
            source.seek(0)
            after_id3(source)
            after = source.read(12)
            head = after if is_wav(after) else head
        name, command = _other_format(head, suffix)
        if not name or not head:
            raise
        if suffix == ".wav":  # sox goes by the suffix, ffmpeg by the content
            command = _FFMPEG
        raise InvalidSound(f"it is {name}, which is not read; convert it: {_command(command, path)}") from None


def _other_format(head: bytes, suffix: str) -> tuple[str, str]:
    """Return name and command of the format of a file that is no WAV; empty if it is not known."""
    for beginning, found in _BEGINNINGS.items():
        if head.startswith(beginning):
            return found
    if is_wav(head):
        return "", ""
    if head[4:8] == b"ftyp":
        return "MPEG-4 audio", _FFMPEG
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2:  # the sync word of MPEG, layer III
        return "MP3", _SOX
    return _NOT_READ.get(suffix, ("", ""))


def _command(template: str, path: Path) -> str:
    target = path.with_suffix(".converted.wav" if path.suffix.lower() == ".wav" else ".wav")
    return template.format(
        source=shlex.quote(str(path)),
        target=shlex.quote(str(target)),
        convert=shlex.quote(f"file convert {path} {target}"),
    )
