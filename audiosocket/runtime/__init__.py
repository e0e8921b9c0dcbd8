"""The process: log, reactor lag, garbage collection, file thread, rate limit, metrics."""
