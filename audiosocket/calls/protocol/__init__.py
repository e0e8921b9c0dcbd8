"""The AudioSocket protocol on Twisted: from a transport to a leg and back, and the end of a connection."""
