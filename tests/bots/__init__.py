"""Tests of ``audiosocket.bots``."""
