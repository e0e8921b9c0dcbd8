"""Audio between a leg and a bot: encoding, sample rates, and whole frames for the leg.

Each direction has one streaming converter that is never restarted within an utterance, as that would click. The
delay of the converters is that of `media.resample`: at most 3.5 ms between 8 kHz and another rate, each way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from audiosocket.bots.events import AudioFormat
from audiosocket.media.lazy_imports import g711_encoder
from audiosocket.media.pcm import alaw_to_slin, ulaw_to_slin
from audiosocket.media.playout_queue import Converter
from audiosocket.wire import SAMPLE_BYTES

MakeConverter = Callable[[int, int], Converter]

FRAMES_PER_SECOND = 50
_DECODERS: Mapping[str, Callable[[bytes], bytes]] = {"pcmu": ulaw_to_slin, "pcma": alaw_to_slin}
#: Bytes of one sample as it is carried.
_WIDTHS = {"pcmu": 1, "pcma": 1, "slin": SAMPLE_BYTES}


def duration_ms(payload: bytes, format: AudioFormat) -> float:
    """Return the milliseconds of audio in ``payload``."""
    return len(payload) * 1000 / (_WIDTHS[format.encoding] * format.rate)


class Uplink:
    """The caller's audio on its way to the bot, in the bot's ``format``."""

    def __init__(self, format: AudioFormat, make_converter: MakeConverter) -> None:
        self.format = format
        self._make_converter = make_converter
        self._encode = None if format.encoding == "slin" else g711_encoder(format.encoding)
        self._rate = format.rate
        self._converter: Converter | None = None

    def feed(self, pcm: bytes, rate: int) -> bytes:
        """Return what can be sent after ``pcm``; empty while the converter holds all of it back."""
        if rate != self._rate:
            self._rate = rate
            self._converter = None if rate == self.format.rate else self._make_converter(rate, self.format.rate)
        if self._converter is not None:
            pcm = self._converter.feed(pcm)
        return pcm if self._encode is None else self._encode(pcm)


class Downlink:
    """The bot's audio on its way to the leg, in whole frames of 20 ms at the leg's rate.

    Less than a frame waits for the rest: played at once it would be filled up with silence.
    """

    def __init__(self, make_converter: MakeConverter) -> None:
        self._make_converter = make_converter
        self._converter: Converter | None = None
        self._rates = (0, 0)
        self._odd = b""
        self._waiting = b""

    @property
    def pending(self) -> bool:
        """Whether audio waits for the rest of its frame, or in the converter."""
        return bool(self._waiting) or self._converter is not None

    def feed(self, payload: bytes, format: AudioFormat, rate: int) -> bytes:
        """Return the whole frames at ``rate`` Hz that are complete after ``payload``."""
        decode = _DECODERS.get(format.encoding)
        pcm = self._whole_samples(payload) if decode is None else decode(payload)
        if (format.rate, rate) != self._rates:
            if self._converter is not None:
                self._waiting += self._converter.flush()
            if self._rates[1] not in {0, rate}:
                self._waiting = b""  # at the leg's former rate: less than a frame
            self._rates, self._converter = (format.rate, rate), None
        if format.rate != rate:
            if self._converter is None:
                self._converter = self._make_converter(format.rate, rate)
            pcm = self._converter.feed(pcm)
        return self._frames(pcm, rate)

    def take(self) -> bytes:
        """Return what waits for the rest of its frame; the converter goes on."""
        waiting, self._waiting = self._waiting, b""
        return waiting

    def flush(self) -> bytes:
        """Return all that waits, at the end of an utterance."""
        if self._converter is not None:
            self._waiting += self._converter.flush()
            self._converter = None
        self._odd = b""
        return self.take()

    def clear(self) -> None:
        """Drop all that waits."""
        self.flush()

    def _whole_samples(self, payload: bytes) -> bytes:
        if self._odd:
            payload = self._odd + payload
        if len(payload) % SAMPLE_BYTES:
            self._odd = payload[-1:]
            return payload[:-1]
        self._odd = b""
        return payload

    def _frames(self, pcm: bytes, rate: int) -> bytes:
        if self._waiting:
            pcm = self._waiting + pcm
        rest = len(pcm) % (rate // FRAMES_PER_SECOND * SAMPLE_BYTES)
        self._waiting = pcm[len(pcm) - rest :] if rest else b""
        return pcm[: len(pcm) - rest] if rest else pcm
