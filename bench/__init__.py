"""Benchmark: our server, a C server and an asyncio server under the same load. See ``README.md``."""
