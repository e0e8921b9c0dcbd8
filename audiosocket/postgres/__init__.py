"""The table through supervised, never-blocking sessions."""
