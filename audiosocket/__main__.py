"""``python -m audiosocket [options]``: ``twistd -n audiosocket [options]`` for those who call Python."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run in the foreground until SIGTERM or SIGINT."""
    # Hardly anything that is imported is ever garbage, and looking for it takes a tenth of the start.
    # `garbage.GarbagePolicy` begins to collect when the services start.
    gc.disable()
    from twisted.scripts.twistd import run  # noqa: PLC0415

    sys.argv[:] = ["twistd", "--nodaemon", "audiosocket", *sys.argv[1:]]
    run()


if __name__ == "__main__":
    main()
