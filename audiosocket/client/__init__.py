"""A strict AudioSocket client that behaves as Asterisk does; used by `dial` and by tests."""

from audiosocket.client.caller import Caller

__all__ = ["Caller"]
