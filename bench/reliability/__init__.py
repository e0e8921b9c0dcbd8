"""The promises that can be tried on one machine, each with how often it was tried and how often broken."""
