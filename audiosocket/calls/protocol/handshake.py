"""What a connection sends before it has a leg: a PROXY header, if one has to come, and its UUID.

Pure: bytes in, bytes out. How long the UUID may take, and what is done with it, is decided in ``connection.py``.
"""

from __future__ import annotations

from audiosocket.proxy_header import looks_like_header, parse_header
from audiosocket.wire import HEADER_BYTES


class Handshake:
    """The bytes of one connection until it has a leg."""

    __slots__ = ("_header_bytes", "behind_proxy", "data", "held", "proxied", "refusal")

    def __init__(self) -> None:
        #: Whether a PROXY header has to come before the UUID.
        self.behind_proxy = False
        #: Whether a PROXY header has named the caller.
        self.proxied = False
        #: What was received before and with the UUID, with the PROXY header.
        self.data = b""
        #: Bytes of the PROXY header in `data`.
        self._header_bytes = 0
        #: What was received until it is known where the call is; None while nothing is waited for.
        self.held: bytes | None = None
        #: Why the UUID is to be refused, empty if it is not; None before it is known where the call is.
        self.refusal: str | None = None

    @property
    def has_unexpected_header(self) -> bool:
        """Whether what was received looks like a PROXY header of a peer that may send none."""
        return not self.proxied and looks_like_header(self.data[:HEADER_BYTES])

    @property
    def unanswered(self) -> bytes:
        """What another process has to receive again to go on: nothing came of these bytes yet."""
        return self.data if self.held is None else self.held

    def proxy_header(self) -> tuple[bytes, str | None] | None:
        """Return what has come after the PROXY header, and the caller's address and port if it names one.

        None while the header is incomplete, and after that of a balancer which speaks for itself and has said
        nothing else yet: one that only checks whether the port is open closes now. Raises `InvalidProxyHeader`.
        """
        header = parse_header(self.data)
        if header is None:
            return None
        rest = self.data[header.length :]
        if not rest and header.caller is None:
            return None
        self.behind_proxy, self._header_bytes = False, header.length
        if header.caller is None:
            return rest, None
        self.proxied = True
        return rest, "{}:{}".format(*header.caller)

    def take(self) -> bytes:
        """Return all that was received, and forget it: the UUID is complete."""
        data, self.data = self.data, b""
        return data

    def hold(self, data: bytes) -> None:
        """Keep ``data`` of `take`, without the PROXY header, and what comes later."""
        self.held = data[self._header_bytes :]

    def go_on(self, refusal: str) -> bytes:
        """Return what was held, now that it is known where the call is; ``refusal`` says why it is refused."""
        held, self.held, self.refusal = self.held or b"", None, refusal
        return held
