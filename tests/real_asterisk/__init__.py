"""Tests with a real Asterisk 22 in a chroot; see README.md here."""
