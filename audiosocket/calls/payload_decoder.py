"""Decoding of frames that are labelled as signed linear at 8 kHz and may be G.711."""

from __future__ import annotations

from collections.abc import Callable

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
