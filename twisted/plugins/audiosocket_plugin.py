"""Tells ``twistd`` that ``twistd audiosocket`` exists; the work is in ``audiosocket.tap``."""

from twisted.application.service import ServiceMaker

audiosocket = ServiceMaker(
    "AudioSocket server",
    "audiosocket.tap",
    "AudioSocket server for Asterisk: extensions from PostgreSQL, a file or a default",
    "audiosocket",
)
