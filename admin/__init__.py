"""The HTTP API: a guest of the server that sees `audiosocket.interfaces.Control` and nothing else."""
