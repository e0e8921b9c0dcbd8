"""The ways to place a return call: AMI, ARI, webhook."""
