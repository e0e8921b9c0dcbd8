"""The command ``audiosocket``: what an operator types, most of it over the HTTP API."""
