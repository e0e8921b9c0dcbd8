"""What a call does: one module or package per app, found by name."""
