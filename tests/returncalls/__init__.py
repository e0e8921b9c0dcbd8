"""Tests of `audiosocket.returncalls`."""
