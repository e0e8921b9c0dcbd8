"""Tests of `audiosocket.provisioning`."""
