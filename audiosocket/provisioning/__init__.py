"""From table, local file or default to listening sockets."""
