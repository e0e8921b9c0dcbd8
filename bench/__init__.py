"""Speed, measured: our server, a C server and an asyncio server side by side. See ``README.md``."""
