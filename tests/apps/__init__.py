"""Tests of `audiosocket.apps`."""
