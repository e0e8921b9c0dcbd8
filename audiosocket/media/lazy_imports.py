"""Imports that are made only when the ports are open: numpy and soxr, a tenth of a second.

They are needed when audio changes its sample rate or a file is read. `load` runs in a thread right after the first
port is open; a call that needs them sooner waits for it.
"""

from __future__ import annotations

from collections.abc import Callable

from audiosocket.media.playout_queue import Converter


def load() -> None:
    """Import the modules; blocks."""
    from audiosocket.media import g711, soundfile  # noqa: F401, PLC0415 - importing is the purpose


def stream_converter(source: int, target: int) -> Converter:
    """Return a new `resample.StreamConverter`; raises as that does."""
    from audiosocket.media.resample import StreamConverter  # noqa: PLC0415 - not imported at the start

    return StreamConverter(source, target)


def g711_encoder(encoding: str) -> Callable[[bytes], bytes]:
    """The encoder of ``encoding``, "pcmu" or "pcma"."""
    from audiosocket.media.g711 import encode_alaw, encode_ulaw  # noqa: PLC0415 - loaded by now, but not at the start

    return encode_ulaw if encoding == "pcmu" else encode_alaw
