"""Replacing the running process by the next one without ending a call: what is handed over, and in which steps."""
