"""Bots of others, from their own packages, against the server as a process."""
