"""Tests of `audiosocket.postgres`."""
