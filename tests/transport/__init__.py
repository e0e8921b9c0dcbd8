"""Tests of `audiosocket.transport`."""
