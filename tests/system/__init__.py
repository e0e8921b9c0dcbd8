"""Tests of the whole server as a process of its own."""
