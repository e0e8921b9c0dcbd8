"""Tests of `audiosocket.server`."""
