"""Tests of `audiosocket.asterisk`."""
