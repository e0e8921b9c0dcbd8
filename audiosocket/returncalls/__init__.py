"""Ringing a resident: the state of a return call, and the backends AMI, ARI and webhook that place it."""
