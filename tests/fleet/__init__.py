"""Several real servers behind a real HAProxy, with one PostgreSQL."""
