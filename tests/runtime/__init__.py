"""Tests of `audiosocket.runtime`."""
