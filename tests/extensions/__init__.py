"""Tests of `audiosocket.extensions.model`."""
