"""Tests of `audiosocket.workers`."""
