"""Tests of `audiosocket.outbound`."""
