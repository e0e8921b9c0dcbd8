"""What is loaded when the ports are open, not before: numpy and soxr, a tenth of a second.

No call needs them until audio changes its sample rate or a file is read. `load` runs in a thread right
after the first port is open; a call that needs them sooner waits for the rest of it, as it would have waited
for the port.
"""

from __future__ import annotations

from audiosocket.media.playout_queue import Converter


def load() -> None:
    """Load it all; blocks."""
    from audiosocket.media import soundfile  # noqa: F401, PLC0415 - that is the purpose


def stream_converter(source: int, target: int) -> Converter:
    """A new `resample.StreamConverter`; raises what that raises."""
    from audiosocket.media.resample import StreamConverter  # noqa: PLC0415 - loaded by now, but not at the start

    return StreamConverter(source, target)
