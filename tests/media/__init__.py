"""Tests of `audiosocket.media`."""
