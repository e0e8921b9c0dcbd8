"""Asterisk REST Interface: the stream of events."""
