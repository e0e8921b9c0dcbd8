"""The HTTP API: a guest of the server that sees `audiosocket.control_interface.Control` and nothing else."""
