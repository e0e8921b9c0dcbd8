"""Tests of `audiosocket.prompts`."""
