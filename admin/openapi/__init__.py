"""The OpenAPI document: what each route takes, which is checked by the same description, and what it answers."""
