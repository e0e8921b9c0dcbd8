"""``python -m audiosocket [options]``, the same as ``twistd -n audiosocket [options]``."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run in the foreground until SIGTERM or SIGINT."""
    # Little of what is imported becomes garbage, and collections take a tenth of the start.
    # `runtime.gc_policy.GCPolicy` turns the collector on when the services start.
    gc.disable()
    from twisted.scripts.twistd import run  # noqa: PLC0415

    sys.argv[:] = ["twistd", "--nodaemon", "audiosocket", *sys.argv[1:]]
    run()


if __name__ == "__main__":
    main()
