"""Several processes on one machine that look like one server; ``docs/workers.md`` says how."""
