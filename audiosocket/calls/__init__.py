"""A call: legs, registry, events, journal, and the protocol that connects a socket to a leg."""
