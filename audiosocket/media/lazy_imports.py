"""Imports that are made only when the ports are open: numpy and soxr, a tenth of a second.

They are needed when audio changes its sample rate or a file is read. `load` runs in a thread right after the first
port is open; a call that needs them sooner waits for it.
"""

from __future__ import annotations

from audiosocket.media.playout_queue import Converter


def load() -> None:
    """Import the modules; blocks."""
    from audiosocket.media import soundfile  # noqa: F401, PLC0415 - importing is the purpose


def stream_converter(source: int, target: int) -> Converter:
    """Return a new `resample.StreamConverter`; raises as that does."""
    from audiosocket.media.resample import StreamConverter  # noqa: PLC0415 - not imported at the start

    return StreamConverter(source, target)
