"""Makes the chime that is shipped as ``audiosocket/apps/sounds/welcome.wav``: a door bell, two notes falling.

    python examples/make_chime.py audiosocket/apps/sounds/welcome.wav

Copy it to make a greeting of your own; the app ``play`` takes any WAV.
"""

from __future__ import annotations

import math
import sys
from array import array
from pathlib import Path

from audiosocket.media.wav import wav_header

RATE = 16_000
SECONDS = 2.4
PEAK = 9_000  # -11 dBFS: as loud as speech on a telephone line
ATTACK = 0.004
#: Start in seconds, frequency in Hz, loudness: E5 and C5, what European door bells say.
NOTES = ((0.1, 659.26, 1.0), (0.75, 523.25, 1.0))
#: Multiple of the note, loudness, seconds until 1/e: higher partials die sooner, as in a bell.
PARTIALS = ((1.0, 1.0, 0.45), (2.0, 0.35, 0.22), (3.01, 0.12, 0.12), (4.1, 0.05, 0.06))


def sample(seconds: float) -> float:
    """The chime at one moment, about -1 to 1."""
    value = 0.0
    for start, hz, loudness in NOTES:
        since = seconds - start
        if since > 0:
            rise = min(1.0, since / ATTACK)
            for multiple, part, fade in PARTIALS:
                wave = math.sin(2 * math.pi * hz * multiple * since)
                value += loudness * rise * part * math.exp(-since / fade) * wave
    return value


def chime() -> bytes:
    """The chime as slin at `RATE`, its loudest sample at `PEAK`, the last 50 ms faded out."""
    total = int(RATE * SECONDS)
    values = [sample(n / RATE) * min(1.0, (total - n) / (RATE * 0.05)) for n in range(total)]
    scale = PEAK / max(map(abs, values))
    samples = array("h", (round(value * scale) for value in values))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def main() -> None:
    """Write the WAV to the path given."""
    if len(sys.argv) != 2:
        sys.exit("usage: make_chime.py OUT.WAV")
    pcm = chime()
    Path(sys.argv[1]).write_bytes(wav_header(RATE, 1, len(pcm)) + pcm)


if __name__ == "__main__":
    main()
