"""Tests of `audiosocket.client`."""
