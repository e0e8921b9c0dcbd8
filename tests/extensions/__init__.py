"""Tests of `audiosocket.extensions`."""
