"""``python -m audiosocket [options]``: ``twistd -n audiosocket [options]`` for those who call Python."""

from __future__ import annotations

import sys

from twisted.scripts.twistd import run


def main() -> None:
    """Run in the foreground until SIGTERM or SIGINT."""
    sys.argv[:] = ["twistd", "--nodaemon", "audiosocket", *sys.argv[1:]]
    run()


if __name__ == "__main__":
    main()
