"""Tests of `audiosocket.calls.call`."""
