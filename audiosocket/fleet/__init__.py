"""Several equal nodes: what they share through PostgreSQL, and what they ask of each other."""
