"""Tests of `admin`."""
