"""Names and texts in which Asterisk shows the UUID of an AudioSocket leg."""

from __future__ import annotations

import re
from uuid import UUID

_UUID = r"(?P<uuid>[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})"
_PORT = r"(?::(?P<port>\d{1,5}))?"
_FORMS = (
    re.compile(rf"\bAudioSocket\(\s*{_UUID}\s*,[^,()]*?{_PORT}\s*[,)]", re.IGNORECASE),
    re.compile(rf"\bAudioSocket/[^/&,()]*?{_PORT}[/-]{_UUID}", re.IGNORECASE),
)

#: Prefix of the unique ids of channels that this server originates.
CHANNEL_ID_PREFIX = "audiosocket-return-"


def parse_leg(text: str) -> tuple[UUID, int] | None:
    """Return UUID and port (0: not known) of the leg that a text names, None when it names none.

    The text may be ``AudioSocket(uuid,host:port)``, also inside of ``TryExec()``,
    ``Dial(AudioSocket/host:port/uuid)`` or the name of a channel, ``AudioSocket/host:port-uuid``
    (``app_audiosocket.c``, ``chan_audiosocket.c``).
    """
    for form in _FORMS:
        found = form.search(text)
        if found:
            return UUID(found["uuid"]), int(found["port"] or 0)
    return None
