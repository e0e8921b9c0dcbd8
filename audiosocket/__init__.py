"""An AudioSocket server for Asterisk: extensions from a table, voices as apps, everything over HTTP."""

__version__ = "0.1.0"
