"""An AudioSocket server for Asterisk: extensions from a table, apps that talk to callers, an HTTP API."""

__version__ = "0.1.0"
