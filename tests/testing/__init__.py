"""Tests of ``audiosocket.testing``."""
