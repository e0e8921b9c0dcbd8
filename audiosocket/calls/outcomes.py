"""Why a leg is over."""

from __future__ import annotations

from enum import Enum


class LegOutcome(str, Enum):
    """Why a leg is over."""

    CALLER_HANGUP = "caller_hangup"  #: Asterisk closed the connection, or sent a hangup
    SERVER_HANGUP = "server_hangup"  #: the app was done
    ADMIN_HANGUP = "admin_hangup"  #: somebody asked for it through the API
    APP_FAILED = "app_failed"  #: the app raised
    PROTOCOL_ERROR = "protocol_error"  #: the peer sent what is not AudioSocket
    PEER_ERROR = "peer_error"  #: the peer reported an error (0xff)
    CONNECTION_LOST = "connection_lost"  #: the connection was reset or timed out
    SLOW_READER = "slow_reader"  #: the peer did not take our audio for 2 s
    SHUTDOWN = "shutdown"  #: the server stopped
    LOST = "lost"  #: it did not come back after the server's restart
