"""The product against a real Asterisk 22 in a chroot of our own; see README.md here."""
