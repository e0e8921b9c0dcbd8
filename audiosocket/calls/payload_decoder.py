"""Decoding of frames that are labelled as signed linear at 8 kHz and may be G.711; reporting whose are."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from audiosocket.extensions.model import Extension
from audiosocket.media.codec_probe import DECODERS, CodecProbe


class PayloadDecoder:
    """Finds out the codec of one leg's frames of kind 0x10, and decodes them from then on."""

    __slots__ = ("_decode", "_probe")

    def __init__(self) -> None:
        #: None once the codec is certain.
        self._probe: CodecProbe | None = CodecProbe()
        self._decode: Callable[[bytes], bytes] | None = None

    def inspect(self, now_ms: float, payload: bytes) -> str | None:
        """Return the codec ("slin", "ulaw", "alaw" or "unknown") with the frame that decides it, otherwise None.

        After "unknown" it may be decided once more.
        """
        if self._probe is None:
            return None
        codec = self._probe.add(now_ms, payload)
        if codec is not None:
            if codec != "unknown":
                self._probe = None
            self._decode = DECODERS.get(codec)
        return codec

    def decode(self, payload: bytes) -> bytes:
        """Return the payload as signed linear; unchanged while its codec is not known."""
        return payload if self._decode is None else self._decode(payload)


class MislabelledCodecs:
    """Which extensions have audio that is not slin although its frames are; each codec is logged once."""

    _log = Logger()

    def __init__(self) -> None:
        #: The codec that was detected last, by id of the extension.
        self.latest: dict[int, str] = {}
        #: What was logged already: callers of one extension may alternate between codecs.
        self._reported: set[tuple[int, str]] = set()

    def count(self, extension: Extension, codec: str) -> None:
        """Note a codec that was detected: "ulaw", "alaw" or "unknown"."""
        self.latest[extension.id] = codec
        if (extension.id, codec) in self._reported:
            return
        self._reported.add((extension.id, codec))
        self._log.error(
            "extension {id} ({number}): Asterisk sends {codec} in frames for slin{decoded}; write c(slin) or "
            "c(slin16) as the third part of Dial(AudioSocket/host:port/uuid/c(slin)) in the dialplan",
            id=extension.id,
            number=extension.number,
            codec=codec,
            decoded=", which cannot be decoded" if codec == "unknown" else "; it is decoded for now",
        )
