"""Tests of `audiosocket.server.single_process`."""
