"""Tests of `audiosocket.calls`."""
