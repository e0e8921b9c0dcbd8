"""Asterisk Manager Interface: bytes to messages, a supervised connection, and what channels it knows."""
