"""The outcomes of legs."""

from __future__ import annotations

from enum import Enum


class LegOutcome(str, Enum):
    """Why a leg has ended."""

    CALLER_HANGUP = "caller_hangup"  #: Asterisk closed the connection, or sent a hangup
    SERVER_HANGUP = "server_hangup"  #: an app hung up
    ADMIN_HANGUP = "admin_hangup"  #: hung up through the API
    TOO_LONG = "too_long"  #: its call lasted longer than MAX_CALL_SECONDS
    IDLE = "idle"  #: nothing was said for MAX_IDLE_SECONDS
    APP_FAILED = "app_failed"  #: the app raised
    PROTOCOL_ERROR = "protocol_error"  #: the peer sent what is not AudioSocket, or far too much
    PEER_ERROR = "peer_error"  #: the peer reported an error (0xff)
    CONNECTION_LOST = "connection_lost"  #: the connection was reset or timed out
    SLOW_READER = "slow_reader"  #: the peer did not take our audio for 2 s
    SHUTDOWN = "shutdown"  #: the server stopped
    LOST = "lost"  #: it did not resume after a restart of the server
