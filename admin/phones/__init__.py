"""Telephones in the browser: one that calls, those of residents that wait and ring."""
